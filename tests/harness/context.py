"""The context topic as a test reads it: every raw message, and what the reader's rule leaves of them."""

from __future__ import annotations

import itertools
import json
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from confluent_kafka import Consumer, Message, TopicPartition

from wakestream import events, kafka
from wakestream.config.models import Kafka
from wakestream.events import Position, ReaderRule

BROADCAST = ("context.clock", "context.gap", "table.truncated")

JsonObject = dict[str, Any]


@dataclass(frozen=True)
class Number:
    """A JSON number as it is written: `1.50` is not `1.5`. Small integers are plain ones."""

    digits: str


def exact(text: str | bytes) -> Any:
    """JSON without any rounding."""
    return json.loads(
        text, parse_float=Number, parse_int=lambda digits: int(digits) if len(digits) < 40 else Number(digits)
    )


@dataclass(frozen=True)
class Raw:
    """One message of the context topic."""

    partition: int
    offset: int
    key: bytes
    value: bytes

    @cached_property
    def event(self) -> JsonObject:
        return exact(self.value)

    @property
    def data(self) -> JsonObject:
        return self.event["data"]

    @property
    def type(self) -> str:
        return self.event["type"]

    @property
    def is_broadcast(self) -> bool:
        return self.type in BROADCAST

    @cached_property
    def position(self) -> Position:
        return Position(**self.data["position"])


class ContextLog:
    """A context topic, read from its beginning to the end that it had at that moment."""

    def __init__(self, raw: Iterable[Raw], partitions: int) -> None:
        self.raw = sorted(raw, key=lambda each: (each.partition, each.offset))
        self.partitions = partitions

    @classmethod
    def read(cls, settings: Kafka, topic: str) -> ContextLog:
        messages = cls.messages(settings, topic)
        raw = [Raw(m.partition() or 0, m.offset() or 0, _bytes(m.key()), _bytes(m.value())) for m in messages]
        return cls(raw, kafka.partition_count(kafka.admin(settings), topic))

    @staticmethod
    def messages(settings: Kafka, topic: str) -> list[Message]:
        """Every message of a topic, in the order of each partition."""
        consumer = kafka.reader(settings, f"test-{topic}")
        try:
            return list(_all(consumer, topic, kafka.partition_count(kafka.admin(settings), topic)))
        finally:
            consumer.close()

    @cached_property
    def accepted(self) -> list[Raw]:
        """What a reader that follows the rule processes."""
        rule = ReaderRule()
        return [each for each in self.raw if rule.is_new(each.partition, each.position)]

    @cached_property
    def unique(self) -> list[Raw]:
        """The accepted events, what goes to all partitions once, in the order in which they happened."""
        first: dict[str, Raw] = {}
        for each in self.accepted:
            first.setdefault(each.event["id"], each)
        return sorted(first.values(), key=lambda each: each.position.rank)

    def pieces(self) -> Iterator[list[Raw]]:
        """The unique events, those of one transaction, snapshot row or notification together."""
        for _, group in itertools.groupby(self.unique, key=lambda each: (each.position.log, each.position.offset)):
            yield list(group)

    def of_type(self, *types: str) -> list[Raw]:
        return [each for each in self.unique if each.type in types]

    def repeats(self) -> int:
        """How many raw messages the rule drops."""
        return len(self.raw) - len(self.accepted)

    def verify_contract(self) -> None:
        """What holds of every context topic, whatever was killed while it was written."""
        self._verify_placement()
        self._verify_repeats_are_identical()
        self._verify_prefixes()
        self._verify_whole_pieces()

    @property
    def ends_whole(self) -> bool:
        """Whether its newest piece is here in all its places: it may be cut where the topic is still written to."""
        newest = list(self.pieces())[-1:]
        return all(
            len(piece) == piece[0].position.of
            and all(len(self._partitions_of(each)) == self.partitions for each in piece if each.is_broadcast)
            for piece in newest
        )

    def _partitions_of(self, event: Raw) -> set[int]:
        return {each.partition for each in self.accepted if each.event["id"] == event.event["id"]}

    def _verify_placement(self) -> None:
        for each in self.raw:
            assert each.key.decode() == each.event["subject"]
            if not each.is_broadcast:
                assert each.partition == events.partition_of(each.event["subject"], self.partitions)

    def _verify_repeats_are_identical(self) -> None:
        by_id: dict[str, set[bytes]] = defaultdict(set)
        for each in self.raw:
            by_id[each.event["id"]].add(each.value)
        assert {identifier for identifier, found in by_id.items() if len(found) > 1} == set()

    def _verify_prefixes(self) -> None:
        """In a partition positions only rise; one that falls back repeats what follows it, in order and whole."""
        for _, group in itertools.groupby(self.raw, key=lambda each: each.partition):
            seen: list[tuple[int, int, int]] = []
            at = 0  # in `seen`; behind its end while nothing is repeated
            for each in group:
                rank = each.position.rank
                if at == len(seen) and (not seen or rank > seen[-1]):
                    seen.append(rank)
                elif at == len(seen) or seen[at] != rank:
                    assert rank in seen[:at], f"{each.event['id']} comes out of its order"
                    at = seen.index(rank)
                at += 1

    def _verify_whole_pieces(self) -> None:
        """A piece's events are counted from one to `of`, in every partition that has broadcast ones."""
        for piece in self.pieces():
            places = [each.position.seq for each in piece]
            assert places == list(range(1, piece[0].position.of + 1)), [each.event["id"] for each in piece]
            assert len({each.position.of for each in piece}) == 1
        everywhere: dict[str, set[int]] = defaultdict(set)
        for each in self.accepted:
            if each.is_broadcast:
                everywhere[each.event["id"]].add(each.partition)
        assert {name for name, where in everywhere.items() if len(where) != self.partitions} == set()


def _all(consumer: Consumer, topic: str, partitions: int) -> Iterator[Message]:
    ends = {number: kafka.watermarks(consumer, topic, number) for number in range(partitions)}
    open_ends = {number: high for number, (low, high) in ends.items() if high > low}
    consumer.assign([TopicPartition(topic, number, ends[number][0]) for number in open_ends])
    while open_ends:
        message = consumer.poll(30)
        assert message is not None, f"{topic} does not give what it has"
        assert message.error() is None, message.error()
        number, offset = message.partition() or 0, message.offset() or 0
        if number not in open_ends or offset >= open_ends[number]:
            continue
        yield message
        if offset + 1 >= open_ends[number]:
            del open_ends[number]


def _bytes(value: Any) -> bytes:
    assert isinstance(value, bytes)
    return value
