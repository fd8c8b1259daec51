"""Debezium's messages as they stand in the change log, parsed no further than needed."""

from __future__ import annotations

import base64
import functools
import hashlib
from collections.abc import Collection
from typing import Any

import msgspec

from wakestream.errors import EventError


class SourceBlock(msgspec.Struct, gc=False):
    """The part of Debezium's `source` that we use."""

    schema: str | None = None
    table: str | None = None
    ts_ms: int | None = None
    lsn: int | None = None


class TransactionBlock(msgspec.Struct, gc=False):
    """Which transaction a change belongs to, and at which place of it."""

    id: str
    total_order: int


class LogicalMessage(msgspec.Struct, gc=False):
    """What `pg_logical_emit_message` wrote, in base64."""

    prefix: str
    content: str = ""


class Envelope(msgspec.Struct, gc=False):
    """Any value of the change log: a change, a transaction's border, a notification or a heartbeat."""

    op: str | None = None
    before: msgspec.Raw = msgspec.Raw()
    after: msgspec.Raw = msgspec.Raw()
    source: SourceBlock | None = None
    transaction: TransactionBlock | None = None
    message: LogicalMessage | None = None
    status: str | None = None
    id: str | None = None
    event_count: int | None = None
    data_collections: msgspec.Raw = msgspec.Raw()
    ts_ms: int | None = None
    type: str | None = None
    aggregate_type: str | None = None
    additional_data: dict[str, Any] | None = None
    timestamp: int | None = None


class _Object(msgspec.Struct, gc=False):
    """Any JSON object; what is in it is passed over."""


class Change(msgspec.Struct, gc=False):
    """One row-level change, its image still as Debezium printed it."""

    op: str
    """`c`, `u`, `d`, `r` or `t`."""
    table: str
    """`schema.table`."""
    key: bytes
    """The message's key, a JSON object; empty for a truncate and for a table without a key."""
    after: bytes | None
    order: int | None = None
    lsn: int | None = None
    kept: bool = False
    """Whether it comes from the ledger: its image with masks applied, its key as the ledger prints it."""
    before: bytes | None = None
    """The old row as the message has it: of a table without a key, which says nowhere else what it was, and of updates
    that tell a null under `REPLICA IDENTITY FULL`, which leave nothing out."""
    fills: bool = False
    """Whether `after` has the key and values that the store lacks, and no others."""
    moved: bool = False
    """Whether an insert is said to continue a row that had another key."""


class _Counted(msgspec.Struct, gc=False):
    """How many changes of one table a transaction has, by its END."""

    data_collection: str
    event_count: int


_decoder = msgspec.json.Decoder(Envelope)
_counts = msgspec.json.Decoder(list[_Counted])
_keys = msgspec.json.Decoder(_Object)


def decode(value: bytes | None) -> Envelope:
    """Parse one message. Raises `EventError` for what no connector of ours writes."""
    if value is None:
        raise EventError("no value", detail="a tombstone; the connector must run with tombstones.on.delete=false")
    try:
        return _decoder.decode(value)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise EventError("not a change", detail=str(error)) from error


def change_of(envelope: Envelope, key: bytes | None, keyless: Collection[str] = ()) -> Change:
    """The row change or truncate in an envelope. Raises `EventError` when it is incomplete.

    `keyless` names the tables without a primary key. Debezium takes a unique index for one; that is passed over.
    """
    source, op = envelope.source, envelope.op
    if source is None or not source.table:
        raise EventError("incomplete change", detail="it names no table")
    if op not in ("c", "u", "d", "r", "t"):
        raise EventError("unknown operation", detail=f"op is {op!r}")
    if envelope.transaction is None and op != "r":
        raise EventError("incomplete change", detail=f"{op} of {source.schema}.{source.table} has no transaction")
    label = _label(source.schema, source.table)
    without_key = label in keyless
    if op != "t" and not key and not without_key:
        raise EventError("incomplete change", detail=f"a change of {source.schema}.{source.table} has no key")
    if key and not without_key:
        _require_object(key)
    image = bytes(envelope.after)
    after = image if image.startswith(b"{") else None
    if op in ("c", "u", "r") and after is None:
        raise EventError("incomplete change", detail=f"{op} of {source.schema}.{source.table} has no new image")
    order = envelope.transaction.total_order if envelope.transaction else None
    before = old_image(envelope.before) if without_key or (op == "u" and b":null" in image) else None
    return Change(op, label, b"" if without_key else key or b"", after, order, source.lsn, before=before)


def old_image(before: msgspec.Raw) -> bytes | None:
    """The row as it was before, where a message has it."""
    image = bytes(before)
    return image if image.startswith(b"{") else None


def counts_of(envelope: Envelope) -> dict[str, int]:
    """The changes of a transaction by `schema.table`, as its END counts them; empty where that cannot be read."""
    try:
        return {each.data_collection: each.event_count for each in _counts.decode(envelope.data_collections)}
    except msgspec.DecodeError:
        return {}


@functools.lru_cache(maxsize=10_000)
def _label(schema: str | None, table: str) -> str:
    return f"{schema}.{table}"


def content_of(message: LogicalMessage) -> bytes:
    """The bytes that a logical message carries. Raises `EventError` when they are not what Debezium writes."""
    try:
        return base64.b64decode(message.content, validate=True)
    except ValueError as error:
        raise EventError("incomplete change", detail=f"a logical message is not base64: {error}") from error


def _require_object(key: bytes) -> None:
    try:
        _keys.decode(key)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise EventError("incomplete change", detail=f"its key is no JSON object: {error}") from error


def digest(value: bytes | None) -> str:
    """What a dead letter keeps of a payload."""
    return hashlib.sha256(value or b"").hexdigest()


def is_end(value: bytes | None) -> bool:
    """Whether a message ends a transaction; a quick look, for who cannot wait for `decode`."""
    return value is not None and value.startswith(b'{"status":"END"')
