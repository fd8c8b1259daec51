"""The position row of a source: how far the context store has come, and who may move it."""

from __future__ import annotations

import dataclasses
import os
import socket
from datetime import datetime

import msgspec

from wakestream.errors import TakenOverError
from wakestream.ledger.connection import Answer, Connection

_COLUMNS = 'log, topic_id, system_identifier, timeline, "offset", "commit", read_from, revision, epoch'


class Position(msgspec.Struct, frozen=True):
    """What is applied of a change log, as committed in the ledger."""

    log: int
    topic_id: str
    system_identifier: str
    timeline: int
    offset: int
    """The last applied piece's record; -1 before the first."""
    commit: int | None
    """END's LSN of the last applied transaction."""
    read_from: int
    """The first record that a restart must see."""
    revision: int
    epoch: int
    """Rises with every owner; only the newest may move the row."""


@dataclasses.dataclass(slots=True)
class Ownership:
    """The epoch under which this process owns a source, once it does: it takes a source over once, and never back."""

    epoch: int | None = None


def take_over(connection: Connection, source: str, held: Ownership) -> Position | None:
    """Become the owner: end the old one's backend, raise the epoch. None for a source without a position yet.

    A transaction that the old owner left open would otherwise hold the row, and could still commit. Raises
    `TakenOverError` when somebody else has become the owner since we did.
    """
    found = connection.execute("select epoch from wake.source_position where source = %s", (source,)).fetchone()
    if found is None:
        return None
    if held.epoch not in (None, found[0]):
        raise _taken_over(source)
    make_durable(connection)
    connection.execute(
        "select pg_terminate_backend(a.pid, 5000) from wake.source_position p join pg_stat_activity a"
        " on a.pid = p.backend_pid and a.application_name like 'wake consume%%'"
        " where p.source = %s and a.pid <> pg_backend_pid()",
        (source,),
    )
    row = connection.execute(
        "update wake.source_position set epoch = epoch + 1, owner = %s, backend_pid = pg_backend_pid()"  # noqa: S608
        f" where source = %s and epoch = %s returning {_COLUMNS}",
        (owner(), source, found[0]),
    ).fetchone()
    if row is None:
        raise _taken_over(source)
    connection.commit()
    held.epoch = row[-1]
    return Position(*row)


def make_durable(connection: Connection) -> None:
    """Let this transaction survive a crash of the ledger from its commit on, as what is published after it must."""
    connection.execute("set local synchronous_commit = on")


def create(connection: Connection, source: str, position: Position) -> None:
    """The first position of a source in this ledger, owned by the caller."""
    connection.execute(
        f"insert into wake.source_position (source, owner, backend_pid, {_COLUMNS})"  # noqa: S608
        " values (%s, %s, pg_backend_pid(), %s, %s, %s, %s, %s, %s, %s, %s, %s)",
        (source, owner(), *msgspec.structs.astuple(position)),
    )


def clock(connection: Connection, source: str) -> datetime | None:
    """The source's time at its position."""
    row = connection.execute("select clock from wake.source_position where source = %s", (source,)).fetchone()
    return None if row is None else row[0]


def set_revision(connection: Connection, source: str, revision: int) -> None:
    """Under which revision the source is worked on from here."""
    connection.execute("update wake.source_position set revision = %s where source = %s", (revision, source))


def replace(connection: Connection, source: str, position: Position) -> None:
    """Set everything but the owner, as a new log needs."""
    connection.execute(
        f"update wake.source_position set ({_COLUMNS}) = (%s, %s, %s, %s, %s, %s, %s, %s, %s)"  # noqa: S608
        " where source = %s",
        (*msgspec.structs.astuple(position), source),
    )


def claim(connection: Connection, source: str, epoch: int) -> int:
    """Lock the row for a cycle; returns the id of the source's newest revision.

    Raises `TakenOverError` when another consumer has taken the source over.
    """
    return claimed(ask_claim(connection, source, epoch), source)


def ask_claim(connection: Connection, source: str, epoch: int) -> Answer:
    """Ask for the row's lock; `claimed` takes the answer. What is asked next travels with it."""
    return connection.ask(
        "select (select max(r.id) from wake.revision r where r.source = p.source)"
        " from wake.source_position p where p.source = %s and p.epoch = %s for update of p",
        (source, epoch),
    )


def claimed(asked: Answer, source: str) -> int:
    """The id of the source's newest revision; nothing may be published before.

    Raises `TakenOverError` when another consumer has taken the source over.
    """
    rows = asked.fetchall()
    if not rows:
        raise _taken_over(source)
    return int(rows[0][0])


def move(
    connection: Connection,
    source: str,
    *,
    offset: int,
    commit: int | None,
    read_from: int,
    clock: datetime | None,
) -> None:
    """Move the claimed row to the end of a cycle; travels with the commit."""
    connection.ask(
        'update wake.source_position set "offset" = %s, "commit" = %s, read_from = %s,'
        " clock = coalesce(%s, clock), updated_at = clock_timestamp() where source = %s",
        (offset, commit, read_from, clock, source),
    )


def _taken_over(source: str) -> TakenOverError:
    return TakenOverError(f"another consumer has taken over {source}; this one stops")


def owner() -> str:
    """Who we are, for people."""
    return f"{socket.gethostname()}:{os.getpid()}"
