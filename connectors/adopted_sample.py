"""A look at what an adopted connector has written: its worker's converter, which nobody can ask for, shows there."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import closing

import msgspec
from confluent_kafka import Consumer, TopicPartition

from connectors.adopted_values import JSON, Flaw
from connectors.connect import types
from wakestream import kafka
from wakestream.config.models import Kafka

LOOK = 2.0  # seconds for one message


class _Value(msgspec.Struct):
    """Debezium's envelope, bare or with a schema before it."""

    op: str | None = None
    source: msgspec.Raw = msgspec.Raw()
    payload: msgspec.Raw = msgspec.Raw()


_values = msgspec.json.Decoder(_Value)


def examine(settings: Kafka, config: types.Config, topics: Mapping[str, str]) -> Iterator[Flaw]:
    """The newest change in each topic that exists, by `schema.table`; an empty topic shows nothing."""
    there = kafka.admin(settings).list_topics(timeout=kafka.REQUEST_TIMEOUT).topics
    with closing(kafka.reader(settings, "adopt")) as consumer:
        for label, topic in sorted(topics.items()):
            if topic not in there:
                continue
            value = _newest(consumer, topic, len(there[topic].partitions))
            if value is not None and not is_envelope(value):
                whose = "" if config.get("value.converter") else ", as its worker's own converter writes them"
                evidence = f"messages of {topic} are not Debezium's envelopes as JSON{whose}"
                yield Flaw("adopt.unreadable", evidence, f"connector: value.converter={JSON}", label)


def _newest(consumer: Consumer, topic: str, partitions: int) -> bytes | None:
    """The value of a partition's last message that is no tombstone; None where there is none among the last few."""
    for partition in range(partitions):
        low, high = kafka.watermarks(consumer, topic, partition)
        first = max(low, high - 2)  # a delete is followed by its tombstone
        if first == high:
            continue
        consumer.assign([TopicPartition(topic, partition, first)])
        for _ in range(high - first):
            message = consumer.poll(LOOK)
            if message is None or message.error() is not None:
                break
            value = message.value()
            if isinstance(value, bytes):
                return value
    return None


def is_envelope(text: bytes) -> bool:
    """Whether a message's value is what can be read."""
    try:
        found = _values.decode(text)
        if bytes(found.payload):
            found = _values.decode(found.payload)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return False
    return found.op is not None and bool(bytes(found.source))
