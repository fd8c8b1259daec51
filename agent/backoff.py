"""How long to wait before the same thing is tried again."""

from __future__ import annotations

import random

FIRST = 0.5  # seconds
LONGEST = 15.0  # seconds


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
