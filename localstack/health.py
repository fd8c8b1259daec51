"""Waits for a part to serve, and says what its log says when it does not."""

from __future__ import annotations

import re
import time
from pathlib import Path
from typing import Protocol

import psutil

from localstack import processes
from wakestream.errors import FatalError

POLL_INTERVAL = 0.1  # seconds
TELLING = re.compile(r"\b(ERROR|FATAL|PANIC|Caused by|Exception|HINT)\b|OutOfMemory|Address already in use")
TAIL = 256 * 1024  # bytes of a log that are looked at


class Server(Protocol):
    """What can be waited for."""

    @property
    def name(self) -> str:
        """What messages call it."""
        ...

    @property
    def patience(self) -> float:
        """Seconds it may take to come up."""
        ...

    def check(self) -> str | None:
        """Ask it once; None when it serves, else why it does not yet."""
        ...


def wait(server: Server, process: psutil.Process | None, log: Path) -> None:
    """Return when the part serves; raise with its last telling log lines when it ends or takes too long."""
    deadline = time.monotonic() + server.patience
    while process is not None and processes.is_alive(process):
        reason = server.check()
        if reason is None:
            return
        if time.monotonic() > deadline:
            raise FatalError(f"{server.name} did not come up within {server.patience:.0f} s ({reason}).{quote(log)}")
        time.sleep(POLL_INTERVAL)
    raise FatalError(f"{server.name} ended while it was starting.{quote(log)}")


def quote(log: Path, count: int = 6) -> str:
    """Return the last telling lines of a log and its path, as the end of a message."""
    return "".join(f"\n  {line}" for line in telling_lines(log, count)) + f"\n  Log: {log}"


def telling_lines(log: Path, count: int) -> list[str]:
    """Return the last lines that speak of an error, or just the last lines where none does."""
    try:
        with log.open("rb") as file:
            file.seek(max(0, log.stat().st_size - TAIL))
            text = file.read().decode("utf-8", "replace")
    except FileNotFoundError:
        return []
    lines = [line.rstrip() for line in text.splitlines() if line.strip()]
    return ([line for line in lines if TELLING.search(line)] or lines)[-count:]
