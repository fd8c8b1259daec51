from __future__ import annotations

import os
import sys
import threading

import typer

from cli import options
from cli.options import ConfigOption

PARTS = ("consume", "agent", "guard")


def up(config: ConfigOption = options.DEFAULT_CONFIG) -> None:
    """Run consumer, agent and guard together until Ctrl-C; what dies is started again."""
    from cli.supervisor import Supervisor

    options.load(config)
    os.environ["WAKE_CONFIG"] = str(config.resolve())
    width, lock = max(map(len, PARTS)), threading.Lock()

    def report(name: str, line: str) -> None:
        with lock:
            print(f"{name.ljust(width)} | {line}", flush=True)

    commands = {part: [sys.executable, "-m", "cli.main", part] for part in PARTS}
    raise typer.Exit(Supervisor(commands, report).run())
