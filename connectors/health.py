"""What `wake status` says of a source: what was measured, and named checks that say whether it is well."""

from __future__ import annotations

from datetime import datetime

import msgspec

from connectors.hops import Hop
from connectors.ledger_status import InLedger
from connectors.slot import Slot
from connectors.spending import Spending

BEHIND = 30.0  # seconds until somebody should look


class Check(msgspec.Struct, frozen=True):
    """One thing that should be so."""

    name: str
    ok: bool
    detail: str


class TaskState(msgspec.Struct, frozen=True):
    """One task of the connector."""

    id: int
    state: str
    reason: str
    """The telling line of its trace; empty while it does not fail."""


class ConnectorState(msgspec.Struct, frozen=True):
    """The connector as Connect sees it."""

    name: str
    state: str
    reason: str
    tasks: tuple[TaskState, ...]


class PartitionLag(msgspec.Struct, frozen=True):
    """How far the agent has read one partition of the context topic."""

    partition: int
    lag: int
    """Events that it has not read."""


class SourceStatus(msgspec.Struct, frozen=True):
    """One source; what could not be asked is null, and a check says why."""

    source: str
    ok: bool
    checks: tuple[Check, ...]
    connector: ConnectorState | None
    slot: Slot | None
    clock: datetime | None
    """The source's time at the consumer's position."""
    seconds_behind: float | None
    consumer_lag: int | None
    """Records of the change log from where the consumer would read on."""
    agent: tuple[PartitionLag, ...]
    ledger: InLedger | None
    hops: tuple[Hop, ...] = ()
    """To the change log, to the context, to the agent."""
    spending: Spending | None = None
    """Of all sources together, the same with each."""


def healthy(found: list[SourceStatus]) -> bool:
    """Whether every check of every source is well."""
    return all(source.ok for source in found)
