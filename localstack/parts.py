"""The four parts of a stack and what each must be able to do."""

from __future__ import annotations

import signal
from typing import Literal, Protocol, get_args

from localstack.processes import Command

PartName = Literal["source-db", "ledger-db", "kafka", "connect"]
PART_NAMES: tuple[PartName, ...] = get_args(PartName)


class Part(Protocol):
    """One server of the stack, which starts, watches and ends its process; the part knows its files and protocol."""

    stop_signal: signal.Signals
    """Asks the process for a clean end."""
    patience: float
    """Seconds it may take to come up."""
    marker: str
    """An argument that no other process has; it finds the part's process when its pid file is lost."""

    @property
    def name(self) -> PartName:
        """Which part it is."""
        ...

    @property
    def address(self) -> str:
        """Where it listens, for people."""
        ...

    def prepare(self) -> None:
        """Called before each start, while the part does not run: makes what is missing, repairs what a crash left."""
        ...

    def command(self) -> Command:
        """Return how to start it, after `prepare`."""
        ...

    def check(self) -> str | None:
        """Ask the running part once, within two seconds or so: None when it serves, else why it does not yet."""
        ...

    def settle(self) -> None:
        """Called each time the part has come up or was found up: brings databases and roles to what they should be."""
        ...
