"""Messages of a change log read again for a dead letter: what Kafka has kept of them, and what it has not."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Collection, Iterator
from datetime import datetime, timedelta
from typing import NamedTuple

from confluent_kafka import KafkaError, Message, TopicPartition

from cdc_consumer import decode
from cdc_consumer.collect import Collector, Piece
from cdc_consumer.decode import Change
from wakestream import kafka
from wakestream.config.models import Kafka
from wakestream.errors import RefusedError, TransientError

PATIENCE = 20.0  # seconds without an answer
AT_ONCE = 500  # messages
NEAREST = 1_000  # records before a transaction's END that are looked at first; eight times as many each time
SKEW = timedelta(minutes=1)  # by which the clocks of broker and ledger may differ


class Place(NamedTuple):
    """Where a letter's message stood."""

    topic: str
    partition: int
    offset: int

    def __str__(self) -> str:
        return f"{self.topic}[{self.partition}] at {self.offset}"


def message(settings: Kafka, place: Place, digest: str) -> tuple[bytes | None, bytes | None]:
    """Key and value of the message that became a letter.

    Raises `RefusedError` when retention has deleted it, and when another one stands in its place.
    """
    found = next(_records(settings, place, place.offset), None)
    if found is None or found.offset() != place.offset:
        raise _gone(place)
    key, value = found.key(), found.value()
    if digest and decode.digest(value) != digest:  # pyright: ignore[reportArgumentType]
        raise RefusedError(f"another message stands in {place}: the topic was made anew since, and the old one is gone")
    return key, value  # pyright: ignore[reportReturnType]


def transaction(settings: Kafka, place: Place, written: datetime, keyless: Collection[str]) -> list[Change] | None:
    """The changes of the transaction whose END stands there; None where there is none, or it is too large for that.

    `written` is when its letter was: what Kafka has had for a shorter time is another message.
    Raises `RefusedError` when retention has deleted a part of it.
    """
    low, back = _low(settings, place), NEAREST
    while True:
        first = max(low, place.offset - back)
        piece = _last_piece(settings, place, first, written, keyless)
        if piece is None or piece.kind != "transaction" or piece.large is not None:
            return None
        if not piece.reason:
            return piece.changes
        if first == low:
            raise _gone(place)
        back *= 8


def _last_piece(settings: Kafka, place: Place, first: int, written: datetime, keyless: Collection[str]) -> Piece | None:
    """The piece that ends at this place, as far as it begins behind `first`."""
    collector, piece = Collector(keyless=keyless), None
    for found in _records(settings, place, first):
        piece = collector.take(found.offset() or 0, found.key(), found.value())  # pyright: ignore[reportArgumentType]
        if found.offset() == place.offset and found.timestamp()[1] > (written + SKEW).timestamp() * 1000:
            return None
    return piece if piece is not None and piece.offset == place.offset else None


def _records(settings: Kafka, place: Place, first: int) -> Iterator[Message]:
    """What there is from one offset up to the place."""
    if first < _low(settings, place):
        raise _gone(place)
    with contextlib.closing(kafka.reader(settings, "letter", ahead_kb=4 * 1024, at_end=True)) as reader:
        reader.assign([TopicPartition(place.topic, place.partition, first)])
        heard = time.monotonic()
        while time.monotonic() - heard < PATIENCE:
            for found in reader.consume(AT_ONCE, 0.2):
                error = found.error()
                if error is not None and error.code() == KafkaError._PARTITION_EOF:  # noqa: SLF001 - librdkafka's own
                    return
                if error is not None and error.code() == KafkaError._AUTO_OFFSET_RESET:  # noqa: SLF001
                    raise _gone(place)
                if error is not None:
                    raise kafka.convert(error, f"reading {place}")
                heard = time.monotonic()
                if (found.offset() or 0) <= place.offset:
                    yield found
                if (found.offset() or 0) >= place.offset:
                    return
    raise TransientError(f"Kafka, reading {place}: no answer")


def _low(settings: Kafka, place: Place) -> int:
    with contextlib.closing(kafka.reader(settings, "letter")) as reader:
        return kafka.watermarks(reader, place.topic, place.partition)[0]


def _gone(place: Place) -> RefusedError:
    return RefusedError(f"Kafka no longer has {place}: retention has deleted it")
