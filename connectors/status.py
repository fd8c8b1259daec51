"""How every source is doing: what was measured, and named checks that say whether it is well.

A connector that is RUNNING may still move nothing, so health is the list of checks and never that word alone.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import TypeVar

import msgspec
from confluent_kafka import Consumer

from connectors import databases, hops, ledger_status, slot, spending
from connectors.adopted_status import AdoptedLook
from connectors.connect import Connect, ConnectorMissing, telling_line
from connectors.health import BEHIND, Check, ConnectorState, PartitionLag, SourceStatus, TaskState, healthy
from connectors.hops import AtSource, Hop, Meter
from connectors.ledger_status import InLedger
from connectors.slot import Slot
from connectors.spending import Spending
from wakestream import kafka, ledger, topics
from wakestream.config import Loaded, reveal
from wakestream.errors import WakeError

__all__ = ["Check", "SourceStatus", "healthy", "status"]

T = TypeVar("T")

CONNECT_PATIENCE = 3.0  # seconds
WELL_KEPT = ("reserved", "extended")


def status(loaded: Loaded, meter: Meter | None = None, *, over_s: float = 0.0) -> list[SourceStatus]:
    """Look at every source once; nothing is changed.

    Rates are told since the last look with this meter, or over so many seconds that are waited for here.
    """
    meter = meter or Meter()
    with ExitStack() as stack:
        client = stack.enter_context(Connect(loaded.config.connect.url, retry_s=CONNECT_PATIENCE))
        reader = kafka.reader(loaded.config.kafka, "status")
        stack.callback(reader.close)
        looks = [
            _Look(loaded, name, client, reader, meter)
            if settings.adopt is None
            else AdoptedLook(loaded, name, client, reader)
            for name, settings in loaded.config.sources.items()
        ]
        if over_s:
            for each in looks:
                each.count()
            time.sleep(over_s)
        spent = _spending(loaded)
        return [msgspec.structs.replace(each.at_everything(), spending=spent) for each in looks]


def _spending(loaded: Loaded) -> Spending | None:
    """None where the ledger does not answer, which a check of each source tells."""
    url = reveal(loaded.config.ledger.url)
    try:
        ledger.require_current(url)
        with ledger.connect(url, name="status", autocommit=True) as connection, databases.asking("the ledger"):
            return spending.read(connection, loaded.config)
    except WakeError:
        return None


class _Look:
    """One look at one source. What fails to answer becomes a check that is not well."""

    def __init__(self, loaded: Loaded, source: str, client: Connect, reader: Consumer, meter: Meter) -> None:
        self._loaded = loaded
        self._source = source
        self._client = client
        self._reader = reader
        self._meter = meter
        self._checks: list[Check] = []

    def count(self) -> None:
        """See how far everything is, for the rates of the look that follows; what does not answer is told there."""
        with contextlib.suppress(WakeError):
            hops.count(self._meter, self._source, hops.ends(self._reader, self._source, self._ledger()))

    def at_everything(self) -> SourceStatus:
        connector = self._tried("connector", self._connector)
        at_source = self._tried("slot", self._slot)
        found = self._tried("ledger", self._ledger)
        lag = self._tried("consumer", lambda: self._consumer_lag(found)) if found else None
        clock = found.position.clock if found and found.position else None
        behind = (at_source[1].now - clock).total_seconds() if at_source and clock else None
        if found:
            self._judge(found, lag, behind)
            self._judge_triggers(found)
        agent = self._tried("agent", lambda: self._agent(found)) if found and self._watched() else None
        through = self._tried("hops", lambda: self._hops(found, at_source[1] if at_source else None)) if found else None
        return SourceStatus(
            source=self._source,
            ok=all(check.ok for check in self._checks),
            checks=tuple(self._checks),
            connector=connector,
            slot=at_source[0] if at_source else None,
            clock=clock,
            seconds_behind=None if behind is None else round(behind, 3),
            consumer_lag=lag,
            agent=agent or (),
            ledger=found,
            hops=through or (),
        )

    def _tried(self, name: str, look: Callable[[], T]) -> T | None:
        try:
            return look()
        except WakeError as error:
            self._check(name, False, str(error))
        return None

    def _check(self, name: str, ok: bool, detail: str) -> None:
        self._checks.append(Check(name, ok, detail))

    def _connector(self) -> ConnectorState | None:
        name = topics.connector(self._source)
        try:
            found = self._client.status(name, wait_s=CONNECT_PATIENCE)
        except ConnectorMissing:
            self._check("connector", False, f"there is no connector {name}; run `wake apply`")
            return None
        tasks = tuple(TaskState(each.id, each.state, telling_line(each.trace)) for each in found.tasks)
        reasons = [telling_line(found.connector.trace), *(task.reason for task in tasks)]
        detail = ": ".join([found.label, *[reason for reason in reasons if reason][:1]])
        self._check("connector", found.running, detail)
        return ConnectorState(name, found.connector.state, reasons[0], tasks)

    def _slot(self) -> tuple[Slot | None, AtSource]:
        """The slot and the source's present."""
        what = f"source {self._source}, looking at its slot"
        with databases.capture(self._loaded, self._source, purpose="status") as reader, databases.asking(what):
            found = slot.find(reader, self._source)
            (row,) = reader.execute("select clock_timestamp(), (pg_current_wal_lsn() - '0/0')::bigint").fetchall()
        if found is None:
            self._check("slot", False, f"there is no replication slot {topics.slot(self._source)}")
        else:
            reading = "read" if found.active else "not read by anybody"
            self._check("slot", found.active, f"{reading}, {found.behind_bytes} bytes of WAL not confirmed")
            kept = f"{found.wal_status}, {found.retained_bytes} bytes of WAL kept for the slot"
            self._check("wal", found.wal_status in WELL_KEPT, kept)
        return found, AtSource(*row)

    def _ledger(self) -> InLedger:
        url = reveal(self._loaded.config.ledger.url)
        ledger.require_current(url)
        with ledger.connect(url, name="status", autocommit=True) as connection, databases.asking("the ledger"):
            return ledger_status.read(connection, self._source)

    def _consumer_lag(self, found: InLedger) -> int | None:
        high = kafka.watermarks(self._reader, topics.changes(self._source), 0)[1]
        return high - found.position.read_from if found.position else None

    def _hops(self, found: InLedger, at_source: AtSource | None) -> tuple[Hop, ...]:
        seen = hops.ends(self._reader, self._source, found)
        newest = hops.newest(self._reader, self._source, seen.log)
        return hops.hops(seen, hops.count(self._meter, self._source, seen), at_source, newest, found)

    def _watched(self) -> bool:
        """Whether any trigger reads this source, so that an agent should."""
        config = self._loaded.config
        references = [t.table or config.entities[t.entity or ""].root for t in config.triggers.values()]
        return any(reference.partition(".")[0] == self._source for reference in references)

    def _agent(self, found: InLedger) -> tuple[PartitionLag, ...]:
        topic = topics.context(self._source)
        lags = [
            PartitionLag(partition, max(0, kafka.watermarks(self._reader, topic, partition)[1] - at.kafka_offset))
            for partition, at in sorted(found.read.items())
        ]
        if not lags:
            self._check("agent", False, "no agent has read its context yet; start `wake agent`")
            return ()
        clocks = [at.clock for at in found.read.values() if at.clock is not None]
        behind = (found.now - min(clocks)).total_seconds() if len(clocks) == len(lags) else None
        total = sum(lag.lag for lag in lags)
        if behind is None:
            self._check("agent", False, f"has seen no clock in some partition yet, {total} events to read")
        else:
            self._check("agent", behind <= BEHIND, f"{max(0.0, behind):.1f} s behind, {total} events to read")
        return tuple(lags)

    def _judge_triggers(self, found: InLedger) -> None:
        """Triggers of this source that the agent does not evaluate."""
        config = self._loaded.config
        for each in found.held:
            trigger = config.triggers.get(each.trigger)
            if trigger is None:
                continue
            reference = trigger.table or config.entities[trigger.entity or ""].root
            if reference.partition(".")[0] == self._source:
                self._check(f"trigger {each.trigger}", False, f"held: {each.reason}")

    def _judge(self, found: InLedger, lag: int | None, behind: float | None) -> None:
        for name, ok, detail in _ledger_checks(found, lag, behind):
            self._check(name, ok, detail)


