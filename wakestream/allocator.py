"""How this process takes memory from the system."""

from __future__ import annotations

import ctypes

_M_ARENA_MAX = -8
"""`mallopt`'s name for it in glibc's `malloc.h`."""


def use_one_arena() -> None:
    """Keep freed memory in one place, where every thread finds it again; does nothing where the C library is another.

    By itself glibc has an arena for each thread. Messages are allocated by librdkafka's threads and freed by ours: each
    arena grows to its own peak and gives nothing back (docs/decisions/0030). Call it before any thread is started.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):
        return
    mallopt(_M_ARENA_MAX, 1)
