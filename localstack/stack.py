"""The whole local stack: two PostgreSQL clusters, Kafka, and Connect with Debezium, on one machine without Docker."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import psutil

from localstack import connect, health, jars, kafka, postgres, processes, requirements
from localstack.home import PORT_NAMES, Home
from localstack.model_server import ModelServer
from localstack.parts import PART_NAMES, Part, PartName
from localstack.processes import PidFile
from wakestream.errors import FatalError, RefusedError, WakeError

Report = Callable[[str], None]
State = Literal["running", "paused", "silent", "stopped"]
STOP_PATIENCE = 30.0  # seconds for a clean end, then SIGKILL
# A worker cannot end cleanly without its broker, so it goes first.
STOP_ORDER: tuple[tuple[PartName, ...], ...] = (("connect",), ("kafka", "source-db", "ledger-db"))
# What `wipe` removes, by name: the state directory may hold other things, and may be any directory at all.
STATE = (*PART_NAMES, "logs", "pids", "secrets", "token", "stack.json", "stack.lock")


def _tell_nobody(_: str) -> None:
    return


@dataclass(frozen=True)
class PartStatus:
    """What one part is doing."""

    part: PartName
    """Its name."""
    state: State
    """`silent` is a process that runs and does not answer."""
    pid: int | None
    """Its process, while there is one."""
    address: str
    """Where it listens."""
    log: str
    """Its log file."""
    reason: str | None
    """Why it is silent."""


class Stack:
    """One local stack in one state directory."""

    def __init__(self, home: Path) -> None:
        self.home = Home(home)
        self._source = postgres.Cluster("source-db", self.home)
        self._ledger = postgres.Cluster("ledger-db", self.home)
        self._broker = kafka.Broker(self.home)
        self._worker = connect.Worker(self.home)
        known: tuple[Part, ...] = (self._source, self._ledger, self._broker, self._worker)
        self._parts: dict[PartName, Part] = {part.name: part for part in known}

    def up(self, report: Report = _tell_nobody) -> None:
        """Start what does not run and wait until everything serves.

        A running stack is left as it is, a half-dead one is repaired.
        """
        requirements.check_java()
        requirements.find_postgres()
        if not self.home.exists():
            requirements.check_disk(self.home.path)
        with self.home.lock():
            jars.fetch(jars.locate(), report)
            self.home.prepare()
            self._assign_ports(report)
            self._bring_all_up(report)

    def down(self, *, wipe: bool = False, report: Report = _tell_nobody) -> None:
        """Stop what `up` started, and nothing else. With `wipe`, remove its data too."""
        if not self.home.exists():
            report(f"there is no local stack in {self.home.path}")
            return
        with self.home.lock():
            for names in STOP_ORDER:
                _in_parallel([lambda part=self._parts[name]: self._take_down(part, report) for name in names])
            if wipe:
                self._wipe()
                report(f"removed the state in {self.home.path}")

    def status(self) -> list[PartStatus]:
        """Look at every part; nothing is changed."""
        if not self.home.exists():
            raise RefusedError(f"there is no local stack in {self.home.path}: start one with `wake stack up`")
        with ThreadPoolExecutor(len(PART_NAMES)) as pool:
            return list(pool.map(self._look_at, self._parts.values()))

    def env(self) -> dict[str, str]:
        """Return the addresses of the stack as environment variables."""
        variables = {
            "POSTGRES_URL": self._source.url(postgres.SUPERUSER, "postgres"),
            "LEDGER_URL": self._ledger.url(postgres.LEDGER_OWNER, postgres.LEDGER),
            "LOOKUPS_URL": self._ledger.url(postgres.LOOKUPS_ROLE, postgres.LEDGER),
            "KAFKA_BOOTSTRAP": self._broker.address,
            "CONNECT_URL": self._worker.address,
            "CONNECT_SECRETS": str(self.home.secrets),
        }
        token = self.home.path / "token"
        if token.exists():
            variables["WAKE_TOKEN"] = token.read_text().strip()
        model = ModelServer(self.home.path).url()
        if model is not None:
            variables["MODEL_URL"] = model
        return variables

    def start_part(self, name: PartName) -> None:
        """Start one part and wait until it serves."""
        with self.home.lock():
            self._bring_up(self._parts[name], None)

    def stop_part(self, name: PartName) -> None:
        """Stop one part cleanly."""
        with self.home.lock():
            self._take_down(self._parts[name], _tell_nobody)

    def kill(self, name: PartName) -> None:
        """SIGKILL a part with all its processes, as a crash of its machine would end it."""
        processes.kill_tree(self._running(name))

    def pause(self, name: PartName) -> None:
        """Freeze a part with all its processes: its connections stay open and nothing answers."""
        processes.pause(self._running(name))

    def resume(self, name: PartName) -> None:
        """Let a frozen part go on."""
        processes.resume(self._running(name))

    def _bring_all_up(self, report: Report) -> None:
        """Start all at once: Connect takes longest to load and needs the broker only at the end of it."""
        with ThreadPoolExecutor(len(PART_NAMES)) as pool:
            broker = pool.submit(self._bring_up, self._broker, None, report)
            others = [
                pool.submit(self._bring_up, self._worker, broker, report),
                pool.submit(self._bring_up, self._source, None, report),
                pool.submit(self._bring_up, self._ledger, None, report),
            ]
        _raise_failures([broker, *others])

    def _bring_up(self, part: Part, needed: Future[None] | None, report: Report = _tell_nobody) -> None:
        started = time.monotonic()
        process = self._process(part.name)
        was_running = process is not None
        if process is None:
            process = self._start(part)
        elif processes.is_paused(process):
            processes.resume(process)
        if needed is not None and needed.exception() is not None:
            return  # it cannot come up, and the one it needs says why
        health.wait(part, process, self._log(part.name))
        part.settle()
        verb = "runs" if was_running else f"started in {time.monotonic() - started:.1f} s"
        report(f"{part.name}: {verb}, {part.address}")

    def _start(self, part: Part) -> psutil.Process | None:
        # A process of this very part whose pid file was lost would hold its port and its files.
        for stray in processes.marked(part.marker):
            processes.kill_tree(stray)
        part.prepare()
        process = processes.start(part.command(), self._log(part.name))
        if process is not None:
            self._pid_file(part.name).write(process)
        return process

    def _take_down(self, part: Part, report: Report) -> None:
        recorded = self._process(part.name)
        running = {process.pid: process for process in processes.marked(part.marker)}
        if recorded is not None:
            running[recorded.pid] = recorded
        for process in running.values():
            processes.stop(process, part.stop_signal, STOP_PATIENCE)
        self._pid_file(part.name).remove()
        report(f"{part.name}: {'stopped' if running else 'was not running'}")

    def _assign_ports(self, report: Report) -> None:
        running = {name for name in PART_NAMES if self._process(name) is not None}
        in_use = {name for name in PORT_NAMES if name in running or (name == "kafka-controller" and "kafka" in running)}
        moved = self.home.assign_ports(in_use)
        if "kafka" in moved and "connect" in running:
            self._take_down(self._worker, report)

    def _look_at(self, part: Part) -> PartStatus:
        process = self._process(part.name)
        reason = None
        if process is None:
            state: State = "stopped"
        elif processes.is_paused(process):
            state = "paused"
        else:
            reason = part.check()
            state = "silent" if reason else "running"
        pid = process.pid if process else None
        return PartStatus(part.name, state, pid, part.address, str(self._log(part.name)), reason)

    def _running(self, name: PartName) -> psutil.Process:
        process = self._process(name)
        if process is None:
            raise RefusedError(f"{name} does not run in {self.home.path}")
        return process

    def _process(self, name: PartName) -> psutil.Process | None:
        return self._pid_file(name).process()

    def _pid_file(self, name: PartName) -> PidFile:
        return PidFile(self.home.pids / f"{name}.json")

    def _log(self, name: PartName) -> Path:
        return self.home.logs / f"{name}.log"

    def _wipe(self) -> None:
        for name in STATE:
            path = self.home.path / name
            if path.is_dir():
                shutil.rmtree(path)
            else:
                path.unlink(missing_ok=True)


def _in_parallel(tasks: Sequence[Callable[[], None]]) -> None:
    with ThreadPoolExecutor(len(tasks)) as pool:
        futures = [pool.submit(task) for task in tasks]
    _raise_failures(futures)


def _raise_failures(futures: Sequence[Future[None]]) -> None:
    failures = [failure for future in futures if (failure := future.exception()) is not None]
    for failure in failures:
        if not isinstance(failure, WakeError):
            raise failure
    if failures:
        raise FatalError("\n".join(str(failure) for failure in failures)) from failures[0]
