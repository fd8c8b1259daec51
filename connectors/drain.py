"""Takes a connector down between two transactions, so that its tables can change.

Debezium counts the changes of a transaction that pass its filters. Were the filters changed while a transaction is half
sent, the second half would be counted otherwise than the first, and no reader could put it together.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import msgspec
from confluent_kafka import Consumer, TopicPartition

from connectors import slot
from connectors.connect import Clock, Connect, types
from connectors.connect_http import until
from connectors.databases import Connection
from wakestream import kafka, topics
from wakestream.config.models import Kafka
from wakestream.errors import RefusedError, TransientError

STOP_TIMEOUT = 60.0  # seconds for the connector to stop
END_TIMEOUT = 120.0  # seconds for a transaction that is half sent to end
ATTEMPTS = 10
WINDOW = 200  # records that one look at the log's end reads
READ_TIMEOUT = 10.0  # seconds


class _Record(msgspec.Struct):
    """As much of a record as tells whether it belongs to a transaction."""

    status: str | None = None
    transaction: dict[str, Any] | None = None


_decoder = msgspec.json.Decoder(_Record)


def require_idle(source: str, offsets: tuple[types.Offset, ...]) -> None:
    """Refuse while a snapshot runs, which a change of tables would tear.

    Raises `RefusedError`.
    """
    for each in offsets:
        kept = each.offset or {}
        if "snapshot" in kept or any(name.startswith("incremental_snapshot") for name in kept):
            raise RefusedError(
                f"source {source}: a snapshot of it runs, and its tables cannot change meanwhile;"
                " apply again when `wake status` shows all mirrors complete"
            )


def drain(client: Connect, reader: Connection, config: Kafka, source: str, clock: Clock = time) -> None:
    """Stop the source's connector where the change log ends between two transactions.

    Raises `RefusedError`, with the connector running as before, where that cannot be had.
    """
    name = topics.connector(source)
    for _ in range(ATTEMPTS):
        client.stop_and_wait(name, STOP_TIMEOUT)
        until(clock, lambda: _is_free(reader, source), STOP_TIMEOUT, lambda: f"slot {topics.slot(source)} to be free")
        if not ends_inside(config, source):
            return
        client.resume(name)
        until(
            clock,
            lambda: None if ends_inside(config, source) else True,
            END_TIMEOUT,
            lambda: f"the end of the transaction that is being sent of {source}",
        )
    raise RefusedError(
        f"source {source} writes so much that its connector could not be stopped between two transactions in"
        f" {ATTEMPTS} attempts; it runs as before: apply again at a calmer time"
    )


def ends_inside(config: Kafka, source: str) -> bool:
    """Whether the change log ends inside a transaction."""
    consumer = kafka.reader(config, "drain")
    try:
        for value in _backwards(consumer, topics.changes(source)):
            record = _decoder.decode(value)
            if record.status is not None:
                return record.status != "END"
            if record.transaction is not None:
                return True
        return False
    finally:
        consumer.close()


def _backwards(consumer: Consumer, topic: str) -> Iterator[bytes]:
    """The values of what Debezium wrote, the newest first."""
    low, high = kafka.watermarks(consumer, topic, 0)
    while high > low:
        start = max(low, high - WINDOW)
        yield from reversed(_values(consumer, topic, start, high))
        high = start


def _values(consumer: Consumer, topic: str, start: int, end: int) -> list[bytes]:
    consumer.assign([TopicPartition(topic, 0, start)])
    found: list[bytes] = []
    at = start
    while at < end:
        messages = consumer.consume(end - at, READ_TIMEOUT)
        if not messages:
            raise TransientError(f"Kafka, reading the end of {topic}: no answer")
        for message in messages:
            error = message.error()
            if error is not None:
                raise kafka.convert(error, f"reading the end of {topic}")
            at = (message.offset() or 0) + 1
            key, value = message.key(), message.value()
            if at <= end and isinstance(value, bytes) and not _is_ours(key):
                found.append(value)
    return found


def _is_free(reader: Connection, source: str) -> bool | None:
    found = slot.find(reader, source)
    return True if found is None or not found.active else None


def _is_ours(key: str | bytes | None) -> bool:
    return isinstance(key, bytes) and key.startswith(b'{"wake"')
