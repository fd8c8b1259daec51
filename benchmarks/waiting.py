from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

from wakestream.errors import FatalError

T = TypeVar("T")
INTERVAL = 0.02  # seconds between looks
PATIENCE = 120.0  # seconds


def until(probe: Callable[[], T | None], what: str, *, within: float = PATIENCE, every: float = INTERVAL) -> T:
    """Look until there is something true to see, and return it.

    Raises `FatalError` with what was awaited.
    """
    deadline = time.monotonic() + within
    while not (found := probe()):
        if time.monotonic() > deadline:
            raise FatalError(f"not within {within:.0f} s: {what}")
        time.sleep(every)
    return found
