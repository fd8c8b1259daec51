"""What the guard makes of its readings: levels, their hysteresis, and the forecast."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connectors.wal_watch import ASSUMED_LIMIT, LEVELS, Reading, WalWatch, size, span

GIB = 2**30


def reading(at: float, **changes: Any) -> Reading:
    well: dict[str, Any] = {
        "retained": 0,
        "limit": 10 * GIB,
        "status": "reserved",
        "active": True,
        "xmin_age": 0,
        "clock_age": 1.0,
    }
    return Reading(at, **{**well, **changes})


def test_all_is_well() -> None:
    found = WalWatch().judge(reading(0.0))
    assert (found.level, found.reasons, found.seconds_left) == ("ok", (), None)


def test_a_forecast_comes_before_the_limit() -> None:
    watch = WalWatch()
    levels = [watch.judge(reading(at, retained=int(at * 2**20))).level for at in range(0, 301, 3)]
    assert (levels[0], levels[-1]) == ("ok", "warning")  # 1 MiB/s: 10 GiB are full in less than three hours
    found = watch.judge(reading(303, retained=303 * 2**20))
    assert found.growth == pytest.approx(2**20, rel=0.01)
    assert any(reason.startswith("disk limit in 2 h 4") for reason in found.reasons), found.reasons


@pytest.mark.parametrize(
    ("change", "level"),
    [
        ({"retained": 5 * GIB}, "warning"),
        ({"retained": 8 * GIB}, "critical"),
        ({"retained": 15 * GIB, "limit": None}, "warning"),
        ({"status": "lost"}, "critical"),
        ({"status": "unreserved"}, "critical"),
        ({"status": "missing"}, "critical"),
        ({"xmin_age": 60_000_000}, "warning"),
        ({"xmin_age": 600_000_000}, "critical"),
        ({"clock_age": 45.0}, "warning"),
        ({"clock_age": 400.0}, "critical"),
        ({"clock_age": None}, "ok"),
    ],
)
def test_each_signal_raises_its_level(change: dict[str, Any], level: str) -> None:
    found = WalWatch().judge(reading(0.0, **change))
    assert (found.level, len(found.reasons)) == (level, 0 if level == "ok" else 1)


def test_the_tighter_limit_counts() -> None:
    assert WalWatch(wal_limit=GIB).judge(reading(0.0, retained=GIB)).fraction == 1.0
    assert WalWatch(wal_limit=20 * GIB).judge(reading(0.0, retained=5 * GIB)).fraction == 0.5
    assert WalWatch().judge(reading(0.0, retained=ASSUMED_LIMIT, limit=None)).fraction == 1.0


def test_a_slot_that_nobody_reads() -> None:
    watch = WalWatch()
    levels = [watch.judge(reading(at, active=False)).level for at in (0.0, 59.0, 60.0, 899.0, 900.0)]
    assert levels == ["ok", "ok", "warning", "warning", "critical"]
    assert watch.judge(reading(901.0)).level == "ok"


def test_a_level_is_left_well_below_where_it_was_reached() -> None:
    watch = WalWatch()
    shares = (0.49, 0.5, 0.45, 0.41, 0.39, 0.45, 0.8, 0.7, 0.65, 0.63, 0.45, 0.3)
    levels = [watch.judge(reading(0.0, retained=int(share * 10 * GIB))).level for share in shares]
    assert levels == [
        *("ok", "warning", "warning", "warning", "ok", "ok"),
        *("critical", "critical", "critical", "warning", "warning", "ok"),
    ]


@given(st.lists(st.floats(0.0, 1.2), min_size=1, max_size=40))
def test_more_is_never_better(shares: list[float]) -> None:
    watch = WalWatch()
    for share in shares:
        before = watch.level
        level = watch.judge(reading(0.0, retained=int(share * 10 * GIB))).level
        least, most = (sum(share >= bound + slack for bound in (0.5, 0.8)) for slack in (1e-6, -1e-6))
        assert least <= LEVELS.index(level) <= max(LEVELS.index(before), most)


def test_numbers_for_people() -> None:
    assert [size(n) for n in (12, 2048, 5 * 2**20, 3 * GIB)] == ["12 bytes", "2.0 KiB", "5.0 MiB", "3.0 GiB"]
    assert [span(s) for s in (5, 90, 11400, 200000)] == ["5 s", "1 min", "3 h 10 min", "2 d"]
