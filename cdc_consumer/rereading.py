"""The change log, read again: for a transaction that was too large to keep, and for what it told shortly before."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterable, Iterator
from typing import Protocol

from confluent_kafka import KafkaException, TopicPartition

from wakestream import kafka, topics
from wakestream.config.models import Kafka
from wakestream.errors import TransientError

AT_ONCE = 500  # messages
AHEAD = 4 * 1024  # KB
POLL = 0.2  # seconds
PATIENCE = 20.0  # seconds without an answer

Record = tuple[int, bytes | None, bytes | None]
"""Offset, key and value of a message."""


class Log(Protocol):
    """One source's change log. The real one is `ChangeLog`."""

    def between(self, first: int, last: int) -> Iterable[Record]:
        """Its records from one offset up to another, which must be there."""
        ...

    def since(self, ts_ms: int) -> int:
        """The first of its records of this time or later; the next one to come where there is none."""
        ...


class ChangeLog:
    """A source's change log in Kafka."""

    def __init__(self, settings: Kafka, source: str) -> None:
        self._settings = settings
        self._name = f"reread-{source}"
        self._topic = topics.changes(source)

    def between(self, first: int, last: int) -> Iterator[Record]:
        """Its records from one offset up to another, which must be there.

        Raises `TransientError` when the broker does not give them in time.
        """
        with contextlib.closing(kafka.reader(self._settings, self._name, ahead_kb=AHEAD)) as reader:
            reader.assign([TopicPartition(self._topic, 0, first)])
            heard = time.monotonic()
            while time.monotonic() - heard < PATIENCE:
                for message in reader.consume(AT_ONCE, POLL):
                    error = message.error()
                    if error is not None:
                        raise kafka.convert(error, f"reading {self._topic} again")
                    offset, heard = message.offset() or 0, time.monotonic()
                    if offset > last:
                        return
                    yield offset, message.key(), message.value()  # pyright: ignore[reportReturnType]
                    if offset == last:
                        return
        raise TransientError(f"{self._topic} cannot be read again from offset {first}")

    def since(self, ts_ms: int) -> int:
        """The first of its records of this time or later; the next one to come where there is none.

        Raises `TransientError` when the broker does not say so in time.
        """
        with contextlib.closing(kafka.reader(self._settings, self._name)) as reader:
            _, high = kafka.watermarks(reader, self._topic, 0)
            try:
                times = [TopicPartition(self._topic, 0, ts_ms)]
                (found,) = reader.offsets_for_times(times, timeout=kafka.REQUEST_TIMEOUT)
            except KafkaException as error:
                raise kafka.convert(error, f"looking for a time in {self._topic}") from error
        if found.error is not None:
            raise kafka.convert(found.error, f"looking for a time in {self._topic}")
        return high if found.offset < 0 else found.offset
