"""`make demo`: a flight is late, an agent rebooks its passengers, and every step of it can be watched.

Everything is real and on this machine: PostgreSQL, Debezium in Kafka Connect, Kafka, the wake processes, a model.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

from rich.console import Console

from console.views import RunStory
from examples.airline import disruption, story, verdict
from examples.airline.stage import CONFIG, HOME, SOURCE, ModelChoice, Stage
from examples.airline.watching import Watcher
from wakestream import config
from wakestream.errors import WakeError


@dataclass(frozen=True)
class Options:
    """What the command line says."""

    home: Path
    model: ModelChoice
    keep: bool = False
    """Leave everything running."""


@dataclass(frozen=True)
class Ending:
    """How a story came out."""

    happened: disruption.Disruption
    runs: list[RunStory]
    received: dict[str, Any]
    """What the receiver was sent."""
    findings: list[verdict.Finding]

    @property
    def right(self) -> bool:
        """Whether nothing is wrong."""
        return all(finding.right for finding in self.findings)


def run(options: Options, out: Console) -> bool:
    """Set the stage, play the story, judge it; returns whether it came out right."""
    began = time.monotonic()

    def report(line: str) -> None:
        out.print(f"{time.monotonic() - began:6.1f} s  {line}", markup=False, highlight=False, soft_wrap=True)

    stage, finished = Stage(options.home, report), False
    try:
        out.rule("The stage", align="left")
        stage.set(options.model)
        ending = play(stage, out)
        finished = True
    finally:
        if not (options.keep and finished):
            out.rule("The end", align="left")
            stage.strike()
    _say_how_to_look(stage, out, running=options.keep)
    out.print(
        f"The story came out {'right' if ending.right else 'WRONG'}, after {time.monotonic() - began:.0f} s.",
        style="bold green" if ending.right else "bold red",
    )
    return ending.right


def play(stage: Stage, out: Console) -> Ending:
    """Let it happen on a stage that is set, tell it, and judge how it ended."""
    loaded = config.load(CONFIG, {**os.environ, **stage.env})
    insights = story.open_insights(stage, loaded.config)
    owner = stage.env["AIRLINE_ADMIN_URL"]
    with Watcher(loaded.config.kafka, SOURCE) as watcher:
        out.rule("The story", align="left")
        happened = disruption.happen(owner)
        out.print(f"{0:9} ms  {disruption.UPDATE};", style="bold", markup=False, highlight=False, soft_wrap=True)
        runs = story.Story(stage, out, insights).play(watcher, happened)
    out.rule("The verdict", align="left")
    received = stage.messages()
    ending = Ending(happened, runs, received, verdict.judge(owner, happened, runs, received))
    for finding in ending.findings:
        mark, style = ("✓", "green") if finding.right else ("✗", "bold red")
        out.print(f"{mark} {finding.about}: {finding.text}", style=style, markup=False, highlight=False, soft_wrap=True)
    return ending


def _say_how_to_look(stage: Stage, out: Console, *, running: bool) -> None:
    out.rule("To look further", align="left")
    lines = [
        f". {story.shown_environment(stage)}",
        "wake runs list",
        "wake actions list",
        "wake why booking/3",
        "wake events tail --from 10m --entity booking",
    ]
    if not running:
        lines.insert(1, "wake stack up      # it was stopped; `make demo DEMO=--keep` leaves everything running")
    for line in lines:
        out.print(f"  {line}", markup=False, highlight=False, soft_wrap=True)


def _options(arguments: list[str]) -> Options:
    parser = argparse.ArgumentParser(prog="python -m examples.airline.demo", description="The airline, end to end.")
    parser.add_argument("--model", metavar="BASE_URL[,NAME]", help="another server than the local model")
    parser.add_argument("--scripted", action="store_true", help="a script instead of a model: quick, and no decision")
    parser.add_argument("--keep", action="store_true", help="leave everything running")
    given = parser.parse_args(arguments)
    if given.model and given.scripted:
        parser.error("--model and --scripted exclude each other")
    base_url, _, name = (given.model or "").partition(",")
    choice = ModelChoice(base_url or None, name or None, scripted=given.scripted)
    return Options(Path(os.environ.get("WAKE_HOME") or HOME), choice, keep=given.keep)


def main() -> None:
    """Exit 0 only if the story came out right."""
    options = _options(sys.argv[1:])

    def interrupt(number: int, frame: FrameType | None) -> None:
        # A second one must not keep us from stopping what runs.
        for each in (signal.SIGINT, signal.SIGTERM):
            signal.signal(each, signal.SIG_IGN)
        raise KeyboardInterrupt

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, interrupt)
    try:
        right = run(options, Console(highlight=False))
    except WakeError as error:
        sys.exit(f"{error}")
    except KeyboardInterrupt:
        sys.exit(130)
    sys.exit(0 if right else 1)


if __name__ == "__main__":
    main()
