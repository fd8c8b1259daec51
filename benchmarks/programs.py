"""The product's processes and the scripted model, started as an operator starts them."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType

from benchmarks.waiting import until
from wakestream.errors import FatalError

WAKE = (sys.executable, "-m", "cli.main")
SCRIPTED_MODEL = (sys.executable, "-m", "agent.testing", "--script", "decide_none", "--keep", "20000")
STOP_PATIENCE = 30.0  # seconds
TOLD = 2000  # characters of a log


class Program:
    """A process with a log. A context manager: it is stopped when it is left."""

    def __init__(self, command: Sequence[str], log: Path, environment: Mapping[str, str]) -> None:
        self.log = log
        with log.open("ab") as output:
            self._process = subprocess.Popen(
                command, stdout=output, stderr=output, stdin=subprocess.DEVNULL, env={**os.environ, **environment}
            )

    def __enter__(self) -> Program:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    @property
    def pid(self) -> int:
        """Of the process."""
        return self._process.pid

    def require_alive(self) -> None:
        """Raise `FatalError` with the end of the log when the process is gone."""
        if self._process.poll() is not None:
            raise FatalError(
                f"{self.log.stem} ended with exit code {self._process.returncode}: {self.text()[-TOLD:].strip()}"
            )

    def text(self) -> str:
        """What it has said."""
        return self.log.read_text(errors="replace")

    def stop(self) -> None:
        """SIGTERM, then SIGKILL when that is not enough."""
        self._process.terminate()
        try:
            self._process.wait(STOP_PATIENCE)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


def run_wake(arguments: Sequence[str], log: Path, environment: Mapping[str, str]) -> None:
    """One `wake` command to its end. Raises `FatalError` with what it said when it failed."""
    done = subprocess.run(
        [*WAKE, *arguments], capture_output=True, text=True, check=False, env={**os.environ, **environment}
    )
    with log.open("a") as output:
        output.write(done.stdout + done.stderr)
    if done.returncode != 0:
        raise FatalError(f"`wake {' '.join(arguments)}` failed: {(done.stderr or done.stdout)[-TOLD:].strip()}")


def scripted_url(model: Program) -> str:
    """The address that the scripted model prints when it serves."""

    def printed() -> str | None:
        model.require_alive()
        return next((line for line in model.text().splitlines() if line.startswith("http")), None)

    return until(printed, "the scripted model's address")
