"""Starts, recognises, freezes and ends the processes of a stack."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypedDict

import psutil

CLOCK_TOLERANCE = 2.0  # seconds; the system derives a process' start time from a clock that is adjusted
POLL_INTERVAL = 0.02  # seconds
FREEZING = 5.0  # seconds, at most, until a signal has reached every thread
# A detached child of a shell that ends at once: nobody has to reap it, and it outlives the command that started it.
LAUNCHER = '"$@" >&2 </dev/null & echo $!'


class _Identity(TypedDict, total=False):
    user: str
    group: str
    extra_groups: list[str]


@dataclass(frozen=True)
class Command:
    """How one process of the stack is started."""

    argv: list[str]
    """Program and arguments."""
    cwd: Path
    """Working directory, one that `user` can enter."""
    user: str | None = None
    """System user to run as, when not the current one."""
    environment: Mapping[str, str] = field(default_factory=dict[str, str])
    """Variables beside the inherited ones."""


class PidFile:
    """Remembers a process by pid and start time, so that a recycled pid is never taken for it."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def process(self) -> psutil.Process | None:
        """Return the recorded process while it lives, else None."""
        try:
            record = json.loads(self.path.read_text())
            process = psutil.Process(int(record["pid"]))
            same = abs(process.create_time() - float(record["created"])) < CLOCK_TOLERANCE
            return process if same and is_alive(process) else None
        except (FileNotFoundError, ValueError, TypeError, KeyError, psutil.NoSuchProcess):
            return None

    def write(self, process: psutil.Process) -> None:
        """Record a process."""
        new = self.path.with_suffix(".new")
        new.write_text(json.dumps({"pid": process.pid, "created": process.create_time()}))
        new.replace(self.path)

    def remove(self) -> None:
        """Forget the process."""
        self.path.unlink(missing_ok=True)


def start(command: Command, log: Path) -> psutil.Process | None:
    """Start a detached process with both outputs in a new log; None when it ended before it could be looked at."""
    if log.exists():
        log.replace(log.with_suffix(".log.1"))
    with log.open("ab") as output:
        launched = subprocess.run(
            ["/bin/sh", "-c", LAUNCHER, "launcher", *command.argv],
            stdout=subprocess.PIPE,
            stderr=output,
            stdin=subprocess.DEVNULL,
            check=True,
            cwd=command.cwd,
            env={**os.environ, **command.environment},
            start_new_session=True,
            **identity(command.user),
        )
    try:
        return psutil.Process(int(launched.stdout))
    except psutil.NoSuchProcess:
        return None


def identity(user: str | None) -> _Identity:
    """Return the arguments that make `subprocess.run` run as another user and nothing of ours."""
    return _Identity(user=user, group=user, extra_groups=[]) if user else _Identity()


def is_alive(process: psutil.Process) -> bool:
    """Say whether a process runs; one that is dead and not yet reaped does not."""
    try:
        if process.status() == psutil.STATUS_ZOMBIE:
            # A killed JVM is a zombie at once, but holds its port and its files until its last thread has gone.
            return process.num_threads() > 1
        return process.is_running()
    except psutil.NoSuchProcess:
        return False


def is_paused(process: psutil.Process) -> bool:
    """Say whether a process is frozen by SIGSTOP."""
    try:
        return process.status() == psutil.STATUS_STOPPED
    except psutil.NoSuchProcess:
        return False


def marked(marker: str) -> list[psutil.Process]:
    """Find the living processes that were started with this argument."""
    found: list[psutil.Process] = []
    for process in psutil.process_iter():
        try:
            if marker in process.cmdline() and is_alive(process):
                found.append(process)
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            continue
    return found


def working_in(directory: Path, name: str) -> list[psutil.Process]:
    """Find the living processes called `name` whose working directory this is."""
    found: list[psutil.Process] = []
    for process in psutil.process_iter():
        try:
            if process.name() == name and process.cwd() == str(directory) and is_alive(process):
                found.append(process)
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            continue
    return found


def tree(process: psutil.Process) -> list[psutil.Process]:
    """Return a process and all its descendants, itself first."""
    try:
        return [process, *process.children(recursive=True)]
    except psutil.NoSuchProcess:
        return []


def send(processes: Sequence[psutil.Process], number: signal.Signals) -> None:
    """Send a signal to each that still lives."""
    for process in processes:
        try:
            process.send_signal(number)
        except psutil.NoSuchProcess:
            continue


def pause(process: psutil.Process) -> None:
    """Freeze a process and its descendants, and wait until they are."""
    send([process], signal.SIGSTOP)  # first, so that it makes no more children
    family = tree(process)
    send(family, signal.SIGSTOP)
    deadline = time.monotonic() + FREEZING
    while not all(is_paused(member) or not is_alive(member) for member in family) and time.monotonic() < deadline:
        time.sleep(POLL_INTERVAL)


def resume(process: psutil.Process) -> None:
    """Let a frozen process and its descendants go on."""
    send(tree(process), signal.SIGCONT)


def kill_tree(process: psutil.Process) -> None:
    """SIGKILL a process and its descendants and wait until they are gone."""
    family = tree(process)
    send(family, signal.SIGKILL)
    wait_gone(family, 10.0)


def stop(process: psutil.Process, number: signal.Signals, patience: float) -> None:
    """Ask a process to end; after `patience` seconds, kill it with its descendants."""
    family = tree(process)
    send([process], number)
    send(family, signal.SIGCONT)  # a frozen process takes no other signal
    if not wait_gone([process], patience):
        kill_tree(process)
    wait_gone(family, 5.0)


def wait_gone(processes: Sequence[psutil.Process], timeout: float) -> bool:
    """Wait until none of them lives; False when one still does after `timeout` seconds."""
    deadline = time.monotonic() + timeout
    while any(is_alive(process) for process in processes):
        if time.monotonic() > deadline:
            return False
        time.sleep(POLL_INTERVAL)
    return True
