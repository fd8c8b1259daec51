"""The state directory of one local stack: where its parts keep data and logs, their ports and passwords."""

from __future__ import annotations

import fcntl
import json
import os
import random
import secrets
import socket
from collections.abc import Collection, Generator
from contextlib import contextmanager
from pathlib import Path
from typing import TypedDict, cast

from wakestream import secrets_file
from wakestream.errors import FatalError, RefusedError

PORT_NAMES = ("source-db", "ledger-db", "kafka", "kafka-controller", "connect")
PASSWORD_NAMES = ("postgres", "wake", "wake_lookups")
# Below the range from which systems give out ports to outgoing connections, so that none of those ever takes ours.
PORT_RANGE = (20_000, 30_000)


class _State(TypedDict):
    ports: dict[str, int]
    passwords: dict[str, str]


def default_home() -> Path:
    """Return WAKE_HOME, or `.wake` in the current directory."""
    return Path(os.environ.get("WAKE_HOME") or ".wake")


def secrets_path(home: Path | None = None) -> Path:
    """Return the properties file that Connect's file config provider reads, as the local worker sees it."""
    return (home or default_home()).resolve() / "secrets" / "connect.properties"


class Home:
    """One state directory. Creating the object touches nothing; `prepare` does."""

    def __init__(self, path: Path) -> None:
        self.path = path.resolve()
        self.logs = self.path / "logs"
        self.pids = self.path / "pids"
        self.secrets = secrets_path(self.path)
        self._file = self.path / "stack.json"

    def prepare(self) -> None:
        """Make the directories, the passwords and the (empty) secrets file, whatever of them is missing."""
        for directory in (self.path, self.logs, self.pids):
            directory.mkdir(parents=True, exist_ok=True)
        secrets_file.write_properties(self.secrets, {})
        state = self._read() or _State(ports={}, passwords={})
        for name in PASSWORD_NAMES:
            state["passwords"].setdefault(name, secrets.token_urlsafe(24))
        self._write(state)

    def exists(self) -> bool:
        """Say whether a stack was ever set up here."""
        return self._file.exists()

    def port(self, name: str) -> int:
        """Return the remembered port of a part."""
        return self._state()["ports"][name]

    def password(self, role: str) -> str:
        """Return the remembered password of a database role."""
        return self._state()["passwords"][role]

    def assign_ports(self, in_use: set[str]) -> set[str]:
        """Give every name a port and return the names that got a new one.

        The remembered port stays while it is free, or `in_use` by ourselves.
        """
        state = self._state()
        ports = state["ports"]
        changed: set[str] = set()
        for name in PORT_NAMES:
            if name in ports and (name in in_use or is_free(ports[name])):
                continue
            ports[name] = free_port(set(ports.values()))
            changed.add(name)
        if changed:
            self._write(state)
        return changed

    @contextmanager
    def lock(self) -> Generator[None]:
        """Keep other commands from changing this stack at the same time."""
        self.path.mkdir(parents=True, exist_ok=True)
        with (self.path / "stack.lock").open("w") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield

    def _state(self) -> _State:
        state = self._read()
        if state is None:
            raise RefusedError(f"there is no local stack in {self.path}: start one with `wake stack up`")
        return state

    def _read(self) -> _State | None:
        try:
            return cast("_State", json.loads(self._file.read_text()))
        except FileNotFoundError:
            return None

    def _write(self, state: _State) -> None:
        new = self._file.with_suffix(".new")
        descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "w") as file:
            json.dump(state, file, indent=2)
        new.replace(self._file)


def is_free(port: int) -> bool:
    """Say whether a server could listen on this port of the loopback interface."""
    with socket.socket() as probe:
        # What a server of ours left in TIME_WAIT does not keep the same server from listening again.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def free_port(taken: Collection[int] = ()) -> int:
    """Return a port of the loopback interface that nobody listens on."""
    for port in random.sample(range(*PORT_RANGE), 500):
        if port not in taken and is_free(port):
            return port
    raise FatalError(f"no free port found on 127.0.0.1 between {PORT_RANGE[0]} and {PORT_RANGE[1]}")
