from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

PATIENCE = 60.0  # seconds
INTERVAL = 0.02  # seconds between looks


def eventually(probe: Callable[[], T | None], what: str, *, within: float = PATIENCE) -> T:
    """Look until there is something true to see, and return it; fail with `what` was awaited and what was last seen."""
    deadline = time.monotonic() + within
    while True:
        found = probe()
        if found:
            return found
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {within:.0f} s: {what}; last seen: {found!r}")
        time.sleep(INTERVAL)
