"""Reading context topics for people: in order while there is history, then as events come, by the reader's rule."""

from __future__ import annotations

from collections import deque
from collections.abc import Generator, Iterator, Sequence
from datetime import datetime
from typing import NamedTuple

import msgspec
from confluent_kafka import OFFSET_BEGINNING, OFFSET_END, KafkaException, Message, TopicPartition

from console import subjects
from wakestream import events, kafka, topics
from wakestream.config.models import Kafka
from wakestream.errors import EventError, RefusedError
from wakestream.events import ContextEvent, ReaderRule

POLL_TIMEOUT = 0.5  # seconds
AHEAD = 1000  # messages of one partition that wait for those of another
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
        self._wanted = wanted
        self._rules = {source: ReaderRule() for source in sources}
        self._told: dict[str, str] = {}
        self.unreadable: list[str] = []
        """Places of messages that are no context events, with the reason."""
        places = _places(settings, sources, wanted)
        self._consumer = kafka.reader(settings, "tail")
        try:
            self._assign(places)
        except KafkaException as error:
            self._consumer.close()
            raise kafka.convert(error, "looking where to start") from error

    def close(self) -> None:
        """Leave the broker."""
        self._consumer.close()

    def __iter__(self) -> Iterator[Seen]:
        """The events: what was there at the start in the order of their positions, then as they come."""
        for message in self._history():
            yield from self._wanted_ones(message)
        while self._wanted.follow:
            message = self._next()
            if message is not None:
                yield from self._wanted_ones(message)

    def _assign(self, places: Sequence[Place]) -> None:
        start = self._wanted.start
        found = [TopicPartition(topic, number) for topic, number in places]
        if isinstance(start, datetime):
            asked = [TopicPartition(topic, number, int(start.timestamp() * 1000)) for topic, number in places]
            found = self._consumer.offsets_for_times(asked, timeout=kafka.REQUEST_TIMEOUT)
        else:
            for each in found:
                each.offset = OFFSET_BEGINNING if start == "beginning" else OFFSET_END
        self._ends: dict[Place, int] = {}
        for each in found:
            low, high = kafka.watermarks(self._consumer, each.topic, each.partition)
            first = {OFFSET_BEGINNING: low, OFFSET_END: high}.get(each.offset, each.offset)
            each.offset = max(first, low)
            if each.offset < high:
                self._ends[each.topic, each.partition] = high
        self._consumer.assign(found)

    def _history(self) -> Generator[Message]:
        """What is there already, merged: a partition that is ahead waits for the others."""
        waiting: dict[Place, deque[Message]] = {place: deque() for place in self._ends}
        open_ones, later = set(self._ends), list[Message]()
        while waiting:
            while open_ones and any(place in open_ones and not queue for place, queue in waiting.items()):
                message = self._next()
                if message is not None:
                    self._sort_in(message, waiting, open_ones, later)
            place = min((place for place, queue in waiting.items() if queue), key=lambda each: _rank(waiting[each][0]))
            yield waiting[place].popleft()
            if not waiting[place]:
                self._consumer.resume([TopicPartition(*place)])
                if place not in open_ones:
                    del waiting[place]
        if self._wanted.follow:
            yield from later

    def _sort_in(
        self, message: Message, waiting: dict[Place, deque[Message]], open_ones: set[Place], later: list[Message]
    ) -> None:
        place, offset = _place(message), message.offset() or 0
        if place not in open_ones:
            later.append(message)
            return
        waiting[place].append(message)
        if offset + 1 >= self._ends[place]:
            open_ones.discard(place)
        if len(waiting[place]) >= AHEAD:
            self._consumer.pause([TopicPartition(*place)])

    def _next(self) -> Message | None:
        message = self._consumer.poll(POLL_TIMEOUT)
        if message is None:
            return None
        error = message.error()
        if error is not None:
            raise kafka.convert(error, "reading context events")
        return message

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


def _place(message: Message) -> Place:
    return message.topic() or "", message.partition() or 0


def _rank(message: Message) -> tuple[int, int, int]:
    """Where an event stands among those of all partitions; what is none comes at once."""
    try:
        return events.parse_head(message.value() or b"").data.position.rank
    except EventError:
        return -1, -1, -1
