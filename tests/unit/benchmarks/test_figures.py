from __future__ import annotations

import random

import pytest

from benchmarks import figures
from benchmarks.figures import Figure


def test_a_quantile_is_a_value_of_the_sample() -> None:
    sample = [float(n) for n in range(1, 101)]
    random.Random(7).shuffle(sample)
    assert [figures.quantile(sample, share) for share in (0.0, 0.5, 0.95, 0.99, 1.0)] == [1, 50, 95, 99, 100]


def test_quantiles_of_few_values() -> None:
    assert figures.quantiles([3.0]) == {"p50": 3.0, "p95": 3.0, "p99": 3.0}
    assert figures.quantiles([1.0, 2.0, 9.0]) == {"p50": 2.0, "p95": 9.0, "p99": 9.0}
    with pytest.raises(ValueError, match="of nothing"):
        figures.quantile([], 0.5)


def test_latencies_are_told_in_milliseconds_and_over_the_bare_reader() -> None:
    bare, events = [0.010] * 98 + [0.050, 0.060], [0.0125] * 98 + [0.051, 0.090]
    assert figures.latency_figures("latency.20.bare", "bare", bare)[0] == Figure(
        "latency.20.bare.p50", "bare, p50", 10.0, "ms"
    )
    over = {each.name: each.value for each in figures.over_figures("latency.20.event", "event", events, bare)}
    assert over == pytest.approx(
        {
            "latency.20.event.over_bare.p50": 2.5,
            "latency.20.event.over_bare.p95": 2.5,
            "latency.20.event.over_bare.p99": 1.0,
        }
    )


def test_waits_are_matched_by_mark() -> None:
    assert figures.between({1: 10.0, 2: 20.0, 3: 30.0}, {3: 30.5, 2: 21.0}) == [1.0, 0.5]
    with pytest.raises(KeyError):
        figures.between({1: 10.0}, {2: 20.0})
