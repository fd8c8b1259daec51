"""Repairs what a restart cannot: names the situation from evidence, and proposes the way with what it costs.

Whenever changes may have been missed, a gap is declared in the change log before anything else is done. It stays open
until a snapshot has read the tables again.
"""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from typing import Any, Literal

import msgspec
import psycopg

from connectors import databases, ledger_setup, slot_guard, snapshot_log, snapshots
from connectors.connect import Connect, ConnectorMissing, telling_line, types
from connectors.guard import AttachedSource
from connectors.snapshot_log import Progress
from connectors.steps import Report, tell_nobody
from connectors.wal_watch import span
from wakestream import capture, inspection, topics
from wakestream.config import Loaded
from wakestream.errors import RefusedError

Name = Literal[
    "restored", "slot missing", "slot lost", "slot ahead", "offsets lost", "snapshot interrupted", "failed", "hanging",
    "gap open",
]  # fmt: skip
Way = Literal["new history", "new snapshot", "restart", "read again"]

CONNECT_PATIENCE = 20.0  # seconds for a worker that is away or busy
HANGING = 60.0  # seconds without a clock until a connector that says RUNNING is not believed

_COST: dict[Way, str] = {
    "new history": "a new slot and a snapshot of all tables; positions begin anew, and a gap is open until then",
    "new snapshot": "a new slot and a snapshot of all tables; a gap is open until it is through",
    "restart": "nothing: what was sent already is sent again and dropped",
    "read again": "an incremental snapshot of the tables behind the gap, while everything goes on",
}


class Facts(msgspec.Struct, frozen=True):
    """What is seen of one source."""

    state: str | None
    """The connector's and its task's, the worse of both; None without a connector."""
    reason: str = ""
    """Why it failed."""
    slot_status: str | None = None
    """None without a slot."""
    slot_active: bool = False
    confirmed: int | None = None
    """The slot's confirmed LSN."""
    offset: int | None = None
    """The highest LSN of the connector's offsets; None without offsets."""
    identity: tuple[str, int] = ("", 0)
    """The database's system identifier and timeline."""
    wal_end: int = 0
    known_identity: tuple[str, int] | None = None
    """What the consumer's positions belong to; None before its first."""
    commit: int | None = None
    """The last transaction that the consumer has applied."""
    clock_age: float | None = None
    snapshot: Progress = "complete"
    gaps: tuple[tuple[str, ...], ...] = ()
    """The tables of each open gap."""
    reading: bool = False
    """Whether a snapshot runs or waits to be settled."""
    shed: bool = False


class Situation(msgspec.Struct, frozen=True):
    """What is wrong, how that is known, and what would mend it."""

    name: Name
    evidence: str
    way: Way
    tables: tuple[str, ...] = ()
    """Which to read again; empty for all."""

    @property
    def cost(self) -> str:
        """What the way takes and risks."""
        return _COST[self.way]


def examine(loaded: Loaded, source: str) -> Situation | None:
    """Look at everything once; None where there is nothing to repair.

    Raises `RefusedError` for a source that is not attached, or whose connector is not ours.
    """
    databases.require_own(loaded, source, "repair")
    with (
        _client(loaded) as client,
        ledger_setup.session(loaded, "repair") as connection,
        databases.asking("the ledger"),
    ):
        facts = _gather(loaded, source, client, connection)
    if facts.state is None:
        raise RefusedError(f"there is no connector {topics.connector(source)}; `wake apply` makes it")
    return situation(facts)


