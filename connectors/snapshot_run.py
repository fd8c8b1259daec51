"""One incremental snapshot from its request to the settled context store: refused early, followed in the change log."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import closing
from typing import Literal

import msgspec
import psycopg
from confluent_kafka import Consumer, TopicPartition
from psycopg import sql

from connectors import databases, ledger_setup, snapshots
from connectors.connect import Connect, ConnectorMissing
from connectors.snapshots import Settling
from wakestream import capture, kafka, topics
from wakestream.capture import Revision
from wakestream.config import Loaded
from wakestream.config.loading import nearest
from wakestream.errors import ConfigurationError, RefusedError, TransientError

State = Literal["asked", "reading", "read", "settled", "stopped"]
"""`read`: Debezium has read everything; `settled`: the context store holds it, and gaps that it covers are closed."""

PATIENCE = 120.0  # seconds for Debezium to take a signal up, and for the log to move on
LOOK = 0.5  # seconds between two looks
_ROW = b'"snapshot":"incremental"'


class Progress(msgspec.Struct, frozen=True):
    """How far a snapshot has come."""

    snapshot: str
    state: State
    rows: int
    tables_done: tuple[str, ...]
    seconds: float

    @property
    def rows_per_second(self) -> float:
        """Since the first row was seen."""
        return self.rows / self.seconds if self.seconds else 0.0


class _Data(msgspec.Struct):
    scanned_collection: str = ""


class _Notice(msgspec.Struct):
    id: str = ""
    type: str = ""
    additional_data: _Data | None = None


_notices = msgspec.json.Decoder(_Notice)


class SnapshotRun:
    """One snapshot that was asked for; `follow` gives its progress until it is settled."""

    def __init__(self, loaded: Loaded, source: str, labels: Sequence[str], where: str | None = None) -> None:
        self._loaded = loaded
        self._source = source
        self._labels = labels
        self._where = where
        self._topic = topics.changes(source)

    def follow(self) -> Iterator[Progress]:
        """Ask for it, and tell how far it is whenever there is news.

        Raises `TransientError` when nothing moves for two minutes; the snapshot goes on all the same.
        """
        with closing(kafka.reader(self._loaded.config.kafka, "snapshot")) as reader:
            _, end = kafka.watermarks(reader, self._topic, 0)
            reader.assign([TopicPartition(self._topic, 0, end)])
            name = snapshots.signal(self._loaded.config.kafka, self._source, self._labels, where=self._where)
            last = Progress(name, "asked", 0, (), 0.0)
            yield last
            for last in self._read(reader, name):
                yield last
        if last.state == "read":
            self._settle()
            yield msgspec.structs.replace(last, state="settled")

    def _read(self, reader: Consumer, name: str) -> Iterator[Progress]:
        rows, done, began, moved = 0, list[str](), 0.0, time.monotonic()
        state: State = "asked"
        while state not in ("read", "stopped"):
            before = (rows, state)
            for message in reader.consume(5000, LOOK):
                error = message.error()
                if error is not None:
                    raise kafka.convert(error, f"reading {self._topic}")
                value = message.value() or b""
                if _ROW in value:
                    rows += 1
                elif name.encode() in value:
                    notice = _notices.decode(value)
                    state = _state(notice.type, state)
                    began = began or time.monotonic()
                    if notice.type == "TABLE_SCAN_COMPLETED" and notice.additional_data:
                        done.append(notice.additional_data.scanned_collection)
            if (rows, state) != before:
                moved = time.monotonic()
                yield Progress(name, state, rows, tuple(done), moved - began)
                continue
            self._restart_failed()
            if time.monotonic() - moved > PATIENCE:
                raise TransientError(
                    f"nothing was heard of snapshot {name} for {PATIENCE:g} s; `wake status` shows whether the"
                    " connector runs, and `wake guard` settles the snapshot when it ends"
                )

    def _restart_failed(self) -> None:
        """What the guard does too, so that no guard is needed."""
        with Connect(self._loaded.config.connect.url) as client:
            if client.status_now(topics.connector(self._source)).failure is not None:
                client.restart(topics.connector(self._source))

    def _settle(self) -> None:
        """What the guard does too; the consumer is needed."""
        settling = Settling(self._loaded.config.kafka, self._source, self._open)
        deadline = time.monotonic() + PATIENCE
        with ledger_setup.session(self._loaded, "snapshot") as connection, databases.asking("the ledger"):
            while not (settling.look(connection) and not snapshots.is_read(connection, self._source)):
                if time.monotonic() > deadline:
                    raise TransientError(
                        f"the snapshot is read, and the consumer of {self._source} has not come to its end:"
                        " does `wake consume` run? `wake guard` settles it then"
                    )
                self._restart_failed()
                time.sleep(LOOK)

    def _open(self) -> databases.Connection:
        return databases.capture(self._loaded, self._source, purpose="snapshot")


def check(loaded: Loaded, source: str, labels: Sequence[str], where: str | None = None) -> None:
    """Everything of which Debezium would say nothing, or success.

    Raises `ConfigurationError` for names that are not captured, `RefusedError` for what cannot be read now.
    """
    databases.require_own(loaded, source, "snapshot")
    with ledger_setup.session(loaded, "snapshot") as connection, databases.asking("the ledger"):
        revision = capture.load(connection, source)
        if revision is None:
            raise RefusedError(f"{source} is not attached; run `wake apply`")
        _check_tables(revision, labels)
        if snapshots.is_read(connection, source):
            raise RefusedError(f"a snapshot of {source} runs already; `wake status` shows it, `--stop` ends it")
    if where is not None:
        _check_where(loaded, source, labels, where)
    with Connect(loaded.config.connect.url) as client:
        try:
            found = client.status_now(topics.connector(source))
        except ConnectorMissing:
            raise RefusedError(f"there is no connector {topics.connector(source)}; run `wake apply`") from None
    if not found.running:
        raise RefusedError(f"connector {found.label}: it must run to read a snapshot; see `wake repair {source}`")


def _check_tables(revision: Revision, labels: Sequence[str]) -> None:
    for label in labels:
        if label not in revision.capture.tables:
            raise ConfigurationError(f"{label} is not captured{nearest(label, revision.capture.tables)}")
        if not revision.catalogue.tables[label].key:
            raise RefusedError(f"{label} has no primary key, and an incremental snapshot goes along it")


def _check_where(loaded: Loaded, source: str, labels: Sequence[str], where: str) -> None:
    if len(labels) != 1:
        raise ConfigurationError("--where is SQL over one table's columns: name one table with it")
    table = sql.Identifier(*labels[0].split(".", 1))
    condition = sql.SQL(where)  # pyright: ignore[reportArgumentType] - SQL is what it is
    query = sql.SQL("select from {} where ({}) limit 0").format(table, condition)
    with databases.capture(loaded, source, purpose="snapshot") as reader:
        try:
            reader.execute(query)
        except psycopg.Error as error:
            raise ConfigurationError(f"--where: {error.diag.message_primary or error}") from error


def _state(kind: str, before: State) -> State:
    if kind == "COMPLETED":
        return "read"
    return "stopped" if kind in ("ABORTED", "SKIPPED") else "reading" if before == "asked" else before
