from __future__ import annotations

import socket
import time
from collections.abc import Callable
from typing import TypeVar

from wakestream.errors import TransientError

T = TypeVar("T")

PATIENCE = 120.0  # seconds; a machine with other work to do is no defect of ours
INTERVAL = 0.02  # seconds between looks


def eventually(probe: Callable[[], T | None], what: str, *, within: float = PATIENCE) -> T:
    """Look until there is something true to see, and return it; fail with `what` was awaited and what was last seen.

    A look that fails for a passing reason, such as a topic whose leader is just being chosen, has seen nothing.
    """
    deadline = time.monotonic() + within
    while True:
        seen: object = None
        try:
            seen = found = probe()
            if found:
                return found
        except TransientError as error:
            seen = error
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {within:.0f} s: {what}; last seen: {seen!r}")
        time.sleep(INTERVAL)


def listens(port: int) -> bool:
    """Whether somebody listens at this port of the machine."""
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
