"""Readers that do nothing but note when a row arrives: bare confluent-kafka, as fast as it reads (docs: libraries)."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Generator
from dataclasses import dataclass

import msgspec
from confluent_kafka import Consumer, KafkaException, Message, TopicPartition

from benchmarks.children import Ready
from wakestream.errors import FatalError

POLL = 0.2  # seconds
AT_ONCE = 500  # messages
PATIENCE = 120.0  # seconds without any of the awaited rows
BARE = {
    "group.id": "bench",
    "enable.auto.commit": False,
    "enable.auto.offset.store": False,
    "auto.offset.reset": "error",
    "fetch.wait.max.ms": 100,
    "fetch.queue.backoff.ms": 5,
    "queued.max.messages.kbytes": 32 * 1024,
}


class _Row(msgspec.Struct, gc=False):
    kind: str
    mark: int | None = None
    """None in the table of kinds."""


class _Change(msgspec.Struct, gc=False):
    op: str | None = None
    after: _Row | None = None


class _Data(msgspec.Struct, gc=False):
    after: _Row | None = None


class _Event(msgspec.Struct, gc=False):
    type: str
    data: _Data


_changes = msgspec.json.Decoder(_Change)
_events = msgspec.json.Decoder(_Event)


def _row_of_change(value: bytes) -> _Row | None:
    return _marked(_changes.decode(value).after)


def _row_of_event(value: bytes) -> _Row | None:
    return _marked(_events.decode(value).data.after)


def _marked(row: _Row | None) -> _Row | None:
    return row if row is not None and row.mark is not None else None


def _root_of_event(value: bytes) -> _Row | None:
    event = _events.decode(value)
    return event.data.after if event.type == "entity.changed" else None


def bare(ready: Ready, bootstrap: str, topic: str, marks: range) -> dict[int, float]:
    """When each marked row arrived in the change log."""
    return _arrivals(ready, bootstrap, topic, marks, _row_of_change)


def events(ready: Ready, bootstrap: str, topic: str, marks: range) -> dict[int, float]:
    """When each marked row arrived as a context event."""
    return _arrivals(ready, bootstrap, topic, marks, _row_of_event)


def documents(ready: Ready, bootstrap: str, topic: str, marks: range) -> dict[int, float]:
    """When the document that each marked row is the root of arrived."""
    return _arrivals(ready, bootstrap, topic, marks, _root_of_event)


@dataclass(frozen=True)
class Drained:
    """What a bare loop over a whole change log found, and what it took."""

    rows: int
    first: int
    """Offset of the first row."""
    last: int
    """Offset of the last row."""
    bytes: int
    """Of the rows' values."""
    cpu_s: float
    """Of the whole process from the first message on, librdkafka's threads included."""
    wall_s: float

    def applied(self, offset: int) -> int:
        """How many of the rows are applied by a consumer whose last record this is."""
        share = (offset - self.first) / (self.last - self.first)
        return round(self.rows * min(max(share, 0.0), 1.0))


def drain(ready: Ready, bootstrap: str, topic: str, rows: int) -> Drained:
    """Read and parse a change log from its beginning until there were so many rows."""
    offsets: list[int] = []
    size = 0
    with _consumer(bootstrap) as consumer:
        consumer.assign([TopicPartition(topic, 0, 0)])
        ready()
        cpu = wall = 0.0
        deadline = time.monotonic() + PATIENCE
        while len(offsets) < rows:
            found = _take(consumer, deadline, f"{len(offsets)} of {rows} rows of {topic}")
            cpu, wall = cpu or time.process_time(), wall or time.perf_counter()
            for message in found:
                value = message.value() or b""
                if _row_of_change(value) is not None:
                    offsets.append(message.offset() or 0)
                    size += len(value)
        spent = time.process_time() - cpu, time.perf_counter() - wall
    return Drained(len(offsets), offsets[0], offsets[-1], size, *spent)


def end_offsets(bootstrap: str, topic: str) -> dict[int, int]:
    """Where each partition of a topic ends."""
    with _consumer(bootstrap) as consumer:
        return _ends(consumer, topic)


def _arrivals(
    ready: Ready, bootstrap: str, topic: str, marks: range, row_of: Callable[[bytes], _Row | None]
) -> dict[int, float]:
    """The first arrival of each mark, from the topic's present end on."""
    arrived: dict[int, float] = {}
    with _consumer(bootstrap) as consumer:
        ends = _ends(consumer, topic)
        consumer.assign([TopicPartition(topic, partition, end) for partition, end in ends.items()])
        ready()
        deadline = time.monotonic() + PATIENCE
        while len(arrived) < len(marks):
            found = _take(consumer, deadline, f"{len(arrived)} of {len(marks)} rows in {topic}")
            at = time.perf_counter()
            for message in found:
                row = row_of(message.value() or b"")
                if row is not None and row.mark is not None and row.mark in marks:
                    arrived.setdefault(row.mark, at)
                    deadline = time.monotonic() + PATIENCE
    return arrived


def _take(consumer: Consumer, deadline: float, seen: str) -> list[Message]:
    """The first message as soon as it is there, with all that are there by then."""
    while (first := consumer.poll(POLL)) is None:
        if time.monotonic() > deadline:
            raise FatalError(f"nothing more came: {seen}")
    found = [first, *consumer.consume(AT_ONCE, 0)]
    for message in found:
        error = message.error()
        if error is not None:
            raise FatalError(f"{seen}; then Kafka said: {error.str()}")
    return found


def _ends(consumer: Consumer, topic: str) -> dict[int, int]:
    try:
        partitions = consumer.list_topics(topic, timeout=10).topics[topic].partitions
        return {
            number: consumer.get_watermark_offsets(TopicPartition(topic, number), timeout=10)[1]
            for number in sorted(partitions)
        }
    except KafkaException as error:
        raise FatalError(f"the ends of {topic} cannot be read: {error}") from error


@contextlib.contextmanager
def _consumer(bootstrap: str) -> Generator[Consumer]:
    consumer = Consumer({**BARE, "bootstrap.servers": bootstrap})
    try:
        yield consumer
    finally:
        consumer.close()