def _ledger_checks(found: InLedger, lag: int | None, behind: float | None) -> Iterator[tuple[str, bool, str]]:
    if found.position is None:
        yield "consumer", False, "no consumer has read the change log yet; start `wake consume`"
    elif behind is None:
        yield "consumer", False, f"has seen no clock yet, {lag} records to read"
    else:
        yield "consumer", behind <= BEHIND, f"{max(0.0, behind):.1f} s behind, {lag} records to read"
    yield "revision", found.revision is not None, f"revision {found.revision}" if found.revision else "none stored yet"
    incomplete = ", ".join(found.incomplete)
    yield (
        "mirrors",
        not found.incomplete and found.mirrors > 0,
        f"{found.mirrors - len(found.incomplete)} of {found.mirrors} complete"
        + (f"; not yet: {incomplete}" if incomplete else ""),
    )
    yield from _guard_checks(found)
    yield from _schema_checks(found)
    again = "; `wake repair` has their tables read again"
    yield "gaps", not found.gaps, "; ".join(found.gaps) + again if found.gaps else "none open"
    letters = ", ".join(f"{number} {kind}" for kind, number in found.dead_letters.items())
    yield "dead letters", not found.dead_letters, letters or "none open"


def _schema_checks(found: InLedger) -> Iterator[tuple[str, bool, str]]:
    for each in found.drift:
        read = f", read by {', '.join(each.affected)}" if each.affected else ""
        yield "schema", not each.harmful, f"{each.what}{read}; {each.remedy}"


def _guard_checks(found: InLedger) -> Iterator[tuple[str, bool, str]]:
    if found.level is None:
        yield "guard", False, "no guard has looked yet; start `wake guard`"
    else:
        age = (found.now - found.level.at).total_seconds()
        told = "; ".join(found.level.reasons) or "nothing endangers the database"
        shed = "; it has given the slot up" if found.level.shed else ""
        late = f"; it has not looked for {age:.0f} s" if age > BEHIND else ""
        well = found.level.level == "ok" and not shed and not late
        yield "guard", well, f"{found.level.level}: {told}{shed}{late}"
    for each in found.snapshots:
        state = "ended, waits to be settled by the guard" if each.ended else "runs"
        yield f"snapshot of {each.table}", True, f"{state}, {each.waiting} rows wait"
    for table, why in found.doubts:
        yield f"snapshot of {table}", False, f"not believed, the guard asks for it again: {why}"
