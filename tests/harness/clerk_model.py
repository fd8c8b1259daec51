"""The clerk's model as a process of its own, which can be killed and come back at the same port.

python -m tests.harness.clerk_model PORT LOG
"""

from __future__ import annotations

import json
import random
import signal
import subprocess
import sys
import threading
from collections import defaultdict
from pathlib import Path

from agent.testing import Reaction, offered
from localstack.home import free_port
from tests.harness.clerk import rule
from tests.harness.models import Call, RuledModel
from tests.harness.stack import REPOSITORY
from tests.harness.waiting import eventually, listens

LONGEST_ANSWER = 0.15  # seconds: long enough that whoever is killed often has a question under way


class ModelProcess:
    """The model server, started as often as a test likes; ends with the `with` block."""

    def __init__(self, directory: Path) -> None:
        self._port = free_port()
        self._asked = directory / "asked.jsonl"
        self._log = directory / "model.log"
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._port}/v1"

    def __enter__(self) -> ModelProcess:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()

    def start(self) -> None:
        """Serve; returns when it listens."""
        arguments = [sys.executable, "-m", "tests.harness.clerk_model", str(self._port), str(self._asked)]
        with self._log.open("ab") as output:
            self._process = subprocess.Popen(arguments, cwd=REPOSITORY, stdout=output, stderr=output)
        eventually(lambda: listens(self._port), "the model server listens")

    def kill(self) -> None:
        """SIGKILL, and see that it was this which ended it."""
        assert self._process is not None, "it was never started"
        self._process.kill()
        assert self._process.wait(60) == -signal.SIGKILL, self._log.read_text()[-2000:]

    def asked(self) -> dict[int, list[float]]:
        """When each of its lives was asked about each ticket."""
        found: defaultdict[int, list[float]] = defaultdict(list)
        for line in self._asked.read_text().splitlines() if self._asked.exists() else ():
            row, at = json.loads(line)
            found[row].append(at)
        return found


def main() -> None:
    """Serve until killed; every question of the clerk's is written down before it is answered."""
    port, asked = int(sys.argv[1]), Path(sys.argv[2])

    def answer(call: Call) -> Reaction:
        if offered(call.request):  # the agent to whom was handed over is offered nothing
            with asked.open("a") as file:
                file.write(json.dumps((call.row, call.at)) + "\n")
        threading.Event().wait(random.uniform(0, LONGEST_ANSWER))
        return rule(call)

    with RuledModel(answer, port=port):
        threading.Event().wait()


if __name__ == "__main__":
    main()
