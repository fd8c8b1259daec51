"""What operators are shown: one frozen record for each thing; the fields' names are the keys of `--json`."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import msgspec

from wakestream import exact_json

Json = dict[str, Any]


class View(msgspec.Struct, frozen=True, kw_only=True):
    """A record that prints as one JSON object."""


class Receipt(View, frozen=True, kw_only=True):
    """The proof of an SQL action: its mark, seen in the change log."""

    source: str
    log: int
    offset: int
    commit: str
    """PostgreSQL's LSN of the commit, as `X/Y`."""
    rows: int
    """Captured rows that the transaction changed."""
    committed_at: datetime
    seen_at: datetime
    seconds: float
    """From the commit until it was seen."""


class AuditRow(View, frozen=True, kw_only=True):
    """Who did what, and why."""

    at: datetime
    who: str
    what: str
    reason: str | None


class RunRow(View, frozen=True, kw_only=True):
    """A run in a list."""

    id: str
    activation: str
    agent: str
    trigger: str
    key: Json
    state: str
    attempts: int
    run_at: datetime | None
    """When it is tried next; null unless it is pending."""
    error: str | None
    model: str | None
    tokens_in: int
    tokens_out: int
    cost: float
    model_ms: float
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None


class ActionRow(View, frozen=True, kw_only=True):
    """An action in a list."""

    id: str
    run: str
    name: str
    kind: str
    state: str
    reason: str | None
    """Why it is in its state."""
    bound: Json
    chosen: Json
    arguments: Json
    approval: str
    """What its policy asked for."""
    decided_by: str | None
    decided_at: datetime | None
    decision_reason: str | None
    attempts: int
    created_at: datetime
    executed_at: datetime | None
    receipt: Receipt | Json | None
    """Of an SQL action its mark in the change log; of a webhook the response."""
    alarm: str | None = None
    """What a person should look at: an effect that was not seen in time."""


class FenceView(View, frozen=True, kw_only=True):
    """What a decision rested on, and whether it is still so."""

    state: str
    """`holds`, `changed`, `behind` (the store has not reached the decision's place), `over` (it happened or cannot)."""
    source: str
    log: int
    offset: int
    on_stale: str
    rows: dict[str, Json | None]
    """By subject, the values that the decision saw; null where there was no row."""
    differences: list[str]
    untold: list[str]
    """What cannot be compared, with the reason."""


class ActionDetail(ActionRow, frozen=True, kw_only=True):
    """An action with what will be, or was, executed."""

    effect: Json
    """The statement or request with its values."""
    intent: Json | None
    result: Json | None
    fence: FenceView | None
    edited_by: str | None
    """Who last changed its choices or parameters."""
    edits: list[Json]
    """What it was before each change: `arguments`, `chosen`, and by whom that was."""
    history: list[AuditRow]


class ChangedValue(View, frozen=True, kw_only=True):
    """One value that a change changed."""

    path: str
    before: Any
    after: Any


class Change(View, frozen=True, kw_only=True):
    """The event that started it all."""

    event: str
    """Its id."""
    source: str
    type: str
    subject: str
    time: datetime | None
    """When it was committed."""
    key: Json | None
    changed: list[ChangedValue]
    missing: list[str]
    snapshot: bool
    cause: Json | None
    before: Json | None
    after: Json | None


class Condition(View, frozen=True, kw_only=True):
    """The trigger as the configuration has it now; nulls when it is not in there."""

    trigger: str
    on: str | None
    """The table or entity."""
    fire: str | None
    when: str | None


class Step(View, frozen=True, kw_only=True):
    """One thing that a run asked, and the answer."""

    step: str
    request: Json | None
    response: Json | None
    error: str | None
    tokens_in: int
    tokens_out: int
    ms: float
    at: datetime


class RunStory(RunRow, frozen=True, kw_only=True):
    """A run from the change to the receipts."""

    change: Change
    condition: Condition
    lookups: list[Step]
    prompt: Json | None
    answers: list[Step]
    """Every answer of the model, repairs and earlier attempts included."""
    decision: Json | None
    """The answer that counted."""
    actions: list[ActionDetail]
    history: list[AuditRow]


class ActionStory(ActionDetail, frozen=True, kw_only=True):
    """An action and the run that proposed it."""

    origin: RunStory


