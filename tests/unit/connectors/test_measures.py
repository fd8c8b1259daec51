from __future__ import annotations

import math

from connectors import measures
from connectors.wal_watch import Reading, WalWatch
from wakestream.metrics import REGISTRY

GIB = 2**30


def told(name: str) -> float | None:
    return REGISTRY.get_sample_value(f"wakestream_{name}", {"source": "air"})


def test_what_the_guard_judged_is_told() -> None:
    watch = WalWatch()
    for at, retained in ((0.0, 8 * GIB), (10.0, 9 * GIB)):
        reading = Reading(at, retained, 10 * GIB, "reserved", True, 77, None)
        measures.looked("air", reading, watch.judge(reading), shed=False)
    assert (told("guard_level"), told("guard_shed"), told("slot_active")) == (2, 0, 1)
    assert (told("slot_retained_bytes"), told("slot_xmin_age_transactions")) == (9 * GIB, 77)
    assert (told("slot_growth_bytes_per_second"), told("slot_limit_seconds")) == (GIB / 10, 10.0)
    assert told("slot_limit_ratio") == 0.9
    assert math.isnan(told("clock_age_seconds") or 0.0)


def test_what_does_not_grow_never_reaches_the_limit() -> None:
    reading = Reading(0.0, GIB, 10 * GIB, "reserved", False, 0, 2.5)
    measures.looked("air", reading, WalWatch().judge(reading), shed=True)
    assert (told("slot_limit_seconds"), told("slot_active"), told("guard_shed")) == (math.inf, 0, 1)
    assert told("clock_age_seconds") == 2.5
