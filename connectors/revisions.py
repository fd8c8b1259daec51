"""Revisions as `apply` stores them: in force at once, or from a control record in the change log on.

A revision that only takes away (a mask, an excluded column) or changes entities is in force at once, however far
behind the consumer is. One under which more is captured fits only what Debezium sends from some place on; there
`announce` puts a record, and the consumer takes the revision up when it reads that. What a snapshot must read because
of it is remembered in the same transaction, until the signal has been sent.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Sequence
from typing import Any

import msgspec
import psycopg

from wakestream import capture, change_log, kafka, reshaping, topics
from wakestream.capture import Capture, Revision
from wakestream.catalogue import Catalogue
from wakestream.change_log import Control
from wakestream.config.models import Kafka
from wakestream.ledger import settings


def is_same(ledger: psycopg.Connection, previous: Revision | None, catalogue: Catalogue, wanted: Capture) -> bool:
    """Whether the newest revision says this already, and no `wake detach` has ended it."""
    if previous is None or is_ended(ledger, previous):
        return False
    return previous.catalogue == catalogue and msgspec.structs.replace(previous.capture, placed="") == wanted


def needs_place(ledger: psycopg.Connection, previous: Revision | None, catalogue: Catalogue, wanted: Capture) -> bool:
    """Whether a new revision has to wait for its place in the log."""
    if previous is None:
        return False
    if set(reshaping.compare(previous, catalogue, wanted).values()) - {"narrower"}:
        return True
    if previous.capture.tables.keys() != wanted.tables.keys() or _more_columns(previous, catalogue, wanted):
        return True
    return bool(previous.capture.placed) and not _is_taken_up(ledger, previous)


def store(
    ledger: psycopg.Connection, previous: Revision | None, catalogue: Catalogue, wanted: Capture, *, placed: str
) -> None:
    """Store a revision, and which tables a snapshot must read because of it.

    `placed` is the name of its record in the log; empty for one that is in force at once.
    """
    fates = reshaping.compare(previous, catalogue, wanted)
    with ledger.transaction():
        capture.store(ledger, catalogue, msgspec.structs.replace(wanted, placed=placed))
        left = {label for label in due(ledger, catalogue.source) if fates.get(label) != "gone"}
        _remember_due(ledger, catalogue.source, left | reshaping.read_again(fates))


def new_name() -> str:
    """A name for a revision's record."""
    return secrets.token_hex(8)


def unannounced(ledger: psycopg.Connection, newest: Revision | None) -> str | None:
    """The record that the newest revision waits for, while nobody has said that it is in the log."""
    if newest is None or not newest.capture.placed:
        return None
    return None if settings.read(ledger, _announced(newest.source)) == newest.capture.placed else newest.capture.placed


def announce(config: Kafka, ledger: psycopg.Connection, source: str, name: str) -> None:
    """Put the record from which on a revision is in force at the end of the change log; twice does no harm."""
    record = Control(revision=name, ts_ms=time.time_ns() // 1_000_000)
    kafka.send(config, "control", topics.changes(source), [(change_log.key("revision"), change_log.encode(record))])
    settings.write(ledger, _announced(source), name)


def due(ledger: psycopg.Connection, source: str) -> list[str]:
    """Tables that a snapshot must read and for which none has been signalled yet."""
    text = settings.read(ledger, _due(source))
    return [] if text is None else msgspec.json.decode(text, type=list[str])


def signalled(ledger: psycopg.Connection, source: str, labels: Sequence[str]) -> None:
    """The snapshot of these tables has been asked for."""
    _remember_due(ledger, source, set(due(ledger, source)) - set(labels))


def remember_due(ledger: psycopg.Connection, source: str, labels: Sequence[str]) -> None:
    """These tables must be read by a snapshot, too."""
    _remember_due(ledger, source, {*due(ledger, source), *labels})


def forget(ledger: psycopg.Connection, source: str) -> None:
    """The source is no longer attached; what comes next is a first revision again."""
    ledger.execute("delete from wake.setting where name = any(%s)", ([_announced(source), _due(source)],))
    newest = capture.load(ledger, source)
    if newest is not None:
        settings.write(ledger, _ended(source), str(newest.id))


def is_ended(ledger: psycopg.Connection[Any], newest: Revision) -> bool:
    """Whether its source was detached since: revisions stay, as the history of runs does."""
    return settings.read(ledger, _ended(newest.source)) == str(newest.id)


def _remember_due(ledger: psycopg.Connection, source: str, labels: set[str]) -> None:
    if labels:
        settings.write(ledger, _due(source), msgspec.json.encode(sorted(labels)).decode())
    else:
        ledger.execute("delete from wake.setting where name = %s", (_due(source),))


def _more_columns(previous: Revision, catalogue: Catalogue, wanted: Capture) -> bool:
    """Whether any table shows a column that it did not show before; for tables without a mirror, too."""
    return any(
        _shown(catalogue, wanted, label) - _shown(previous.catalogue, previous.capture, label)
        for label in wanted.tables
    )


def _shown(catalogue: Catalogue, captured: Capture, label: str) -> set[str]:
    table = catalogue.table(label)
    return {c.name for c in table.columns if c.name not in captured.tables[label].hidden} if table else set()


def _is_taken_up(ledger: psycopg.Connection, revision: Revision) -> bool:
    row = ledger.execute(
        "select revision >= %s from wake.source_position where source = %s", (revision.id, revision.source)
    ).fetchone()
    return bool(row and row[0])


def _announced(source: str) -> str:
    return f"announced_revision/{source}"


def _ended(source: str) -> str:
    return f"ended_revision/{source}"


def _due(source: str) -> str:
    return f"due_snapshot/{source}"
