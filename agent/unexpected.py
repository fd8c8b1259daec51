"""What no part of ours foresaw: the work that met it is tried again, and the process goes on."""

from __future__ import annotations

import traceback

from wakestream.errors import TransientError, WakeError

FRAMES = 4
LENGTH = 2000  # characters


class UnexpectedError(TransientError):
    """A fault in the code, told with the last lines of its traceback."""

    def __init__(self, error: BaseException) -> None:
        super().__init__(told(error), family="unexpected")


def told(error: BaseException) -> str:
    """Type and message, and where: the innermost frames, without the values in them."""
    frames = traceback.extract_tb(error.__traceback__)[-FRAMES:]
    where = [f"  {frame.filename.rpartition('/')[2]}:{frame.lineno} in {frame.name}: {frame.line}" for frame in frames]
    kind = "a fault that nobody foresaw" if not isinstance(error, WakeError) else "an error out of place"
    return "\n".join([f"{kind}: {type(error).__name__}: {error}", *where])[:LENGTH]
