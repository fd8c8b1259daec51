"""How dangerous a slot is to its database: what was measured, judged against thresholds, with a forecast.

A level that was reached is left only well below the threshold that raised it, so that it does not flicker.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import Literal

import msgspec

Level = Literal["ok", "warning", "critical"]

LEVELS: tuple[Level, ...] = ("ok", "warning", "critical")
WINDOW = 300.0  # seconds over which growth is measured
ASSUMED_LIMIT = 20 * 2**30  # bytes, where neither the server nor the file sets one
LEAVES_AT = 0.8  # of the threshold that raised a level


class Reading(msgspec.Struct, frozen=True):
    """One look at a source."""

    at: float
    """Seconds on a clock that only rises."""
    retained: int
    """Bytes of WAL that the server keeps for the slot; 0 without a slot."""
    limit: int | None
    """Bytes at which the server gives the slot up; None where it never does."""
    status: str
    """`reserved`, `extended`, `unreserved`, `lost`, or `missing`."""
    active: bool
    xmin_age: int
    """Transactions since the oldest one whose dead catalogue rows the slot keeps."""
    clock_age: float | None
    """Seconds since the newest clock mark that the consumer has applied."""


class Judgement(msgspec.Struct, frozen=True):
    """What a reading comes to."""

    level: Level
    reasons: tuple[str, ...]
    growth: float
    """Bytes of retained WAL per second, over the last minutes."""
    seconds_left: float | None
    """Until the limit at this growth; None while it does not grow."""
    fraction: float
    """Of the limit."""


@dataclass(frozen=True)
class _Signal:
    """A number of which more is worse, with the values that raise the levels."""

    name: str
    warning: float
    critical: float

    def level(self, value: float, before: Level) -> Level:
        """The level at this value, coming from another."""
        thresholds: tuple[tuple[Level, float], ...] = (("critical", self.critical), ("warning", self.warning))
        for level, threshold in thresholds:
            held = LEVELS.index(before) >= LEVELS.index(level)
            if value >= threshold * (LEAVES_AT if held else 1.0):
                return level
        return "ok"


_FRACTION = _Signal("wal", 0.5, 0.8)
_URGENCY = _Signal("forecast", 1 / (6 * 3600), 1 / 3600)  # one over the seconds left
_INACTIVE = _Signal("inactive", 60.0, 900.0)
_XMIN = _Signal("xmin", 50e6, 500e6)
_CLOCK = _Signal("clock", 30.0, 300.0)


@dataclass
class WalWatch:
    """Judges one source's readings, in their order."""

    wal_limit: int | None = None
    """The file's own limit, in bytes."""
    level: Level = "ok"
    _levels: dict[str, Level] = field(default_factory=dict[str, Level])
    _readings: deque[tuple[float, int]] = field(default_factory=deque[tuple[float, int]])
    _inactive_since: float | None = None

    def judge(self, reading: Reading) -> Judgement:
        """What it comes to, and the level from here on."""
        growth = self._growth(reading)
        limit = self._limit(reading)
        left = (limit - reading.retained) / growth if growth > 0 else None
        if reading.active or self._inactive_since is None:
            self._inactive_since = None if reading.active else reading.at
        idle = 0.0 if self._inactive_since is None else reading.at - self._inactive_since
        fraction = reading.retained / limit
        found = [
            *self._told(_FRACTION, fraction, f"{size(reading.retained)} of WAL retained, {fraction:.0%} of the limit"),
            *self._told(_URGENCY, 1 / max(left, 1.0) if left is not None else 0.0, f"disk limit in {span(left or 0)}"),
            *self._told(_INACTIVE, idle, f"nobody has read the slot for {span(idle)}"),
            *self._told(_XMIN, reading.xmin_age, f"the slot keeps dead rows of {reading.xmin_age} transactions"),
            *self._told(_CLOCK, reading.clock_age or 0.0, f"the newest clock is {span(reading.clock_age or 0)} old"),
        ]
        if reading.status in ("lost", "unreserved", "missing"):
            found.append(("critical", _STATUS[reading.status]))
        self.level = LEVELS[max((LEVELS.index(level) for level, _ in found), default=0)]
        return Judgement(self.level, tuple(reason for _, reason in found), growth, left, fraction)

    def _told(self, signal: _Signal, value: float, text: str) -> list[tuple[Level, str]]:
        level = self._levels[signal.name] = signal.level(value, self._levels.get(signal.name, "ok"))
        return [] if level == "ok" else [(level, text)]

    def _limit(self, reading: Reading) -> int:
        limits = [limit for limit in (self.wal_limit, reading.limit) if limit]
        return min(limits, default=ASSUMED_LIMIT)

    def _growth(self, reading: Reading) -> float:
        self._readings.append((reading.at, reading.retained))
        while self._readings[0][0] < reading.at - WINDOW:
            self._readings.popleft()
        first_at, first = self._readings[0]
        return (reading.retained - first) / (reading.at - first_at) if reading.at > first_at else 0.0


_STATUS = {
    "lost": "the slot is lost: the server has removed WAL that it needed",
    "unreserved": "the server may remove the slot's WAL at its next checkpoint",
    "missing": "the slot is gone",
}


def size(count: float) -> str:
    """Bytes for people."""
    for unit in ("bytes", "KiB", "MiB"):
        if abs(count) < 1024:
            return f"{count:.0f} {unit}" if unit == "bytes" else f"{count:.1f} {unit}"
        count /= 1024
    return f"{count:.1f} GiB"


def span(seconds: float) -> str:
    """A length of time for people: `3 h 10 min`."""
    if seconds < 60:
        return f"{seconds:.0f} s"
    minutes = int(seconds // 60)
    if minutes < 60:
        return f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours < 48 else f"{hours // 24} d"
