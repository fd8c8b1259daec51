"""Snapshots while a source is streamed: signals to Debezium, and the control record that settles what they read.

Where a transaction ends while Debezium begins to read a table, two of its threads read over one connection: its task
may fail, a table may be given up, rows may be read twice. A snapshot that shows signs of that is not believed, and
asked for again.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Sequence
from typing import Any, Literal

import msgspec
import psycopg

from connectors import databases
from connectors.connect import types
from connectors.databases import Connection
from wakestream import change_log, kafka, topics
from wakestream.change_log import Control
from wakestream.config.models import Kafka
from wakestream.errors import RefusedError

Order = Literal["stop-snapshot", "pause-snapshot", "resume-snapshot"]

RESEND = 10.0  # seconds until control records are sent again that seem to have had no effect
AGAIN = (5.0, 15.0, 30.0, 60.0, 600.0)  # seconds until a snapshot that is not believed is asked for again
ROWS_A_RECORD = 2000  # about as many waiting rows one control record lets in
MOST_RECORDS = 100  # at once
_IN_PROGRESS = "incremental_snapshot_collections"  # in a connector's offsets
_UNREADABLE = re.compile(r"""\s|(?:^|\.)["'`\[]""")


def signal(config: Kafka, source: str, labels: Sequence[str], *, where: str | None = None) -> str:
    """Ask Debezium for an incremental snapshot of these tables; returns its id.

    `where` is SQL over one table's columns; without it the tables are read whole.
    """
    identifier = change_log.snapshot_id(whole=where is None)
    require_readable(labels)
    collections = [re.escape(label) for label in labels]
    data: dict[str, Any] = {"data-collections": collections, "type": "INCREMENTAL"}
    if where is not None:
        data["additional-conditions"] = [{"data-collection": each, "filter": where} for each in collections]
    _send(config, source, identifier, "execute-snapshot", data)
    return identifier


def unreadable(labels: Sequence[str]) -> list[str]:
    """Those that an incremental snapshot cannot read."""
    return [label for label in labels if _UNREADABLE.search(label)]


def require_readable(labels: Sequence[str]) -> None:
    """Refuse tables that an incremental snapshot cannot read.

    Debezium takes a table's name apart again where it keeps how far the snapshot has come, without quotes. A blank,
    or a quote at the beginning of a part, is more than it can read: it passes over the table and reports success, or
    its task fails and never starts again. Raises `RefusedError`.
    """
    beyond = unreadable(labels)
    if beyond:
        raise RefusedError(
            f"Debezium cannot read {', '.join(beyond)} by an incremental snapshot, for a name has a blank in it"
            " or begins with a quote: rename it, or `wake detach` and `wake apply`, which reads everything once more"
        )


def order(config: Kafka, source: str, what: Order) -> None:
    """Stop, pause or resume the snapshots that run."""
    _send(config, source, change_log.snapshot_id(whole=False), what, {"type": "INCREMENTAL"})


def declare_gap(config: Kafka, source: str, tables: Sequence[str] | None, reason: str) -> None:
    """Say in the change log that changes of these tables (of all, without) may be missing from here on."""
    control = Control(reason=reason, tables=None if tables is None else list(tables), ts_ms=_now_ms())
    kafka.send(config, "control", topics.changes(source), [(change_log.key("gap"), change_log.encode(control))])


def declare_restored(config: Kafka, source: str, reason: str) -> None:
    """Say in the change log that what follows is of another history of the database: positions begin anew."""
    control = Control(reason=reason, ts_ms=_now_ms())
    kafka.send(config, "control", topics.changes(source), [(change_log.key("restored"), change_log.encode(control))])


def is_read(ledger: psycopg.Connection[Any], source: str) -> bool:
    """Whether a snapshot reads a table of this source, or waits to be settled."""
    return bool(read_now(ledger, source))


def read_now(ledger: psycopg.Connection[Any], source: str) -> set[str]:
    """The tables of this source that a snapshot reads, or whose snapshot waits to be settled."""
    query = 'select "table" from wake.mirror_state where source = %s and snapshot_from is not null'
    return {label for (label,) in ledger.execute(query, (source,))}


