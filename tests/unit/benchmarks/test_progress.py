from __future__ import annotations

import pytest

from benchmarks.progress import Look, Stretch, begin, follow, stretch
from wakestream.errors import FatalError


def test_starting_up_does_not_count() -> None:
    looks = [
        Look(at=0.0, cpu_s=0.0, done=-1),
        Look(at=1.0, cpu_s=0.9, done=-1),
        Look(at=2.0, cpu_s=1.5, done=1000),
        Look(at=3.0, cpu_s=2.0, done=3000),
        Look(at=4.0, cpu_s=2.4, done=5000),
        Look(at=5.0, cpu_s=2.9, done=5000),
    ]
    assert stretch(looks) == Stretch(done=4000, seconds=2.0, cpu_s=pytest.approx(0.9))  # pyright: ignore[reportArgumentType]


def test_what_is_done_between_two_looks_counts_from_the_beginning() -> None:
    looks = [Look(at=0.0, cpu_s=0.0, done=-1), Look(at=2.0, cpu_s=1.5, done=1999)]
    assert stretch(looks) == Stretch(done=2000, seconds=2.0, cpu_s=1.5)


def test_following_ends_at_the_target() -> None:
    steps = iter([0, 5, 10, 15])
    looks = follow(begin(0), lambda: next(steps), lambda: 0.0, 10, "ten")
    assert [look.done for look in looks] == [0, 0, 5, 10]


def test_what_was_done_before_it_was_first_looked_at_counts_from_the_beginning() -> None:
    took = stretch(follow(begin(3), lambda: 10, lambda: 1.5, 10, "ten"))
    assert (took.done, took.cpu_s) == (7, 1.5)
    assert took.seconds > 0


def test_following_passes_on_what_ends_the_process() -> None:
    def gone() -> int:
        raise FatalError("consumer ended with exit code 1")

    with pytest.raises(FatalError, match="exit code 1"):
        follow(begin(0), gone, lambda: 0.0, 10, "ten")
