"""Reads the topics of an adopted connector: what is there now, or exactly what was written down."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from typing import Any

from confluent_kafka import Consumer, TopicPartition
from confluent_kafka import Message as KafkaMessage

from cdc_consumer import foreign_messages
from cdc_consumer.adopted_position import Inputs, Stretch
from cdc_consumer.foreign_messages import Entry, Message
from cdc_consumer.foreign_values import Conversion
from wakestream import kafka
from wakestream.errors import TransientError

POLL_TIMEOUT = 0.2  # seconds until a stop is noticed
READ_AT_ONCE = 500  # messages
BATCH = 4000  # messages in one stretch
REPEAT_PATIENCE = 30.0  # seconds for what was written down to come again

Place = tuple[str, int]
"""Topic and partition."""
Read = dict[Place, list[Message]]

_OLD_KEY = "__debezium.oldkey"  # Debezium's header of an insert that continues a row under a new key


class Reading:
    """One reader over all partitions of all topics."""

    def __init__(self, consumer: Consumer, stop: threading.Event) -> None:
        self._consumer = consumer
        self._stop = stop

    def assign(self, inputs: Inputs) -> None:
        """Go on from here."""
        places = [
            TopicPartition(topic, partition, offset)
            for topic, each in sorted(inputs.items())
            for partition, offset in enumerate(each.next)
        ]
        self._consumer.assign(places)

    def read(self) -> Read:
        """What is there now, up to a batch; waits a little for the first message only."""
        first = self._consumer.poll(POLL_TIMEOUT)
        found: Read = {}
        messages = [] if first is None else [first, *self._consumer.consume(READ_AT_ONCE, 0)]
        count = 0
        while messages:
            for message in messages:
                _sort_in(message, found)
            count += len(messages)
            messages = self._consumer.consume(READ_AT_ONCE, 0) if count < BATCH else []
        return found

    def again(self, inputs: Inputs, stretch: Stretch) -> Read:
        """Exactly what was written down."""
        ends = {
            (topic, partition): end
            for topic, until in stretch.until.items()
            for partition, end in enumerate(until)
            if end > inputs[topic].next[partition]
        }
        waiting, found = set(ends), Read()
        self.assign(inputs)
        deadline = time.monotonic() + REPEAT_PATIENCE
        while waiting:
            if self._stop.is_set() or time.monotonic() > deadline:
                raise TransientError("what was being read has not come again yet")
            for message in self._consumer.consume(READ_AT_ONCE, POLL_TIMEOUT):
                place, offset = _sort_in(message, found)
                if offset + 1 >= ends.get(place, 0):
                    waiting.discard(place)
        return {place: [each for each in found[place] if each[0] < end] for place, end in ends.items()}


def ends(inputs: Inputs, read: Read) -> dict[str, list[int]]:
    """How far a stretch reaches that has these messages."""
    return {
        topic: [
            read[topic, number][-1][0] + 1 if (topic, number) in read else start
            for number, start in enumerate(each.next)
        ]
        for topic, each in inputs.items()
    }


def entries(read: Read, inputs: Inputs, conversions: Mapping[str, Conversion]) -> list[Entry]:
    """What was read, in the one order."""
    tables = {topic: each.table for topic, each in inputs.items()}
    looked_at = {
        (topic, partition): [
            foreign_messages.entry(topic, partition, message, tables[topic], conversions[tables[topic]])
            for message in messages
        ]
        for (topic, partition), messages in read.items()
    }
    return list(foreign_messages.merged(looked_at))


def _sort_in(message: KafkaMessage, found: Read) -> tuple[Place, int]:
    error = message.error()
    topic, partition, offset = message.topic(), message.partition(), message.offset()
    if error is not None:
        raise kafka.convert(error, f"reading {topic or 'the topics of the adopted connector'}")
    if topic is None or partition is None or offset is None:
        raise TransientError("Kafka gave a message without a place")
    key: Any = message.key()
    value: Any = message.value()
    moved = any(name == _OLD_KEY for name, _ in message.headers() or ())
    found.setdefault((topic, partition), []).append((offset, key, value, moved))
    return (topic, partition), offset
