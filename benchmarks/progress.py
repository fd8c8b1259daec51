"""How fast a process works through what lies before it, from looks at how far it has come."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from benchmarks.waiting import INTERVAL, PATIENCE, until


@dataclass(frozen=True)
class Look:
    """How far a process was, and what it had taken by then."""

    at: float
    cpu_s: float
    done: int


@dataclass(frozen=True)
class Stretch:
    """What was done between two looks."""

    done: int
    seconds: float
    cpu_s: float


def begin(done: int) -> Look:
    """The first look, before the processes are started: they may be through before there is a second."""
    return Look(time.perf_counter(), 0.0, done)


def follow(
    begun: Look,
    done: Callable[[], int],
    cpu_s: Callable[[], float],
    target: int,
    what: str,
    *,
    within: float = PATIENCE,
    every: float = INTERVAL,
) -> list[Look]:
    """Look until the target is reached; every look is kept, after the one with which it begun.

    Looks cost CPU themselves: `every` so many seconds is often enough where many processes are looked at.
    """
    looks = [begun]

    def look() -> bool:
        far = done()
        looks.append(Look(time.perf_counter(), cpu_s(), far))
        return far >= target

    until(look, what, within=within, every=every)
    return looks


def stretch(looks: Sequence[Look]) -> Stretch:
    """The work from the first movement on, so that starting up does not count.

    Where all was done between two looks there is nothing else to go by than those two.
    """
    moved = next(each for each in looks if each.done > looks[0].done)
    first = moved if moved.done < looks[-1].done else looks[0]
    last = next(each for each in looks if each.done == looks[-1].done)
    return Stretch(last.done - first.done, last.at - first.at, last.cpu_s - first.cpu_s)
