"""A transaction that is too large for memory: the log is its spill, and is read again for its changes, part by part.

How many events it makes must be known before the first of them is told. Rows are counted while the log is read; where
entities may change, it is applied once behind a savepoint to count them, and again to tell them. Nothing of this can be
seen in the events.
"""

from __future__ import annotations

from collections.abc import Collection, Generator, Iterator
from contextlib import contextmanager

from cdc_consumer import decode
from cdc_consumer.collect import Piece
from cdc_consumer.decode import Change
from cdc_consumer.rereading import Log
from wakestream.errors import EventError
from wakestream.ledger import Connection

PART = 2000  # changes
PART_SIZE = 2 * 1024**2  # bytes of their images


def parts(piece: Piece, log: Log, keyless: Collection[str] = ()) -> Iterator[list[Change]]:
    """The changes of a large transaction in order; a delete and what follows it are never parted."""
    found: list[Change] = []
    size = 0
    for change in _changes(piece, log, keyless):
        if (len(found) >= PART or size > PART_SIZE) and found[-1].op != "d":
            yield found
            found, size = [], 0
        found.append(change)
        size += len(change.after or b"") + len(change.before or b"")
    if found:
        yield found


def _changes(piece: Piece, log: Log, keyless: Collection[str]) -> Iterator[Change]:
    """Each once, as the collector has counted them."""
    if piece.large is None:
        return
    place, prefix = 0, f"{piece.tx}:"
    for _, key, value in log.between(piece.large.first_offset, piece.offset):
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
