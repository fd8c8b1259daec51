"""Whether a source's initial snapshot was taken in one piece: read from the notifications in its change log.

A snapshot that was interrupted is repeated by Debezium beside the slot of the first attempt, which loses its
consistency. The repetition shows as a second STARTED before the first COMPLETED, whoever was watching or not.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator
from contextlib import contextmanager
from typing import Literal

import msgspec
import psycopg
from confluent_kafka import Consumer, TopicPartition

from wakestream import kafka, topics
from wakestream.config.models import Kafka
from wakestream.ledger import settings

Progress = Literal["waiting", "running", "interrupted", "starting over", "complete"]
"""`waiting`: not begun yet; `starting over`: somebody was about to begin a new one, and may have died on the way."""

BATCH = 1000
TIMEOUT = 1.0  # seconds for one read
_COMPLETE = "complete"
_STARTING_OVER = "starting over"
_MARK = b'"aggregate_type":"Initial Snapshot"'


class _Notification(msgspec.Struct):
    type: str


_decoder = msgspec.json.Decoder(_Notification)


def end_of_log(config: Kafka, source: str) -> int:
    """Where the next record of the change log will stand."""
    with _reader(config) as reader:
        return kafka.watermarks(reader, topics.changes(source), 0)[1]


def begin(connection: psycopg.Connection, source: str, offset: int) -> None:
    """Remember that an initial snapshot begins, and from where in the change log it stands."""
    settings.write(connection, _setting(source), str(offset))


def begin_anew(connection: psycopg.Connection, source: str) -> None:
    """Remember that the connector is being taken down for a new snapshot; `begin` ends that."""
    settings.write(connection, _setting(source), _STARTING_OVER)


def forget(connection: psycopg.Connection, source: str) -> None:
    """The source is no longer attached."""
    connection.execute("delete from wake.setting where name = %s", (_setting(source),))


class SnapshotLog:
    """Follows the notifications of one source's initial snapshot; each record of the log is read once."""

    def __init__(self, config: Kafka, source: str) -> None:
        self._config = config
        self._source = source
        self._from = -1
        self._next = -1
        self._started = 0
        self._completed = False

    def progress(self, connection: psycopg.Connection) -> Progress:
        """How far the snapshot has come. Remembered in the ledger once it is complete."""
        start = settings.read(connection, _setting(self._source))
        if start is None or start == _COMPLETE:
            return "complete"
        if start == _STARTING_OVER:
            return _STARTING_OVER
        if int(start) != self._from:
            self._from = self._next = int(start)
            self._started, self._completed = 0, False
        if not self._completed:
            self._read_on()
        if self._started > 1:
            return "interrupted"
        if not self._completed:
            return "running" if self._started else "waiting"
        settings.write(connection, _setting(self._source), _COMPLETE)
        return "complete"

    def _read_on(self) -> None:
        with _reader(self._config) as reader:
            for kind in self._notifications(reader):
                self._started += kind == "STARTED"
                if kind == "COMPLETED":
                    self._completed = True
                    return

    def _notifications(self, reader: Consumer) -> Iterator[str]:
        topic = topics.changes(self._source)
        low, high = kafka.watermarks(reader, topic, 0)
        self._next = max(self._next, low)
        reader.assign([TopicPartition(topic, 0, self._next)])
        while self._next < high:
            for message in reader.consume(BATCH, TIMEOUT):
                error = message.error()
                if error is not None:
                    raise kafka.convert(error, f"reading {topic}")
                self._next = (message.offset() or 0) + 1
                value = message.value()
                if isinstance(value, bytes) and _MARK in value[:200]:
                    yield _decoder.decode(value).type


@contextmanager
def _reader(config: Kafka) -> Generator[Consumer]:
    reader = kafka.reader(config, "guard")
    try:
        yield reader
    finally:
        reader.close()


def _setting(source: str) -> str:
    return f"initial_snapshot/{source}"
