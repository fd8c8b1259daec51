"""CPU and memory of every process that takes part, sampled while the measurements run."""

from __future__ import annotations

import statistics
import threading
import time
from collections import defaultdict
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from types import TracebackType

import psutil

INTERVAL = 0.5  # seconds
MB = 1024 * 1024


@dataclass(frozen=True)
class Phase:
    """What one stretch of the run took."""

    seconds: float
    cpu_s: dict[str, float]
    """CPU seconds of each process that lived through it."""


class Meter:
    """Watches processes by name. A context manager: samples memory until it is left."""

    def __init__(self) -> None:
        self.phases: dict[str, Phase] = {}
        self._watched: dict[str, psutil.Process] = {}
        self._memory: defaultdict[str, list[tuple[str, float]]] = defaultdict(list)
        self._phase = ""
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._sample, name="meter", daemon=True)

    def __enter__(self) -> Meter:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end.set()
        self._thread.join()

    def watch(self, name: str, pid: int) -> None:
        """Watch this process, with its children, under this name from now on."""
        self._watched = {**self._watched, name: psutil.Process(pid)}

    def unwatch(self, name: str) -> None:
        """It is going to end; its samples stay."""
        self._watched = {each: process for each, process in self._watched.items() if each != name}

    def cpu_s(self, name: str) -> float:
        """CPU seconds that a process and its children have taken so far, kernel included."""
        return _cpu_s(self._watched[name])

    @contextmanager
    def phase(self, name: str) -> Generator[None]:
        """Give a stretch of the run a name."""
        before, began = {each: self.cpu_s(each) for each in self._watched}, time.perf_counter()
        self._phase = name
        try:
            yield
        finally:
            self._phase = ""
        seconds = time.perf_counter() - began
        lived = {each: self.cpu_s(each) - cpu for each, cpu in before.items() if each in self._watched}
        self.phases[name] = Phase(seconds, lived)

    @property
    def names(self) -> list[str]:
        """Every process that was ever sampled."""
        return sorted(self._memory)

    def steady_mb(self, name: str, phases: str) -> float:
        """The median of a process' memory in the phases whose names begin so; of all when there was none."""
        found = self._memory[name]
        chosen = [mb for phase, mb in found if phase.startswith(phases)] or [mb for _, mb in found]
        return statistics.median(chosen)

    def peak_mb(self, name: str, phases: str = "") -> float:
        """The most memory that a process was seen with, in the phases whose names begin so."""
        found = self._memory[name]
        return max([mb for phase, mb in found if phase.startswith(phases)] or [mb for _, mb in found])

    def _sample(self) -> None:
        while not self._end.wait(INTERVAL):
            phase = self._phase
            for name, process in self._watched.items():
                mb = _memory_mb(process)
                if mb is not None:
                    self._memory[name].append((phase, mb))


def _cpu_s(process: psutil.Process) -> float:
    """What children that are gone have taken counts with their parent."""
    total = 0.0
    for each in [process, *process.children(recursive=True)]:
        try:
            times = each.cpu_times()
        except psutil.NoSuchProcess:
            continue
        total += times.user + times.system + times.children_user + times.children_system
    return total


def _memory_mb(process: psutil.Process) -> float | None:
    """Resident memory; of processes that share theirs, each one's part of it. None when the process is gone."""
    try:
        children = process.children(recursive=True)
        if not children:
            return process.memory_info().rss / MB
    except psutil.NoSuchProcess:
        return None
    total = 0
    for each in [process, *children]:
        try:
            total += each.memory_full_info().pss
        except psutil.NoSuchProcess:
            continue
    return total / MB
