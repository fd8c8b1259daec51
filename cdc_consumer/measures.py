"""What the consumer tells Prometheus. Added to once a cycle, never for a row."""

from __future__ import annotations

import time
from collections.abc import Sequence

from prometheus_client import Counter, Gauge, Histogram

from cdc_consumer.collect import Piece
from wakestream.metrics import REGISTRY

_SOURCE = ("source",)

OFFSET = Gauge(
    "wakestream_consumer_offset", "Last record of the change log that is applied", _SOURCE, registry=REGISTRY
)
LAG = Gauge(
    "wakestream_consumer_lag_records", "Records of the change log behind it, when it last read", _SOURCE,
    registry=REGISTRY,
)  # fmt: skip
CLOCK = Gauge(
    "wakestream_consumer_clock_timestamp_seconds", "The source's time at the position", _SOURCE, registry=REGISTRY
)
RECORDS = Counter("wakestream_consumer_records", "Records read from the change log", _SOURCE, registry=REGISTRY)
PIECES = Counter(
    "wakestream_consumer_pieces", "Applied: a whole transaction, a snapshot's row, a notification", _SOURCE,
    registry=REGISTRY,
)  # fmt: skip
EVENTS = Counter("wakestream_consumer_events", "Context events published", _SOURCE, registry=REGISTRY)
CYCLES = Histogram(
    "wakestream_consumer_cycle_seconds",
    "From whole pieces to the committed position",
    _SOURCE,
    buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0),
    registry=REGISTRY,
)
WAITS = Counter("wakestream_consumer_waits", "Times that the broker or the ledger was away", _SOURCE, registry=REGISTRY)


def read(source: str, records: int, last: int, end: int | None) -> None:
    """Records were read up to the offset `last`, where the log was known to end at `end`."""
    RECORDS.labels(source).inc(records)
    if end is not None:
        LAG.labels(source).set(max(0, end - last - 1))


def moved(source: str, records: int, offset: int, events: int, began: float) -> None:
    """A stretch of an adopted connector's messages was committed."""
    CYCLES.labels(source).observe(time.perf_counter() - began)
    OFFSET.labels(source).set(offset)
    RECORDS.labels(source).inc(records)
    EVENTS.labels(source).inc(events)


def applied(source: str, pieces: Sequence[Piece], events: int, began: float) -> None:
    """A cycle was committed; `began` by `time.perf_counter`."""
    CYCLES.labels(source).observe(time.perf_counter() - began)
    OFFSET.labels(source).set(pieces[-1].offset)
    PIECES.labels(source).inc(len(pieces))
    EVENTS.labels(source).inc(events)
    clock = max((piece.ts_ms for piece in pieces if piece.clock), default=None)
    if clock is not None:
        CLOCK.labels(source).set(clock / 1000)
