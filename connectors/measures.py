"""What the guard tells Prometheus."""

from __future__ import annotations

import math
import time

from prometheus_client import Counter, Gauge

from connectors.wal_watch import LEVELS, Judgement, Reading
from wakestream.metrics import REGISTRY

_SOURCE = ("source",)


def _gauge(name: str, text: str) -> Gauge:
    return Gauge(name, text, _SOURCE, registry=REGISTRY)


LEVEL = _gauge("wakestream_guard_level", "0 ok, 1 warning, 2 critical")
LOOKED = _gauge("wakestream_guard_looked_timestamp_seconds", "When the guard looked last")
SHED = _gauge("wakestream_guard_shed", "1 while the slot is given up to protect the database")
EVENTS = Counter("wakestream_guard_events", "What the guard saw or did, by kind", ("source", "what"), registry=REGISTRY)
RETAINED = _gauge("wakestream_slot_retained_bytes", "WAL that the server keeps for the slot")
GROWTH = _gauge("wakestream_slot_growth_bytes_per_second", "Growth of that over the last minutes")
FRACTION = _gauge("wakestream_slot_limit_ratio", "What is retained, of the limit")
LEFT = _gauge("wakestream_slot_limit_seconds", "Time to the limit at this growth; +Inf while it does not grow")
ACTIVE = _gauge("wakestream_slot_active", "1 while somebody reads the slot")
XMIN_AGE = _gauge("wakestream_slot_xmin_age_transactions", "Age of the slot's catalog_xmin")
CLOCK_AGE = _gauge("wakestream_clock_age_seconds", "Age of the newest clock that is applied; NaN before")
DRIFT = Gauge(
    "wakestream_schema_notes",
    "Changes of the schema that a person should know, harmful or not",
    ("source", "harmful"),
    registry=REGISTRY,
)


def looked(source: str, reading: Reading, found: Judgement, *, shed: bool) -> None:
    """One look at a source's slot."""
    LEVEL.labels(source).set(LEVELS.index(found.level))
    LOOKED.labels(source).set(time.time())
    SHED.labels(source).set(shed)
    RETAINED.labels(source).set(reading.retained)
    GROWTH.labels(source).set(found.growth)
    FRACTION.labels(source).set(found.fraction)
    LEFT.labels(source).set(math.inf if found.seconds_left is None else found.seconds_left)
    ACTIVE.labels(source).set(reading.active)
    XMIN_AGE.labels(source).set(reading.xmin_age)
    CLOCK_AGE.labels(source).set(math.nan if reading.clock_age is None else reading.clock_age)


def noted(source: str, harmful: int, others: int) -> None:
    """What of the source's schema stands noted."""
    DRIFT.labels(source, "yes").set(harmful)
    DRIFT.labels(source, "no").set(others)
