"""How far each hop of a source is behind, and how much goes through it: slot → change log → context → agent.

Bytes are of WAL and seconds of the source's clock, both counted from the source's present: what a hop is behind
includes the hops before it.
"""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import Literal

import msgspec
from confluent_kafka import Consumer, TopicPartition

from connectors.connect import Clock
from connectors.ledger_status import InLedger
from wakestream import kafka, topics

To = Literal["change log", "context", "agent"]

TAIL = 12  # records: the clock alone writes four in a second
TIMEOUT = 2.0  # seconds


class Hop(msgspec.Struct, frozen=True):
    """What leads to one place; what is not known is null."""

    to: To
    behind_bytes: int | None
    """WAL between its newest transaction and the server's newest."""
    behind_events: int | None
    """Records that wait in front of it."""
    behind_seconds: float | None
    """Between its newest clock and the source's."""
    events_per_second: float | None
    """Records that have arrived, since the look before."""


class AtSource(msgspec.Struct, frozen=True):
    """The source's present."""

    now: datetime
    wal_end: int


class Ends(msgspec.Struct, frozen=True):
    """How far the records in Kafka go, and how far each reader has come."""

    log: int
    """The next offset of the change log."""
    context: int
    """The next offsets of all partitions of the context topic together."""
    applied: int | None
    """The next offset for the consumer."""
    read: int | None
    """The next ones for the agent, together."""


class Meter:
    """Rates between one look and the next."""

    def __init__(self, clock: Clock = time) -> None:
        self._clock = clock
        self._before: dict[tuple[str, To], tuple[float, int]] = {}

    def rate(self, source: str, to: To, count: int | None) -> float | None:
        """Per second since the last call; None in the first, and where the count began anew."""
        now = self._clock.monotonic()
        before = self._before.pop((source, to), None)
        if count is None:
            return None
        self._before[source, to] = (now, count)
        if before is None or count < before[1] or now <= before[0]:
            return None
        return round((count - before[1]) / (now - before[0]), 1)


def ends(reader: Consumer, source: str, found: InLedger) -> Ends:
    """Ask the broker, and put beside it what the ledger says."""
    log = kafka.watermarks(reader, topics.changes(source), 0)[1]
    context = topics.context(source)
    written = [kafka.watermarks(reader, context, partition)[1] for partition in found.read]
    return Ends(
        log=log,
        context=sum(written),
        applied=found.position.offset + 1 if found.position else None,
        read=sum(at.kafka_offset for at in found.read.values()) if found.read else None,
    )


def count(meter: Meter, source: str, seen: Ends) -> dict[To, float | None]:
    """What has gone through each hop since the look before."""
    return {
        "change log": meter.rate(source, "change log", seen.log),
        "context": meter.rate(source, "context", seen.applied),
        "agent": meter.rate(source, "agent", seen.read),
    }


def hops(
    seen: Ends,
    rates: dict[To, float | None],
    at_source: AtSource | None,
    newest: tuple[int | None, datetime] | None,
    found: InLedger,
) -> tuple[Hop, ...]:
    """The three of them, from what was seen in one look."""
    position = found.position
    clocks = [at.clock for at in found.read.values() if at.clock is not None]
    clock = min(clocks) if clocks and len(clocks) == len(found.read) else None
    return (
        Hop("change log", *_behind(at_source, newest), rates["change log"]),
        Hop(
            "context",
            _bytes(at_source, position.commit if position else None),
            None if seen.applied is None else max(0, seen.log - seen.applied),
            _seconds(at_source, position.clock if position else None),
            rates["context"],
        ),
        Hop(
            "agent",
            None,  # its positions know no LSN
            None if seen.read is None else max(0, seen.context - seen.read),
            _seconds(at_source, clock),
            rates["agent"],
        ),
    )


def _behind(
    at_source: AtSource | None, newest: tuple[int | None, datetime] | None
) -> tuple[int | None, None, float | None]:
    """What PostgreSQL has not sent cannot be counted in events."""
    commit, clock = newest or (None, None)
    return _bytes(at_source, commit), None, _seconds(at_source, clock)


def _bytes(at_source: AtSource | None, lsn: int | None) -> int | None:
    return None if at_source is None or lsn is None else max(0, at_source.wal_end - lsn)


def _seconds(at_source: AtSource | None, clock: datetime | None) -> float | None:
    if at_source is None or clock is None:
        return None
    return round(max(0.0, (at_source.now - clock).total_seconds()), 3)


class _Source(msgspec.Struct):
    ts_ms: int | None = None
    lsn: int | None = None


class _Record(msgspec.Struct):
    status: str | None = None
    id: str | None = None
    ts_ms: int | None = None
    op: str | None = None
    source: _Source | None = None


_records = msgspec.json.Decoder(_Record)


def newest(reader: Consumer, source: str, end: int) -> tuple[int | None, datetime] | None:
    """LSN and time of the newest commit among the last records of the change log, which ends at `end`."""
    topic, found = topics.changes(source), dict[int, bytes]()
    low = kafka.watermarks(reader, topic, 0)[0]
    begin = max(low, end - TAIL)
    if begin >= end:
        return None
    reader.assign([TopicPartition(topic, 0, begin)])
    try:
        deadline = time.monotonic() + TIMEOUT
        while end - 1 not in found and time.monotonic() < deadline:
            for message in reader.consume(TAIL, 0.1):
                error = message.error()
                if error is not None:
                    raise kafka.convert(error, f"reading the end of {topic}")
                found[message.offset() or 0] = message.value() or b""
    finally:
        reader.unassign()
    told = [each for _, value in sorted(found.items()) if (each := committed(value)) is not None]
    return max(told, key=lambda each: (each[1], each[0] or 0)) if told else None


def committed(value: bytes) -> tuple[int | None, datetime] | None:
    """What a record of the change log tells of the commit that it belongs to, if it does."""
    try:
        record = _records.decode(value)
    except msgspec.DecodeError:
        return None
    if record.status == "END" and record.ts_ms is not None:
        lsn = (record.id or "").partition(":")[2]
        return int(lsn) if lsn.isdecimal() else None, datetime.fromtimestamp(record.ts_ms / 1000, UTC)
    if record.op in ("c", "u", "d", "t", "m") and record.source is not None and record.source.ts_ms is not None:
        return record.source.lsn, datetime.fromtimestamp(record.source.ts_ms / 1000, UTC)
    return None
