"""The local model's HTTP server: a process of its own, remembered in the state directory."""

from __future__ import annotations

import importlib.util
import os
import signal
import sys
from pathlib import Path

import psutil
import requests

from localstack import health, home, model, processes
from localstack.processes import Command, PidFile
from wakestream.errors import ConfigurationError, RefusedError

STOP_PATIENCE = 10.0  # seconds


class ModelServer:
    """The server of one state directory. It is no part of the stack: `stack down` leaves it running."""

    name = "model"
    patience = 180.0

    def __init__(self, state: Path) -> None:
        self._directory = state.resolve() / "model"
        self._port_file = self._directory / "port"
        self._pid_file = PidFile(self._directory / "pid.json")
        self.log = self._directory / "server.log"

    def url(self) -> str | None:
        """Return the base URL for an OpenAI client while the server runs, else None."""
        return f"{self._address()}/v1" if self.process() else None

    def process(self) -> psutil.Process | None:
        """Return the running server's process, else None."""
        return self._pid_file.process()

    def serve(self, port: int | None = None) -> str:
        """Start the server in the background unless it runs, wait until it answers, and return its base URL."""
        process = self.process()
        if process is None:
            process = processes.start(self._command(port), self.log)
            if process is not None:
                self._pid_file.write(process)
        elif port is not None and port != self._port():
            raise RefusedError(f"the model is served on port {self._port()}: stop it first with `wake model stop`")
        health.wait(self, process, self.log)
        return f"{self._address()}/v1"

    def become(self, port: int | None = None) -> None:
        """Turn this very process into the server; it never returns."""
        if self.process() is not None:
            raise RefusedError(f"the model is served already, on port {self._port()}: stop it with `wake model stop`")
        command = self._command(port)
        self._pid_file.write(psutil.Process())
        os.execv(command.argv[0], command.argv)  # noqa: S606  no shell is wanted

    def stop(self) -> bool:
        """Stop the server; False when none ran."""
        process = self.process()
        if process is not None:
            processes.stop(process, signal.SIGTERM, STOP_PATIENCE)
        self._pid_file.remove()
        return process is not None

    def check(self) -> str | None:
        """Ask whether the model is loaded; None when it is."""
        try:
            answer = requests.get(f"{self._address()}/health", timeout=2)
        except requests.RequestException:
            return f"{self._address()} does not answer"
        return None if answer.ok else f"{self._address()}/health says {answer.status_code}"

    def _command(self, port: int | None) -> Command:
        if importlib.util.find_spec("xllamacpp") is None:
            raise ConfigurationError("the model server is missing (package xllamacpp): pip install 'wakestream[local]'")
        if not model.is_pulled():
            raise ConfigurationError("the local model is not here yet: fetch it with `wake model pull` (1.1 GB, once)")
        self._directory.mkdir(parents=True, exist_ok=True)
        remembered = self._port()
        if port is None:
            port = remembered if remembered and home.is_free(remembered) else home.free_port()
        self._port_file.write_text(str(port))
        script = Path(__file__).with_name("model_process.py")
        chosen = model.DEFAULT
        return Command(
            [sys.executable, "-P", str(script), str(model.path_of()), chosen.name, str(port)], cwd=self._directory
        )

    def _port(self) -> int | None:
        try:
            return int(self._port_file.read_text())
        except FileNotFoundError:
            return None

    def _address(self) -> str:
        return f"http://127.0.0.1:{self._port()}"
