"""How long to wait before the same thing is tried again."""

from __future__ import annotations

import random
from typing import Literal, NamedTuple

FIRST = 0.5  # seconds
LONGEST = 15.0  # seconds

Family = Literal["model", "ledger", "lookup", "effect", "unexpected"]
"""Who is at fault, which says how soon it may be better."""


class Pace(NamedTuple):
    """Pauses that double, in seconds."""

    first: float
    longest: float


PACES: dict[Family, Pace] = {
    "model": Pace(1.0, 60.0),  # a busy server recovers within minutes, and each call costs
    "ledger": Pace(0.5, 15.0),  # ours, and everything waits for it
    "lookup": Pace(0.5, 15.0),  # the context store catches up by itself
    "effect": Pace(1.0, 600.0),  # other people's systems: 20 attempts last two hours
    "unexpected": Pace(5.0, 300.0),  # a fault of ours: time for a person to look, none for a loop
}


class Backoff:
    """Pauses that double up to a limit, each a little different so that many do not come back at once."""

    def __init__(self, first: float = FIRST, longest: float = LONGEST) -> None:
        self._first = first
        self._longest = longest
        self._failures = 0

    def next(self) -> float:
        """The pause after one more failure, in seconds."""
        self._failures += 1
        return pause(self._failures, self._first, self._longest)

    def reset(self) -> None:
        """It worked."""
        self._failures = 0


def pause(failures: int, first: float = FIRST, longest: float = LONGEST) -> float:
    """The pause after so many failures in a row, in seconds."""
    doubled = first * 2.0 ** min(max(failures, 1) - 1, 30)
    return min(doubled, longest) * random.uniform(0.8, 1.0)  # noqa: S311 - not for secrets


def of(family: str, failures: int) -> float:
    """The pause of an error family; of one that has no pace, a model's."""
    for name, pace in PACES.items():
        if name == family:
            return pause(failures, *pace)
    return pause(failures, *PACES["model"])
