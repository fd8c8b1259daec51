"""Keeps some processes running side by side: prefixes what they print, restarts what dies, ends all together."""

from __future__ import annotations

import contextlib
import os
import queue
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from types import FrameType

RESTART_AFTER = (1.0, 2.0, 4.0, 8.0, 16.0, 30.0)  # seconds, for each death in a row
STEADY = 60.0  # seconds after which a process counts as having come up
PATIENCE = 30.0  # seconds for a clean end
MISCONFIGURED = 2  # the exit code that no restart can cure

Report = Callable[[str, str], None]
"""Takes a process' name and a line."""


class _Child:
    def __init__(self, name: str, command: Sequence[str]) -> None:
        self.name = name
        self.command = command
        self.process: subprocess.Popen[str] | None = None
        self.deaths = 0
        self.started = 0.0
        self.start_at: float | None = 0.0
        """When to start it; None while it runs."""


class Supervisor:
    """Runs named commands until a signal comes, or one of them says that its configuration is wrong."""

    def __init__(self, commands: Mapping[str, Sequence[str]], report: Report) -> None:
        self._children = {name: _Child(name, command) for name, command in commands.items()}
        self._report = report
        self._happened: queue.SimpleQueue[str | None] = queue.SimpleQueue()
        """The name of a process that ended, or None for a signal."""
        self._signals = 0

    def run(self) -> int:
        """Run all and return the exit code: 0 after a signal, 2 when a process refused its configuration."""
        before = {number: signal.signal(number, self._on_signal) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            code = self._keep_running()
        finally:
            self._end_all()
            for number, handler in before.items():
                signal.signal(number, handler)
        return code

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        self._signals += 1
        self._happened.put(None)

    def _keep_running(self) -> int:
        while not self._signals:
            now = time.monotonic()
            for child in self._children.values():
                if child.start_at is not None and child.start_at <= now:
                    self._start(child)
            ended = self._wait()
            if ended is not None and self._bury(ended) == MISCONFIGURED:
                return MISCONFIGURED
        return 0

    def _wait(self) -> _Child | None:
        """Wait until something happens or the next start is due."""
        due = [child.start_at for child in self._children.values() if child.start_at is not None]
        timeout = max(0.0, min(due) - time.monotonic()) if due else None
        try:
            name = self._happened.get(timeout=timeout)
        except queue.Empty:
            return None
        return None if name is None else self._children[name]

    def _start(self, child: _Child) -> None:
        child.process = subprocess.Popen(
            child.command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            env={**os.environ, "PYTHONUNBUFFERED": "1"},
            # Ctrl-C reaches only us, so that each is told once, by us.
            start_new_session=True,
        )
        child.started, child.start_at = time.monotonic(), None
        self._report(child.name, f"started, pid {child.process.pid}")
        threading.Thread(target=self._follow, args=(child.name, child.process), daemon=True).start()

    def _follow(self, name: str, process: subprocess.Popen[str]) -> None:
        if process.stdout is not None:
            with process.stdout as lines:
                for line in lines:
                    self._report(name, line.rstrip("\n"))
        process.wait()
        self._happened.put(name)

    def _bury(self, child: _Child) -> int:
        """Say how a process ended and when it is started again."""
        code = child.process.wait() if child.process else 0
        child.process = None
        now = time.monotonic()
        child.deaths = 1 if now - child.started >= STEADY else child.deaths + 1
        how = f"ended by signal {-code}" if code < 0 else f"ended with exit code {code}"
        if code == MISCONFIGURED:
            self._report(child.name, f"{how}: it refuses its configuration, so everything ends")
            return code
        pause = RESTART_AFTER[min(child.deaths, len(RESTART_AFTER)) - 1]
        child.start_at = now + pause
        self._report(child.name, f"{how}; restarts in {pause:.0f} s")
        return code

    def _end_all(self) -> None:
        """Ask all to end and wait; who does not, or when asked a second time, is killed."""
        running = {child.name: child.process for child in self._children.values() if child.process is not None}
        for process in running.values():
            _send(process, signal.SIGTERM)
        asked, deadline = self._signals, time.monotonic() + PATIENCE
        while running and time.monotonic() < deadline and self._signals <= max(asked, 1):
            try:
                name = self._happened.get(timeout=deadline - time.monotonic())
            except queue.Empty:
                break
            if name is not None and running.pop(name, None) is not None:
                self._report(name, "ended")
        for name, process in running.items():
            self._report(name, "does not end; killed")
            _send(process, signal.SIGKILL)
            process.wait()


def _send(process: subprocess.Popen[str], number: signal.Signals) -> None:
    """Signal the process and whatever it started."""
    if process.poll() is None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, number)
