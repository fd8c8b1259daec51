"""Reading context topics for people: in order while there is history, then as events come, by the reader's rule."""

from __future__ import annotations

import contextlib
import heapq
from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import NamedTuple

import msgspec
from confluent_kafka import OFFSET_BEGINNING, OFFSET_END, Consumer, KafkaException, Message, TopicPartition

from console import subjects
from wakestream import events, kafka, topics
from wakestream.config.models import Kafka
from wakestream.errors import EventError, RefusedError
from wakestream.events import ContextEvent, ReaderRule

POLL_TIMEOUT = 0.5  # seconds
BROADCAST = ("context.gap", "context.clock", "table.truncated")

Place = tuple[str, int]
"""Topic and partition."""


class Wanted(msgspec.Struct, frozen=True):
    """What to show."""

    start: datetime | str = "end"
    """`beginning`, `end`, or a time."""
    name: str | None = None
    """Only this table (`public.flight`) or entity."""
    key: str | None = None
    """Only this key of it."""
    clock: bool = False
    """The clock's events too."""
    follow: bool = True

    @property
    def subject(self) -> str | None:
        """The one subject that is wanted, if it is one."""
        return f"{self.name}/{subjects.key_part(self.key)}" if self.name and self.key else None


class Seen(NamedTuple):
    """One event as it came."""

    payload: bytes
    event: ContextEvent


class Tail:
    """Reads the context topics of some sources; `close` it after use."""

    def __init__(self, settings: Kafka, sources: Sequence[str], wanted: Wanted) -> None:
        self._settings = settings
        self._wanted = wanted
        self._rules = {source: ReaderRule() for source in sources}
        self._told: dict[str, str] = {}
        self.unreadable: list[str] = []
        """Places of messages that are no context events, with the reason."""
        places = _places(settings, sources, wanted)
        with contextlib.ExitStack() as opening:
            self._open = opening
            consumer = self._reader()
            try:
                self._spans = _spans(consumer, places, wanted.start)
            except KafkaException as error:
                raise kafka.convert(error, "looking where to start") from error
            consumer.assign([TopicPartition(*place, span.stop) for place, span in self._spans.items()])
            self._following = consumer
            self._open = opening.pop_all()

    def close(self) -> None:
        """Leave the broker."""
        self._open.close()

    def __iter__(self) -> Iterator[Seen]:
        """The events: what was there at the start in the order of their positions, then as they come."""
        # A reader for each partition: whichever is ahead just waits until its turn.
        for message in heapq.merge(*(self._history(place, span) for place, span in self._spans.items()), key=_rank):
            yield from self._wanted_ones(message)
        while self._wanted.follow:
            message = _poll(self._following)
            if message is not None:
                yield from self._wanted_ones(message)

    def _history(self, place: Place, span: range) -> Iterator[Message]:
        """What is in one partition already."""
        if not span:
            return
        reader = self._reader()
        reader.assign([TopicPartition(*place, span.start)])
        offset = span.start
        while offset < span.stop:
            message = _poll(reader)
            if message is not None:
                yield message
                offset = (message.offset() or 0) + 1

    def _reader(self) -> Consumer:
        return self._open.enter_context(contextlib.closing(kafka.reader(self._settings, "tail")))

    def _wanted_ones(self, message: Message) -> Iterator[Seen]:
        payload = message.value() or b""
        topic, partition = _place(message)
        try:
            event = events.parse(payload)
        except EventError as error:
            self.unreadable.append(f"{topic}[{partition}] at {message.offset()}: {error}")
            return
        source = topic.removesuffix(topics.context(""))
        if not self._rules[source].is_new(partition, event.data.position) or not self._is_wanted(event):
            return
        if event.type in BROADCAST:
            # One id in every partition.
            if self._told.get(f"{source} {event.type}") == event.id:
                return
            self._told[f"{source} {event.type}"] = event.id
        yield Seen(payload, event)

    def _is_wanted(self, event: ContextEvent) -> bool:
        wanted = self._wanted
        if event.type == "context.clock":
            return wanted.clock
        if isinstance(wanted.start, datetime) and event.at < wanted.start:
            return False
        if event.type in BROADCAST:
            return wanted.name in (None, event.table, *event.data.tables)
        if wanted.subject is not None:
            return event.subject == wanted.subject
        if wanted.key is not None:
            return event.subject.partition("/")[2] == subjects.key_part(wanted.key)
        return wanted.name in (None, event.table)


def _places(settings: Kafka, sources: Sequence[str], wanted: Wanted) -> list[Place]:
    """Every partition; of one subject only that which has it."""
    client = kafka.admin(settings)
    found: list[Place] = []
    for source in sources:
        topic = topics.context(source)
        count = kafka.partition_count(client, topic)
        if count == 0:
            raise RefusedError(f"there is no topic {topic} at {settings.bootstrap_servers}; run `wake apply`")
        one = None if wanted.subject is None else events.partition_of(wanted.subject, count)
        found += [(topic, number) for number in range(count) if one in (None, number)]
    return found


def _spans(consumer: Consumer, places: Sequence[Place], start: datetime | str) -> dict[Place, range]:
    """The offsets of what each partition has already and is to be shown."""
    asked: dict[Place, int] = {}
    if isinstance(start, datetime):
        moment = int(start.timestamp() * 1000)
        times = [TopicPartition(topic, number, moment) for topic, number in places]
        found = consumer.offsets_for_times(times, timeout=kafka.REQUEST_TIMEOUT)
        asked = {(each.topic, each.partition): each.offset for each in found}
    spans: dict[Place, range] = {}
    for place in places:
        low, high = kafka.watermarks(consumer, *place)
        first = asked.get(place, OFFSET_BEGINNING if start == "beginning" else OFFSET_END)
        spans[place] = range({OFFSET_BEGINNING: low, OFFSET_END: high}.get(first, max(first, low)), high)
    return spans


def _poll(consumer: Consumer) -> Message | None:
    message = consumer.poll(POLL_TIMEOUT)
    if message is None:
        return None
    error = message.error()
    if error is not None:
        raise kafka.convert(error, "reading context events")
    return message


def _place(message: Message) -> Place:
    return message.topic() or "", message.partition() or 0


def _rank(message: Message) -> tuple[int, int, int]:
    """Where an event stands among those of all partitions; what is none comes at once."""
    try:
        return events.parse_head(message.value() or b"").data.position.rank
    except EventError:
        return -1, -1, -1