def situation(facts: Facts) -> Situation | None:
    """The name of what these facts show, the gravest first."""
    if facts.known_identity is not None and facts.known_identity != facts.identity:
        old, new = (f"{system} on timeline {timeline}" for system, timeline in (facts.known_identity, facts.identity))
        return Situation("restored", f"the database is {new}; the positions belong to {old}", "new history")
    if facts.commit is not None and facts.wal_end < facts.commit:
        evidence = f"the end of the WAL is {_lsn(facts.wal_end)}, and {_lsn(facts.commit)} was applied already"
        return Situation("restored", evidence, "new history")
    if facts.slot_status is None and facts.offset is not None:
        why = "the guard has shed the slot" if facts.shed else "the connector has offsets, and there is no slot"
        return Situation("slot missing", why, "new snapshot")
    if facts.slot_status == "lost":
        return Situation("slot lost", "the server has removed WAL that the slot needed", "new snapshot")
    if facts.slot_status is not None and facts.offset is None and facts.commit is not None and not facts.reading:
        return Situation("offsets lost", "the slot is there, and the connector has no offsets", "new snapshot")
    if facts.confirmed is not None and facts.offset is not None and facts.confirmed > facts.offset:
        evidence = f"the slot begins at {_lsn(facts.confirmed)}, the connector has come to {_lsn(facts.offset)}"
        return Situation("slot ahead", evidence, "new snapshot")
    if facts.snapshot in ("interrupted", "starting over"):
        return Situation("snapshot interrupted", "the initial snapshot did not end in one piece", "new snapshot")
    return _of_connector(facts) or _of_gaps(facts)


def _of_connector(facts: Facts) -> Situation | None:
    if facts.state == "FAILED":
        return Situation("failed", facts.reason or "connector or task is FAILED", "restart")
    silent = facts.clock_age is not None and facts.clock_age > HANGING
    if facts.state == "RUNNING" and not facts.slot_active and silent:
        evidence = f"it says RUNNING, nobody reads the slot, the newest clock is {span(facts.clock_age or 0)} old"
        return Situation("hanging", evidence, "restart")
    return None


def _of_gaps(facts: Facts) -> Situation | None:
    if not facts.gaps or facts.reading:
        return None
    tables = tuple(sorted({label for gap in facts.gaps for label in gap}))
    evidence = f"{len(facts.gaps)} open, over {', '.join(tables)}"
    beyond = snapshots.unreadable(tables)
    if beyond:  # only a first snapshot reads them
        evidence += f"; Debezium cannot read {', '.join(beyond)} by an incremental snapshot"
        return Situation("gap open", evidence, "new snapshot", tables)
    return Situation("gap open", evidence, "read again", tables)


def repair(loaded: Loaded, source: str, found: Situation, report: Report = tell_nobody) -> None:
    """Mend it; may be repeated until `examine` finds nothing."""
    with _client(loaded) as client:
        attached = AttachedSource(loaded, source, client)
        attached.record("repair", f"{found.name}: {found.evidence}; {found.way}")
        if found.way == "restart":
            attached.restart()
            report("restarted connector and task")
        elif found.way == "read again":
            identifier = snapshots.signal(loaded.config.kafka, source, found.tables)
            report(f"asked for snapshot {identifier} of {', '.join(found.tables)}; the guard settles it")
        else:
            _read_anew(loaded, source, found, attached, report)


def _read_anew(loaded: Loaded, source: str, found: Situation, attached: AttachedSource, report: Report) -> None:
    if found.way == "new history":
        _store_identity(loaded, source)
        snapshots.declare_restored(loaded.config.kafka, source, found.evidence)
        report("declared in the change log that the database's history begins anew")
    elif found.name != "snapshot interrupted":
        snapshots.declare_gap(loaded.config.kafka, source, None, f"{found.name}: {found.evidence}")
        report("declared the gap in the change log")
    attached.start_over()
    with ledger_setup.session(loaded, "repair") as connection, databases.asking("the ledger"):
        slot_guard.forget_shed(connection, source)
    report("offsets and slot are gone; the connector makes a new slot and takes the snapshot")


