"""What the ledger knows of a source's health."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import msgspec
import psycopg

from wakestream import topics


class ConsumerPosition(msgspec.Struct, frozen=True):
    """How far the consumer has come."""

    offset: int
    """The last applied record of the change log."""
    read_from: int
    """Where a restart would read on."""
    clock: datetime | None
    owner: str
    commit: int | None
    """The last applied transaction, by END's LSN."""


class AgentPosition(msgspec.Struct, frozen=True):
    """How far the agent has read one partition."""

    kafka_offset: int
    clock: datetime | None


class GuardNote(msgspec.Struct, frozen=True):
    """What the guard did last."""

    at: datetime
    what: str
    detail: str


class SlotLevel(msgspec.Struct, frozen=True):
    """How the guard judges the slot."""

    level: str
    """`ok`, `warning` or `critical`."""
    reasons: tuple[str, ...]
    since: datetime
    at: datetime
    """When it looked last."""
    shed: bool
    """Whether it gave the slot up to protect the database."""


class Reading(msgspec.Struct, frozen=True):
    """A snapshot that reads a table, or waits for the log to pass what it has read."""

    table: str
    snapshot: str
    """`fresh` into an empty mirror, `again` over one with rows."""
    ended: bool
    waiting: int
    """Rows that differ from the store and wait."""


class Drifted(msgspec.Struct, frozen=True):
    """What of the source's schema a person should know."""

    what: str
    remedy: str
    affected: tuple[str, ...]
    """What in the configuration reads it."""
    harmful: bool
    """Whether something does not work until a person has acted."""
    since: datetime


class HeldTrigger(msgspec.Struct, frozen=True):
    """A trigger that the agent does not evaluate."""

    trigger: str
    reason: str
    since: datetime


class InLedger(msgspec.Struct, frozen=True):
    """One source in the ledger."""

    now: datetime
    revision: int | None
    position: ConsumerPosition | None
    read: dict[int, AgentPosition]
    """The agent's positions by partition of the context topic."""
    mirrors: int
    """Tables that are mirrored."""
    incomplete: tuple[str, ...]
    gaps: tuple[str, ...]
    """The reasons of the open ones."""
    dead_letters: dict[str, int]
    """Open ones by kind."""
    guard: GuardNote | None
    level: SlotLevel | None
    """None until a guard has looked."""
    snapshots: tuple[Reading, ...]
    drift: tuple[Drifted, ...] = ()
    held: tuple[HeldTrigger, ...] = ()
    """Of all sources."""
    doubts: tuple[tuple[str, str], ...] = ()
    """Tables whose last snapshot is not believed, and why."""


def read(connection: psycopg.Connection[Any], source: str) -> InLedger:
    """Everything at once."""
    now = connection.execute("select clock_timestamp()").fetchone()
    revision = connection.execute(
        "select id, capture -> 'tables' from wake.revision where source = %s order by id desc limit 1", (source,)
    ).fetchone()
    tables: dict[str, Any] = revision[1] if revision else {}
    mirrored = sorted(label for label, settings in tables.items() if settings.get("mirror", True))
    complete = connection.execute(
        'select "table" from wake.mirror_state where source = %s and complete', (source,)
    ).fetchall()
    position = connection.execute(
        'select "offset", read_from, clock, owner, "commit" from wake.source_position where source = %s', (source,)
    ).fetchone()
    guard = connection.execute(
        "select at, what, detail from wake.guard_event where source = %s order by id desc limit 1", (source,)
    ).fetchone()
    return InLedger(
        now=now[0] if now else datetime.min,
        revision=revision[0] if revision else None,
        position=ConsumerPosition(*position) if position else None,
        read=_read(connection, source),
        mirrors=len(mirrored),
        incomplete=tuple(label for label in mirrored if (label,) not in complete),
        gaps=_gaps(connection, source),
        dead_letters=_dead_letters(connection, source),
        guard=GuardNote(*guard) if guard else None,
        level=_level(connection, source),
        snapshots=_snapshots(connection, source),
        drift=_drift(connection, source),
        held=_held(connection),
        doubts=_doubts(connection, source),
    )


def _level(connection: psycopg.Connection[Any], source: str) -> SlotLevel | None:
    row = connection.execute(
        "select level, reasons, since, at, shed from wake.guard_state where source = %s", (source,)
    ).fetchone()
    return None if row is None else SlotLevel(row[0], tuple(row[1]), *row[2:])


def _drift(connection: psycopg.Connection[Any], source: str) -> tuple[Drifted, ...]:
    rows = connection.execute(
        "select what, remedy, affected, harmful, since from wake.drift where source = %s order by what", (source,)
    ).fetchall()
    return tuple(Drifted(what, remedy, tuple(names), *rest) for what, remedy, names, *rest in rows)


def _held(connection: psycopg.Connection[Any]) -> tuple[HeldTrigger, ...]:
    rows = connection.execute("select trigger, reason, since from wake.held_trigger order by trigger").fetchall()
    return tuple(HeldTrigger(*row) for row in rows)


def _snapshots(connection: psycopg.Connection[Any], source: str) -> tuple[Reading, ...]:
    rows = connection.execute(
        'select m."table", m.snapshot, m.snapshot_ended is not null,'
        ' (select count(*) from wake.snapshot_row r where r.source = m.source and r."table" = m."table"'
        " and r.image is not null)"
        ' from wake.mirror_state m where m.source = %s and m.snapshot_from is not null order by m."table"',
        (source,),
    ).fetchall()
    return tuple(Reading(*row) for row in rows)


def _doubts(connection: psycopg.Connection[Any], source: str) -> tuple[tuple[str, str], ...]:
    rows = connection.execute(
        'select "table", doubt from wake.mirror_state where source = %s and doubt is not null order by 1', (source,)
    ).fetchall()
    return tuple((label, doubt) for label, doubt in rows)


def _read(connection: psycopg.Connection[Any], source: str) -> dict[int, AgentPosition]:
    rows = connection.execute(
        "select partition, kafka_offset, clock from wake.partition_position where topic = %s", (topics.context(source),)
    ).fetchall()
    return {partition: AgentPosition(offset, clock) for partition, offset, clock in rows}


def _gaps(connection: psycopg.Connection[Any], source: str) -> tuple[str, ...]:
    rows = connection.execute(
        "select number, reason, tables from wake.gap where source = %s and state = 'open' order by number", (source,)
    ).fetchall()
    return tuple(f"{number}: {reason} ({', '.join(tables)})" for number, reason, tables in rows)


def _dead_letters(connection: psycopg.Connection[Any], source: str) -> dict[str, int]:
    rows = connection.execute(
        "select kind, count(*) from wake.dead_letter where state = 'open' and topic = any(%s) group by 1 order by 1",
        ([topics.changes(source), topics.context(source)],),
    ).fetchall()
    return dict(rows)
