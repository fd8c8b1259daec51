"""What a measurement gives: named figures, and the quantiles that latencies are told in."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

QUANTILES = {"p50": 0.50, "p95": 0.95, "p99": 0.99}


@dataclass(frozen=True)
class Figure:
    """One number."""

    name: str
    """What it is called in the JSON, such as `latency.200.event.p99`."""
    what: str
    """What it is called for people."""
    value: float
    unit: str


def quantile(sample: Sequence[float], share: float) -> float:
    """The smallest value of the sample that at least this share of it does not exceed."""
    if not sample:
        raise ValueError("no quantile of nothing")
    ordered = sorted(sample)
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]


def quantiles(sample: Sequence[float]) -> dict[str, float]:
    """Each of `QUANTILES`, by name."""
    return {name: quantile(sample, share) for name, share in QUANTILES.items()}


def latency_figures(name: str, what: str, sample: Sequence[float]) -> list[Figure]:
    """The quantiles of a sample in seconds, as milliseconds."""
    return [Figure(f"{name}.{q}", f"{what}, {q}", value * 1000, "ms") for q, value in quantiles(sample).items()]


def over_figures(name: str, what: str, sample: Sequence[float], bare: Sequence[float]) -> list[Figure]:
    """By how much each quantile of a sample exceeds that of the bare reader's, as milliseconds."""
    floor = quantiles(bare)
    return [
        Figure(f"{name}.over_bare.{q}", f"{what}, over the bare reader, {q}", (value - floor[q]) * 1000, "ms")
        for q, value in quantiles(sample).items()
    ]


def between(sent: Mapping[int, float], seen: Mapping[int, float]) -> list[float]:
    """How long each marked row took; every row that was seen must have been sent."""
    return [at - sent[mark] for mark, at in sorted(seen.items())]
