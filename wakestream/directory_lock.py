"""A lock on a directory, for files in it that are not written but replaced: a lock on such a file would not last."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def held(directory: Path) -> Generator[None]:
    """Wait for the directory's lock and hold it, against other threads and other processes."""
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
