"""CPU and memory of each process, out of what the meter saw."""

from __future__ import annotations

from benchmarks.figures import Figure
from benchmarks.meter import Meter

STEADY = "latency"
"""The phases in which memory is steady."""


def figures(meter: Meter, load_rows: int) -> list[Figure]:
    """Memory of every process, and its CPU in each phase."""
    found: list[Figure] = []
    for name in meter.names:
        found += [
            Figure(f"memory.{name}.steady", f"memory of {name}, steady", meter.steady_mb(name, STEADY), "MB"),
            Figure(f"memory.{name}.peak", f"memory of {name}, peak", meter.peak_mb(name), "MB"),
        ]
    for phase, took in meter.phases.items():
        for name, cpu_s in sorted(took.cpu_s.items()):
            if phase == "load":
                found.append(Figure(f"cpu.{name}.load", f"CPU of {name}, load", cpu_s / load_rows * 1e6, "µs/row"))
            else:
                share = cpu_s / took.seconds * 100
                what = phase if phase.startswith("runs") else f"{phase} tx/s"
                found.append(Figure(f"cpu.{name}.{phase}", f"CPU of {name}, {what}", share, "% of a core"))
    return found
