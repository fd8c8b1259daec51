"""Consumers as real processes: started, held at failpoints, frozen, killed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from types import TracebackType
from typing import Any

from tests.harness.stack import REPOSITORY
from tests.harness.waiting import eventually

# Every numbered point of the consumer's cycle at which it can be held.
FAILPOINTS = (
    "consume.2.read",
    "consume.3.claimed",
    "consume.4.before_wait",
    "consume.4.published",
    "consume.5.before_commit",
    "consume.5.committed",
)
# Of an adopted connector's cycle: the point at which it has written down what it reads next, too.
ADOPTED_FAILPOINTS = (FAILPOINTS[0], "consume.2.written", *FAILPOINTS[1:])


class ConsumerProcess:
    """A consumer with a configuration, started as often as a test likes; ends with the `with` block."""

    def __init__(self, config: dict[str, Any], directory: Path, name: str = "consumer") -> None:
        self._directory = directory / name
        self._points = self._directory / "failpoints"
        self._points.mkdir(parents=True)
        self._config = self._directory / "config.json"
        self._config.write_text(json.dumps(config))
        self._log = self._directory / "log"
        self._process: subprocess.Popen[bytes] | None = None
        self.ends: list[int] = []
        """How each of its lives ended; -9 is SIGKILL."""

    def __enter__(self) -> ConsumerProcess:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.is_running:
            self.kill()
        if error is not None:
            error.add_note(f"end of {self._log}:\n" + "\n".join(self.log.splitlines()[-40:]))

    @property
    def is_running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    @property
    def pid(self) -> int:
        return self._known().pid

    @property
    def log(self) -> str:
        """What all its lives have said."""
        return self._log.read_text() if self._log.exists() else ""

    def start(self) -> None:
        assert not self.is_running
        with self._log.open("ab") as output:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "tests.harness.consumer_process", str(self._config)],
                stdout=output,
                stderr=output,
                stdin=subprocess.DEVNULL,
                cwd=REPOSITORY,
                env={**os.environ, "WAKE_FAILPOINTS": str(self._points), "COVERAGE_PROCESS_START": ""},
            )

    def wait(self, within: float = 60.0) -> int:
        """Until it ends by itself; returns how."""
        process = self._known()
        end = process.wait(within)
        self.ends.append(end)
        return end

    def kill(self) -> int:
        """SIGKILL; returns how it ended, which is another number when it had ended before."""
        self._known().kill()
        return self.wait()

    def stop(self) -> int:
        """SIGTERM, and what became of it."""
        self._known().terminate()
        return self.wait()

    def pause(self) -> None:
        """SIGSTOP: its connections stay open and nothing moves."""
        process = self._known()
        process.send_signal(signal.SIGSTOP)
        os.waitid(os.P_PID, process.pid, os.WSTOPPED | os.WNOWAIT)

    def resume(self) -> None:
        self._known().send_signal(signal.SIGCONT)

    def hold(self, point: str) -> None:
        """Let it stop at a failpoint when it comes there next."""
        self._reached(point).unlink(missing_ok=True)
        self._armed(point).touch()

    def wait_held(self, point: str) -> None:
        """Until the process that runs now stands at the failpoint."""
        pid = str(self._known().pid)

        def stands() -> bool:
            assert self.is_running, f"the consumer ended before {point}:\n{self.log[-2000:]}"
            file = self._reached(point)
            return file.exists() and file.read_text() == pid

        eventually(stands, f"the consumer at {point}")

    def release(self, point: str) -> None:
        self._armed(point).unlink()

    def kill_at(self, point: str) -> None:
        """SIGKILL at a failpoint, nowhere else."""
        self.hold(point)
        self.wait_held(point)
        assert self.kill() == -signal.SIGKILL
        self.release(point)

    def _known(self) -> subprocess.Popen[bytes]:
        assert self._process is not None, "it was never started"
        return self._process

    def _armed(self, point: str) -> Path:
        assert point in ADOPTED_FAILPOINTS
        return self._points / f"{point}.hold"

    def _reached(self, point: str) -> Path:
        return self._points / f"{point}.reached"
