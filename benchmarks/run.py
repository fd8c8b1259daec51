"""Measures everything in one run on the real stack: python -m benchmarks.run [--quick] [--only NAME] [--json FILE]."""

from __future__ import annotations

import logging
import sys
import time
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from benchmarks import backlog, large, latency, load, promises, report, runs, scale, triggers, usage
from benchmarks.counts import SIZES
from benchmarks.figures import Figure
from benchmarks.rig import Rig, open_rig
from wakestream.errors import ConfigurationError, WakeError

NAMES = ("backlog", "documents", "large", "latency", "load", "runs", "scale", "triggers")
RESULTS = Path(__file__).parent / "results" / "latest.json"
HOME = Path(".wake") / "bench"
WIDTH = 140  # characters where there is no terminal to ask

Only = Annotated[list[str] | None, typer.Option("--only", metavar="NAME", help=f"Only this: {', '.join(NAMES)}.")]


def main(
    quick: Annotated[bool, typer.Option("--quick", help="Small counts: the figures are only roughly right.")] = False,
    only: Only = None,
    json: Annotated[Path, typer.Option("--json", metavar="FILE", help="Where the figures are written.")] = RESULTS,
    home: Annotated[Path, typer.Option("--home", help="State directory of the stack that is measured on.")] = HOME,
    tiny: Annotated[bool, typer.Option("--tiny", hidden=True, help="Counts that only show that it works.")] = False,
) -> None:
    """Measure on the real stack and print the figures beside the promises."""
    size = "tiny" if tiny else "quick" if quick else "full"
    chosen = _chosen(only)
    began = time.monotonic()

    def say(what: str) -> None:
        print(f"{time.monotonic() - began:6.1f} s  {what}", file=sys.stderr, flush=True)

    with open_rig(home, SIZES[size], say) as rig:
        found = measure(rig, chosen)
    judged = promises.judge(found)
    report.show(found, judged, Console(width=None if sys.stdout.isatty() else WIDTH))
    report.write(json, report.document(found, judged, size))
    say(f"written to {json}")


def measure(rig: Rig, chosen: set[str]) -> list[Figure]:
    """The chosen measurements, in the order in which each finds what it needs."""
    found = load.alone(rig) if "load" in chosen else []
    setup = rig.waking()
    with rig.attached(setup):
        without = load.without_us(rig) if chosen & {"load", "backlog"} else None
        log = backlog.bare(rig) if "backlog" in chosen else None
        if log is not None:
            found += backlog.figures(log) + backlog.unmirrored(rig, log)
        with rig.consumer(setup) as consumer:
            if log is not None:
                found += backlog.consumed(rig, setup, consumer, log, "mirrored", "mirrored")
            rig.wait_applied(setup)
            if chosen & {"latency", "load"}:
                with rig.agent(setup):
                    if "load" in chosen and without is not None:
                        found += load.figures(without, load.with_us(rig))
                    found += latency.measure(rig, setup) if "latency" in chosen else []
            found += runs.measure(rig, setup) if "runs" in chosen else []
            found += scale.of_agents(rig, setup) if "scale" in chosen else []
            found += triggers.measure(rig) if "triggers" in chosen else []
            found += large.transaction(rig, setup) if "large" in chosen else []
            if chosen & {"documents", "large"}:
                entity = rig.with_entity()
                rig.apply(entity)
                found += latency.measure_documents(rig, entity) if "documents" in chosen else []
                found += large.fan_out(rig, entity) if "large" in chosen else []
    found += scale.of_sources(rig) if "scale" in chosen else []
    return found + usage.figures(rig.meter, rig.counts.load_rows)


def _chosen(only: list[str] | None) -> set[str]:
    unknown = [name for name in only or () if name not in NAMES]
    if unknown:
        raise ConfigurationError(f"no measurement `{unknown[0]}`; there are: {', '.join(NAMES)}")
    return set(only or NAMES)


if __name__ == "__main__":
    logging.basicConfig(level=logging.WARNING)
    try:
        typer.run(main)
    except WakeError as error:
        print(error, file=sys.stderr)
        sys.exit(2 if isinstance(error, ConfigurationError) else 1)
