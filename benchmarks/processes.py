"""Processes of the product that are at work together, and what they take together."""

from __future__ import annotations

from collections.abc import Mapping

from benchmarks.meter import Meter
from benchmarks.programs import Program


class Processes:
    """One or several, by the names under which the meter watches them."""

    def __init__(self, meter: Meter, programs: Mapping[str, Program]) -> None:
        self._meter = meter
        self._programs = programs

    def require_alive(self) -> None:
        """Raise `FatalError` when one of them is gone."""
        for program in self._programs.values():
            program.require_alive()

    def cpu_s(self) -> float:
        """CPU seconds that all of them have taken so far."""
        return sum(self._meter.cpu_s(name) for name in self._programs)
