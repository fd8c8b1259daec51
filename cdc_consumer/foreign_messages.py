"""The messages of a connector that somebody else runs: a topic for each table, JSON with or without schemas.

No order between topics or partitions is known. A change is told apart from one that Debezium sent again by its LSN: a
row is locked until its transaction ends, so that the LSNs of one key rise in the order of its changes.
"""

from __future__ import annotations

import dataclasses
import heapq
from collections.abc import Iterator, Mapping, Sequence
from typing import Literal

import msgspec

from cdc_consumer import decode
from cdc_consumer.decode import Change
from cdc_consumer.foreign_values import Conversion
from wakestream.errors import EventError

Kind = Literal["change", "read", "truncate", "nothing", "broken"]

_NOT_IN_PLACE = "incremental"


class _Source(msgspec.Struct, gc=False):
    schema: str | None = None
    table: str | None = None
    ts_ms: int | None = None
    lsn: int | None = None
    tx: int | None = msgspec.field(name="txId", default=None)
    snapshot: str | bool | None = None


class _Envelope(msgspec.Struct, gc=False):
    op: str | None = None
    before: msgspec.Raw = msgspec.Raw()
    after: msgspec.Raw = msgspec.Raw()
    source: _Source | None = None


class _Wrapped(msgspec.Struct, gc=False):
    """JsonConverter's form with `schemas.enable`."""

    schema: msgspec.Raw
    payload: msgspec.Raw


_wrapped = msgspec.json.Decoder(_Wrapped)
_envelopes = msgspec.json.Decoder(_Envelope)
_objects = msgspec.json.Decoder(dict[str, msgspec.Raw])


@dataclasses.dataclass(slots=True)
class Entry:
    """One message, looked at."""

    kind: Kind
    topic: str
    partition: int
    offset: int
    ts_ms: int = 0
    lsn: int | None = None
    tx: int | None = None
    change: Change | None = None
    incremental: bool = False
    """Whether a row was read while changes were streamed, and may be newer than its place."""
    reason: str = ""
    detail: str = ""
    digest: str = ""


Message = tuple[int, bytes | None, bytes | None, bool]
"""Offset, key and value; whether its headers name an old key, of which it is the row."""


def entry(topic: str, partition: int, message: Message, label: str, conversion: Conversion) -> Entry:
    """What a message of the topic of this table says."""
    offset, key, value, moved = message
    if value is None:  # a tombstone
        return Entry("nothing", topic, partition, offset)
    try:
        found = _entry(topic, partition, offset, key, value, label, conversion)
    except EventError as error:
        digest = decode.digest(value)
        return Entry("broken", topic, partition, offset, reason=error.reason, detail=error.detail, digest=digest)
    if found.change is not None:
        found.change.moved = moved
    return found


def _entry(
    topic: str, partition: int, offset: int, key: bytes | None, value: bytes, label: str, conversion: Conversion
) -> Entry:
    try:
        envelope = _envelopes.decode(_payload(value))
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise EventError("not a change", detail=f"{topic} must hold Debezium's envelopes as JSON: {error}") from error
    source, op = envelope.source, envelope.op
    if source is None or not source.table or op is None:
        raise EventError("not a change", detail=f"{topic} must hold Debezium's whole envelope, with source and op")
    if f"{source.schema}.{source.table}" != label:
        return Entry("nothing", topic, partition, offset)  # another table whose name makes the same topic
    if op not in ("c", "u", "d", "r", "t"):
        raise EventError("unknown operation", detail=f"op is {op!r}")
    if source.lsn is None and op != "r":
        raise EventError("incomplete change", detail=f"{op} of {label} has no LSN")
    change = Change(op, label, b"", None, lsn=source.lsn)
    found = Entry(_kind(op), topic, partition, offset, source.ts_ms or 0, source.lsn, source.tx, change)
    found.incremental = source.snapshot == _NOT_IN_PLACE
    if op != "t":
        change.key = _key(key, label, conversion)
    if op in ("c", "u", "r"):
        image = bytes(envelope.after)
        if not image.startswith(b"{"):
            raise EventError("incomplete change", detail=f"{op} of {label} has no new image")
        change.after = conversion.image(image)
        change.before = decode.old_image(envelope.before) if op == "u" else None
    return found


def _kind(op: str) -> Kind:
    return "truncate" if op == "t" else "read" if op == "r" else "change"


def _payload(text: bytes) -> bytes:
    """The message without its schema, where it has one."""
    return bytes(_wrapped.decode(text).payload) if text.startswith(b'{"schema":') else text


def _key(key: bytes | None, label: str, conversion: Conversion) -> bytes:
    try:
        raw = _payload(key or b"")
        _objects.decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise EventError(
            "incomplete change", detail=f"the key of a row of {label} is no JSON object: {error}"
        ) from error
    return conversion.key(raw)


def merged(read: Mapping[tuple[str, int], Sequence[Entry]]) -> Iterator[Entry]:
    """Entries of several partitions in one order: each partition's own, beside each other by LSN.

    The same entries always come in the same order, whatever the order in which they were received.
    """
    heads = [(_lsn(entries[0], 0), place, 0) for place, entries in read.items() if entries]
    heapq.heapify(heads)
    while heads:
        lsn, place, number = heapq.heappop(heads)
        yield read[place][number]
        if number + 1 < len(read[place]):
            following = read[place][number + 1]
            heapq.heappush(heads, (_lsn(following, lsn), place, number + 1))


def _lsn(entry: Entry, before: int) -> int:
    return before if entry.lsn is None else entry.lsn
