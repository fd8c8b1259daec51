"""A transaction that is too large for memory: the log is its spill, and is read again for its changes, part by part.

How many events it makes must be known before the first of them is told. Rows are counted while the log is read; where
entities may change, it is applied once behind a savepoint to count them, and again to tell them. Nothing of this can be
seen in the events.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Collection, Generator, Iterable, Iterator
from contextlib import contextmanager

from confluent_kafka import TopicPartition

from cdc_consumer import decode
from cdc_consumer.collect import Piece
from cdc_consumer.decode import Change
from wakestream import kafka, topics
from wakestream.config.models import Kafka
from wakestream.errors import EventError, TransientError
from wakestream.ledger import Connection

PART = 2000  # changes
PART_SIZE = 2 * 1024**2  # bytes of their images
REREAD_AT_ONCE = 500  # messages
REREAD_AHEAD = 4 * 1024  # KB
REREAD_POLL = 0.2  # seconds
REREAD_PATIENCE = 20.0  # seconds without an answer

Record = tuple[int, bytes | None, bytes | None]
"""Offset, key and value of a message."""

Reread = Callable[[int, int], Iterable[Record]]
"""Reads the change log again, from one offset up to another."""


def reread(settings: Kafka, source: str, first: int, last: int) -> Iterator[Record]:
    """The change log of a source again, from one offset up to another.

    Raises `TransientError` when the broker does not give it in time.
    """
    topic = topics.changes(source)
    with contextlib.closing(kafka.reader(settings, f"reread-{source}", ahead_kb=REREAD_AHEAD)) as reader:
        reader.assign([TopicPartition(topic, 0, first)])
        heard = time.monotonic()
        while time.monotonic() - heard < REREAD_PATIENCE:
            for message in reader.consume(REREAD_AT_ONCE, REREAD_POLL):
                error = message.error()
                if error is not None:
                    raise kafka.convert(error, f"reading {topic} again")
                offset, heard = message.offset() or 0, time.monotonic()
                if offset > last:
                    return
                yield offset, message.key(), message.value()  # pyright: ignore[reportReturnType]
                if offset == last:
                    return
    raise TransientError(f"{topic} cannot be read again from offset {first}")


def parts(piece: Piece, reread: Reread, keyless: Collection[str] = ()) -> Iterator[list[Change]]:
    """The changes of a large transaction in order; a delete and what follows it are never parted."""
    found: list[Change] = []
    size = 0
    for change in _changes(piece, reread, keyless):
        if (len(found) >= PART or size > PART_SIZE) and found[-1].op != "d":
            yield found
            found, size = [], 0
        found.append(change)
        size += len(change.after or b"") + len(change.before or b"")
    if found:
        yield found


def _changes(piece: Piece, reread: Reread, keyless: Collection[str]) -> Iterator[Change]:
    """Each once, as the collector has counted them."""
    if piece.large is None:
        return
    place, prefix = 0, f"{piece.tx}:"
    for _, key, value in reread(piece.large.first_offset, piece.offset):
        try:
            envelope = decode.decode(value)
            block = envelope.transaction
            if block is None or not block.id.startswith(prefix) or block.total_order <= place:
                continue
            if envelope.op == "m":
                place = block.total_order
                continue
            change = decode.change_of(envelope, key, keyless)
        except EventError:
            continue  # which has its dead letter
        place = block.total_order
        yield change


@contextmanager
def undone(connection: Connection) -> Generator[None]:
    """Whatever is done inside never was."""
    connection.execute("savepoint wake_large")
    yield
    connection.execute("rollback to savepoint wake_large")
    connection.execute("release savepoint wake_large")
