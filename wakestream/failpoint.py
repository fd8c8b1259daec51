"""Points at which a test can hold or end a process. Off unless `WAKE_FAILPOINTS` names a directory.

A test arms a point by creating `<directory>/<name>.hold`; the process that reaches it writes `<name>.reached` and
waits until the test removes the file, or kills the process meanwhile.
"""

from __future__ import annotations

import os
import time
from pathlib import Path

_DIRECTORY = os.environ.get("WAKE_FAILPOINTS")


def reach(name: str) -> None:
    """Hold here while a test has armed this point."""
    if _DIRECTORY is None:
        return
    hold = Path(_DIRECTORY) / f"{name}.hold"
    if not hold.exists():
        return
    (Path(_DIRECTORY) / f"{name}.reached").write_text(str(os.getpid()))
    while hold.exists():
        time.sleep(0.005)
