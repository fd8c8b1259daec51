"""The context event as readers see it: parsing, the reader's rule, subjects and partitions."""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from datetime import datetime
from typing import Any, Literal
from urllib.parse import quote

import msgspec

from wakestream import exact_json
from wakestream.errors import EventError

Op = Literal["insert", "update", "delete", "read", "truncate"]


class Position(msgspec.Struct, frozen=True, gc=False):
    """Where an event stands: comparable within a partition by (`log`, `offset`, `seq`)."""

    log: int
    offset: int
    """END's offset in the change log; a snapshot row's, notification's or control record's own."""
    seq: int
    """Counts the events made from that record, from one."""
    of: int
    commit: int | None = None
    """END's LSN."""
    tx: int | None = None
    order: int | None = None
    lsn: int | None = None

    @property
    def rank(self) -> tuple[int, int, int]:
        """What the reader's rule compares."""
        return self.log, self.offset, self.seq


class Cause(msgspec.Struct, frozen=True):
    """The action that made a change, when we made it ourselves."""

    action: str
    run: str
    trigger: str
    keys: tuple[str, ...]
    """Subjects of that run's activations."""
    depth: int


class Data(msgspec.Struct, frozen=True):
    """What an event says. Fields that its type does not have keep their defaults."""

    position: Position
    op: Op | None = None
    entity: str | None = None
    key: dict[str, Any] | None = None
    before: dict[str, Any] | None = None
    after: dict[str, Any] | None = None
    changed: tuple[str, ...] | None = None
    missing: tuple[str, ...] = ()
    untrusted: tuple[str, ...] = ()
    rows: tuple[str, ...] = ()
    snapshot: bool = False
    cause: Cause | None = None
    number: int | None = None
    state: str | None = None
    tables: tuple[str, ...] = ()
    reason: str | None = None
    steps: tuple[dict[str, Any], ...] = ()
    """Of a net change that the agent made of several events: `id`, `time` and `changed` of each."""


class ContextEvent(msgspec.Struct, frozen=True):
    """A normalised fact: CloudEvents 1.0 attributes and our data."""

    id: str
    source: str
    type: str
    subject: str
    time: str
    data: Data
    specversion: str = "1.0"

    @property
    def at(self) -> datetime:
        """The commit's time, with zone."""
        return datetime.fromisoformat(self.time)

    @property
    def source_name(self) -> str:
        """The configured name of the source."""
        return self.source.removeprefix("wake://").partition("/")[0]

    @property
    def table(self) -> str:
        """`schema.table` of a row event, the entity's name of an entity event."""
        return self.subject.partition("/")[0]


class Head(msgspec.Struct, frozen=True, gc=False):
    """What a reader needs before it decides to parse the whole."""

    id: str
    type: str
    subject: str
    time: str
    data: HeadData


class HeadData(msgspec.Struct, frozen=True, gc=False):
    """The part of the data that every event has."""

    position: Position
    snapshot: bool = False
    changed: tuple[str, ...] | None = None


NOTHING_SEEN = (-1, -2, -1)
"""Below the rank of every position."""
_events = msgspec.json.Decoder(ContextEvent)
_heads = msgspec.json.Decoder(Head)
_fields = msgspec.json.Decoder(dict[str, msgspec.Raw])
_values = msgspec.json.Decoder(Any, float_hook=str)
_NUMBERS = b"-0123456789"


def parse(payload: bytes) -> ContextEvent:
    """The event in a Kafka message's value. Raises `EventError` for anything else."""
    try:
        return _events.decode(payload)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise EventError("not a context event", detail=str(error)) from error


def parse_head(payload: bytes) -> Head:
    """The event's head. Raises `EventError` for anything else."""
    try:
        return _heads.decode(payload)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise EventError("not a context event", detail=str(error)) from error


def key_text(value: Any) -> str:
    """One key value as it stands in a subject, before percent-encoding."""
    if isinstance(value, bool):
        return "true" if value else "false"
    return value if isinstance(value, str) else exact_json.dump(value)


def spelt(key: str | bytes) -> dict[str, Any]:
    """The values of a key, a JSON object, as they stand in a subject: numbers with every digit that they have."""
    fields = {name: bytes(raw) for name, raw in _fields.decode(key).items()}
    return {name: raw.decode() if raw[0] in _NUMBERS else _values.decode(raw) for name, raw in fields.items()}


def subject(name: str, key: Mapping[str, Any]) -> str:
    """`schema.table/7` or `booking/42`; the name alone without a key."""
    if not key:
        return name
    return name + "/" + ",".join(_quoted(value) for value in key.values())


def _quoted(value: Any) -> str:
    if type(value) is int:
        return str(value)
    text = key_text(value)
    return text if text.isalnum() and text.isascii() else quote(text, safe="")


def partition_of(text: str, partitions: int) -> int:
    """Librdkafka's `consistent` partitioner."""
    return zlib.crc32(text.encode()) % partitions


class ReaderRule:
    """Keeps the highest position of each partition and drops what is not above it: exactly once."""

    def __init__(self, highest: Mapping[int, tuple[int, int, int]] | None = None) -> None:
        self.highest: dict[int, tuple[int, int, int]] = dict(highest or {})

    def is_new(self, partition: int, position: Position) -> bool:
        """Whether this event was not seen before; remembers it."""
        rank = position.rank
        if rank <= self.highest.get(partition, NOTHING_SEEN):
            return False
        self.highest[partition] = rank
        return True
