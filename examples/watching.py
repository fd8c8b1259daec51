"""What passes through Kafka, as a bystander sees it: each record with the time that it bears."""

from __future__ import annotations

import json
import queue
import threading
from dataclasses import dataclass
from typing import Any, cast

from confluent_kafka import Message, TopicPartition

from wakestream import events, kafka, topics
from wakestream.config.models import Kafka
from wakestream.errors import EventError
from wakestream.events import ContextEvent

POLL = 0.2  # seconds


@dataclass(frozen=True)
class SeenChange:
    """A row change in the change log."""

    at: float
    offset: int
    operation: str
    table: str
    after: dict[str, Any]


@dataclass(frozen=True)
class SeenEvent:
    """A context event."""

    at: float
    partition: int
    offset: int
    event: ContextEvent


class Watcher:
    """Reads change log and context events of a source from now on. A context manager."""

    def __init__(self, settings: Kafka, source: str) -> None:
        self.seen: queue.SimpleQueue[SeenChange | SeenEvent] = queue.SimpleQueue()
        self._changes, self._context = topics.changes(source), topics.context(source)
        self._consumer = kafka.reader(settings, "demo")
        count = kafka.partition_count(kafka.admin(settings), self._context)
        places = [(self._changes, 0), *((self._context, number) for number in range(count))]
        ends = [(topic, number, kafka.watermarks(self._consumer, topic, number)[1]) for topic, number in places]
        self._consumer.assign([TopicPartition(*each) for each in ends])
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._read, name="watcher", daemon=True)

    def __enter__(self) -> Watcher:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()
        self._consumer.close()

    def take(self) -> list[SeenChange | SeenEvent]:
        """What has come since the last time."""
        found: list[SeenChange | SeenEvent] = []
        while not self.seen.empty():
            found.append(self.seen.get())
        return found

    def _read(self) -> None:
        while not self._ended.is_set():
            message = self._consumer.poll(POLL)
            if message is None or message.error() is not None:
                continue  # librdkafka goes on by itself, and who only watches has nothing to lose
            at = message.timestamp()[1] / 1000  # when it was handed to the broker
            record = self._change(message, at) if message.topic() == self._changes else self._event(message, at)
            if record is not None:
                self.seen.put(record)

    def _change(self, message: Message, at: float) -> SeenChange | None:
        value: object = json.loads(message.value() or b"null")
        if not isinstance(value, dict):
            return None
        record = cast("dict[str, Any]", value)
        source: dict[str, Any] = record.get("source") or {}
        if record.get("op") not in ("c", "u", "d"):
            return None
        table = f"{source.get('schema')}.{source.get('table')}"
        return SeenChange(at, message.offset() or 0, record["op"], table, record.get("after") or {})

    def _event(self, message: Message, at: float) -> SeenEvent | None:
        try:
            event = events.parse(message.value() or b"")
        except EventError:
            return None
        return SeenEvent(at, message.partition() or 0, message.offset() or 0, event)
