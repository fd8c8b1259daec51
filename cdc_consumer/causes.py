"""Whose changes a transaction holds: its marks verified, receipts written, forgeries kept as dead letters."""

from __future__ import annotations

from cdc_consumer import decode
from cdc_consumer.collect import Piece
from cdc_consumer.fitting import Unshown
from wakestream import marks
from wakestream.errors import EventError
from wakestream.events import Cause
from wakestream.ledger import Connection

LONGEST_SUBJECT = 500
"""Characters of a subject that an index surely takes; of a longer one its digest tells it from others."""


def letter(connection: Connection, topic: str, piece: Piece, *, subject: str = "", partition: int = 0) -> None:
    """Keep what could not be processed, once, however often it is read."""
    if len(subject) > LONGEST_SUBJECT:
        subject = f"{subject[:LONGEST_SUBJECT]}… ({decode.digest(subject.encode())[:32]})"
    connection.ask(
        'insert into wake.dead_letter (stage, kind, reason, topic, "partition", "offset", digest, subject)'
        " values ('consumer', %s, %s, %s, %s, %s, %s, %s) on conflict do nothing",
        (piece.reason, piece.detail or piece.reason, topic, partition, piece.offset, piece.digest, subject),
    )


def letter_unshown(connection: Connection, topic: str, unshown: list[Unshown]) -> None:
    """Say of which events readers were not told what they are about; the list is empty after it."""
    for event in unshown:
        detail = (
            f"the event of {event.subject} has {event.size} bytes, and {event.most} is the limit: it was told without"
            " what it is about; raise `kafka.topics.max_message_bytes` and `wake apply`, or exclude columns"
        )
        broken = Piece("broken", event.offset, reason="event too large", detail=detail)
        letter(connection, topic, broken, subject=event.subject)
    unshown.clear()


def find_cause(connection: Connection, source: str, log: int, topic: str, key: bytes, piece: Piece) -> Cause | None:
    """The action that made this transaction, when one of its marks proves it."""
    found: Cause | None = None
    for content in piece.marks:
        try:
            cause, is_receipt = marks.verify(key, content, txid=piece.tx or 0, time_s=piece.ts_ms / 1000)
        except EventError as error:
            broken = Piece(
                "broken", piece.offset, reason=error.reason, detail=error.detail, digest=decode.digest(content)
            )
            letter(connection, topic, broken, subject=broken.digest)
            continue
        found = found or cause
        if is_receipt:
            _write_receipt(connection, source, log, piece, cause)
    return found


def _write_receipt(connection: Connection, source: str, log: int, piece: Piece, cause: Cause) -> None:
    connection.ask(
        'insert into wake.receipt (action, source, log, "offset", "commit", rows, committed_at)'
        " values (%s, %s, %s, %s, %s, %s, to_timestamp(%s / 1000.0)) on conflict do nothing",
        (cause.action, source, log, piece.offset, piece.commit, piece.rows, piece.ts_ms),
    )