def ask_anew(config: Kafka, ledger: psycopg.Connection[Any], source: str, offsets: Sequence[types.Offset]) -> None:
    """Ask once more for the snapshots that were being read when the task failed, unless it goes on with them.

    `offsets` are the connector's: Debezium goes on with what stands there. What it had only just begun does not, and
    nobody would ever tell its end.
    """
    if any(each.offset and each.offset.get(_IN_PROGRESS) for each in offsets):
        return
    query = (
        'select "table", whole from wake.mirror_state where source = %s and ahead and snapshot_from is not null'
        " and snapshot_ended is null order by 1"
    )
    for label, whole in ledger.execute(query, (source,)).fetchall():
        signal(config, source, [label], where=None if whole else "true")


class Settling:
    """Follows the snapshots of one source that have ended, until what they have read is settled.

    What a snapshot has read was committed before it ended. Once the consumer has applied a transaction that was
    committed after we saw the end, all of that has passed through the log, and the control record may say so.
    """

    def __init__(self, config: Kafka, source: str, open_source: Callable[[], Connection]) -> None:
        self._config = config
        self._source = source
        self._open_source = open_source
        self._ended = -1
        self._until = 0
        self._sent_at: float | None = None
        self._asked = 0
        self._ask_at: float | None = None

    def look(self, ledger: psycopg.Connection[Any]) -> bool:
        """Do what can be done now; whether everything is settled."""
        return self._settle(ledger) and self._ask_again(ledger)

    def _ask_again(self, ledger: psycopg.Connection[Any]) -> bool:
        """Ask for the snapshots again that are not believed; whether there are none."""
        query = (
            'select "table", starts_with(doubt, %s) from wake.mirror_state'
            " where source = %s and doubt is not null and snapshot_from is null order by 1"
        )
        doubted = ledger.execute(query, (change_log.IN_PART, self._source)).fetchall()
        if not doubted:
            if not is_read(ledger, self._source):
                self._asked, self._ask_at = 0, None
            return True
        if self._ask_at is None:
            self._ask_at = time.monotonic() + (AGAIN[0] if self._asked else 0.0)
        if time.monotonic() >= self._ask_at:
            self._ask(doubted)
            self._asked += 1
            self._ask_at = time.monotonic() + AGAIN[min(self._asked, len(AGAIN) - 1)]
        return False

    def _ask(self, doubted: Sequence[tuple[str, bool]]) -> None:
        """What was read whole is read whole again; where only values were, no row may be taken for gone."""
        whole = [label for label, in_part in doubted if not in_part]
        if whole:
            signal(self._config, self._source, whole)
        for label, in_part in doubted:
            if in_part:
                signal(self._config, self._source, [label], where="true")

    def _settle(self, ledger: psycopg.Connection[Any]) -> bool:
        row = ledger.execute(
            'select max(m.snapshot_ended), min(p."commit") from wake.mirror_state m'
            " join wake.source_position p using (source) where m.source = %s",
            (self._source,),
        ).fetchone()
        ended, commit = row or (None, None)
        if ended is None:
            self._ended = -1
            return True
        if ended != self._ended:
            self._until, self._ended, self._sent_at = self._end_of_wal(), ended, None
        if commit is not None and commit > self._until and self._is_due():
            self._send_records(ledger)
        return False

    def _is_due(self) -> bool:
        return self._sent_at is None or time.monotonic() - self._sent_at >= RESEND

    def _end_of_wal(self) -> int:
        what = f"source {self._source}, asking for the end of its WAL"
        with self._open_source() as reader, databases.asking(what):
            return databases.end_of_wal(reader)

    def _send_records(self, ledger: psycopg.Connection[Any]) -> None:
        row = ledger.execute(
            "select count(*) from wake.snapshot_row where source = %s and image is not null", (self._source,)
        ).fetchone()
        count = min(MOST_RECORDS, 1 + (row[0] if row else 0) // ROWS_A_RECORD)
        control = Control(ended=self._ended, ts_ms=_now_ms())
        record = (change_log.key("snapshot"), change_log.encode(control))
        kafka.send(self._config, "control", topics.changes(self._source), [record] * count)
        self._sent_at = time.monotonic()


def _send(config: Kafka, source: str, identifier: str, kind: str, data: dict[str, Any]) -> None:
    body = {"id": identifier, "type": kind, "data": data}
    kafka.send(config, "signal", topics.signal(source), [(source.encode(), msgspec.json.encode(body))])


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