def _store_identity(loaded: Loaded, source: str) -> None:
    """The catalogue as it is now belongs to another history: the newest revision must say so."""
    with (
        databases.capture(loaded, source, purpose="repair") as reader,
        ledger_setup.session(loaded, "repair") as connection,
    ):
        newest = capture.load(connection, source)
        if newest is None:
            return
        with databases.asking(f"source {source}, reading its catalogue"):
            catalogue = inspection.read_catalogue(reader, source, newest.catalogue.tables)
        same = msgspec.structs.replace(
            newest.catalogue, system_identifier=catalogue.system_identifier, timeline=catalogue.timeline
        )
        with connection.transaction():
            capture.store(connection, same, newest.capture)


def _gather(loaded: Loaded, source: str, client: Connect, connection: psycopg.Connection[Any]) -> Facts:
    attached = AttachedSource(loaded, source, client)
    status = attached.status()
    # In this order, so that no number can be newer than one that it must not exceed: what is applied is in the WAL,
    # and the slot never moves further than offsets that were stored before.
    position = connection.execute(
        'select system_identifier, timeline, "commit", clock from wake.source_position where source = %s', (source,)
    ).fetchone()
    slot_status, active, confirmed, wal_end, identity, now = _of_source(loaded, source)
    offset = _offset(client, source)
    gaps = connection.execute(
        "select tables from wake.gap where source = %s and state = 'open' order by number", (source,)
    ).fetchall()
    clock = position[3] if position else None
    newest = capture.load(connection, source)
    captured = {label for label, table in newest.catalogue.tables.items() if table.key} if newest else set[str]()
    return Facts(
        state=_state(status),
        reason=telling_line(status.failure[1]) if status and status.failure else "",
        slot_status=slot_status,
        slot_active=active,
        confirmed=confirmed,
        offset=offset,
        identity=identity,
        wal_end=wal_end,
        known_identity=(position[0], position[1]) if position else None,
        commit=position[2] if position else None,
        clock_age=(now - clock).total_seconds() if clock else None,
        snapshot=snapshot_log.SnapshotLog(loaded.config.kafka, source).progress(connection),
        # Where nothing of a gap is captured any more, or nothing has a key to be read along, any snapshot closes it.
        gaps=tuple(tuple(sorted(captured.intersection(tables) or captured)) for (tables,) in gaps),
        reading=snapshots.is_read(connection, source),
        shed=slot_guard.is_shed(connection, source),
    )


def _of_source(loaded: Loaded, source: str) -> Any:
    query = (
        "select s.wal_status, coalesce(s.active, false), (s.confirmed_flush_lsn - '0/0')::bigint,"
        " (pg_current_wal_insert_lsn() - '0/0')::bigint, (select system_identifier::text from pg_control_system()),"
        " (select timeline_id from pg_control_checkpoint()), clock_timestamp(), s.slot_name is not null"
        " from (select 1) one left join pg_replication_slots s on s.slot_name = %s"
    )
    what = f"source {source}, looking at its slot"
    with databases.capture(loaded, source, purpose="repair") as reader, databases.asking(what):
        (row,) = reader.execute(query, (topics.slot(source),)).fetchall()
    status, active, confirmed, wal_end, system, timeline, now, exists = row
    return (status or "unknown") if exists else None, active, confirmed, wal_end, (system, timeline), now


def _offset(client: Connect, source: str) -> int | None:
    try:
        found = [each.offset for each in client.offsets(topics.connector(source)) if each.offset]
    except ConnectorMissing:
        return None
    lsns = [offset[name] for offset in found for name in ("lsn", "lsn_proc", "lsn_commit") if offset.get(name)]
    return max(lsns, default=None)


def _state(status: types.Status | None) -> str | None:
    if status is None:
        return None
    return "FAILED" if status.failure else status.connector.state


def _lsn(number: int) -> str:
    return f"{number >> 32:X}/{number & 0xFFFFFFFF:X}"


@contextmanager
def _client(loaded: Loaded) -> Generator[Connect]:
    with Connect(loaded.config.connect.url, retry_s=CONNECT_PATIENCE) as client:
        yield client