class LetterRow(View, frozen=True, kw_only=True):
    """A message or event that could not be processed."""

    id: int
    stage: str
    kind: str
    state: str
    subject: str
    reason: str
    topic: str
    partition: int
    offset: int
    attempts: int
    at: datetime
    outcome: str | None
    """What came of the last retry, or how far it is."""


class LetterStory(LetterRow, frozen=True, kw_only=True):
    """A dead letter with what is known of its message."""

    digest: str
    event: Json | None
    history: list[AuditRow]


class ActivationRow(View, frozen=True, kw_only=True):
    """A trigger that was met, or kept from starting a run."""

    id: str
    trigger: str
    state: str
    reason: str | None
    event: str
    subject: str
    depth: int
    committed_at: datetime | None
    created_at: datetime
    run: str | None
    run_state: str | None


class TriggerRow(View, frozen=True, kw_only=True):
    """A trigger of the configuration, and what of it stands open."""

    name: str
    state: str
    """`active`, `paused` by a person, or `held` because the schema does not allow it."""
    reason: str | None
    watches: str
    """An entity, or a source's table."""
    agent: str
    waiting: int
    """Keys that wait for something to last, to stay away, or to become quiet."""
    batched: int
    """Activations that wait for others."""
    held_by_breaker: int
    runs: int
    """Those that are pending or running."""
    last_opened_at: datetime | None
    """The source's time at which it last got a run."""


class CountRow(View, frozen=True, kw_only=True):
    """What a trigger's condition came to, over all keys."""

    trigger: str
    outcome: str
    count: int
    last_event: str
    last_at: datetime


class Why(View, frozen=True, kw_only=True):
    """What an event or a key led to."""

    about: str
    activations: list[ActivationRow]
    counts: list[CountRow]
    letters: list[LetterRow]


class OperatorRow(View, frozen=True, kw_only=True):
    """A person who may decide."""

    name: str
    created_at: datetime
    revoked_at: datetime | None


class Decided(View, frozen=True, kw_only=True):
    """What an operator's word led to."""

    id: str
    state: str
    was: str
    by: str
    note: str | None
    """What to know about it."""


def to_json(view: View) -> str:
    """One JSON object on one line, numbers with every digit."""
    return plain_json(view)


def plain_json(value: Any) -> str:
    """Any JSON value on one line."""
    return exact_json.dump(value)


def lsn(position: int) -> str:
    """PostgreSQL's way to write a position in the WAL."""
    return f"{position >> 32:X}/{position & 0xFFFFFFFF:X}"


class StorePosition(View, frozen=True, kw_only=True):
    """The place in the change log at which the context store stands."""

    log: int
    offset: int
    commit: str | None
    """The LSN of the last applied commit, as `X/Y`."""
    clock: datetime | None
    """The source's time there."""


class StoredRow(View, frozen=True, kw_only=True):
    """A row as the context store has it."""

    source: str
    table: str
    key: Json
    row: Json | None
    """Null where the store has no such row."""
    missing: list[str]
    """Columns whose value is not known; `*` where nothing of the row is."""
    complete: bool
    """Whether the table's mirror holds every row, so that one that is not there does not exist."""
    gaps: list[str]
    """Reasons of the open gaps that the table lies behind."""
    position: StorePosition


class StoredEntity(View, frozen=True, kw_only=True):
    """An entity's document as the agent would see it now."""

    entity: str
    source: str
    key: Json
    document: Json | None
    """Null where there is no root row."""
    missing: list[str]
    """Paths that the document cannot tell."""
    untrusted: list[str]
    """Paths whose text strangers wrote."""
    incomplete: list[str]
    """Tables in it whose mirror is not complete, or behind a gap."""
    position: StorePosition


class Difference(View, frozen=True, kw_only=True):
    """A row that is not the same in the source and in the store."""

    key: Json
    how: str
    """`differs`, `absent` (in the source only) or `surplus` (in the store only)."""
    columns: list[str]
    """Which of them differ."""


class Verified(View, frozen=True, kw_only=True):
    """What a comparison of one table with its source came to."""

    source: str
    table: str
    state: str
    """`same`, `differs`, `unsettled`, or why it was not compared: `incomplete`, `not mirrored`."""
    rows: int
    """How many rows the source has."""
    differing: list[Difference]
    unsettled: list[Json]
    """Keys of rows that changed too often to be compared."""
    missing: int
    """Values that the store does not know, which count as no difference."""
    position: StorePosition
    """Where the store stood at the end."""
