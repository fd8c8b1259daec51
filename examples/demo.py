"""Sets a stage, plays a story on it and says whether it came out right: what the examples' demos have in common."""

from __future__ import annotations

import argparse
import signal
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

from rich.console import Console

from examples.play import ModelChoice, Play
from examples.stage import Stage
from examples.story import shown_environment
from wakestream.errors import WakeError


@dataclass(frozen=True)
class Finding:
    """What became of one thing that a story is about."""

    about: str
    right: bool
    text: str


@dataclass(frozen=True)
class Ending:
    """How a story came out."""

    received: dict[str, Any]
    """What the receiver was sent, and refused."""
    findings: list[Finding]

    @property
    def right(self) -> bool:
        """Whether nothing is wrong."""
        return all(finding.right for finding in self.findings)


@dataclass(frozen=True)
class Demo:
    """A story that can be played from the command line."""

    name: str
    """What `python -m` calls it."""
    about: str
    play: Play
    tell: Callable[[Stage, Console], Ending]
    """Lets it happen on a stage that is set, tells it, and judges how it ended."""
    target: str
    """How `make` plays it and leaves everything running."""
    looks: Sequence[str]
    """Commands with which to look further."""


@dataclass(frozen=True)
class Options:
    """What the command line says."""

    home: Path
    model: ModelChoice
    keep: bool = False
    """Leave everything running."""


def run(demo: Demo, options: Options, out: Console) -> bool:
    """Set the stage, play the story, judge it; returns whether it came out right."""
    began = time.monotonic()

    def report(line: str) -> None:
        out.print(f"{time.monotonic() - began:6.1f} s  {line}", markup=False, highlight=False, soft_wrap=True)

    stage, finished = Stage(demo.play, options.home, report), False
    try:
        out.rule("The stage", align="left")
        stage.set(options.model)
        ending = demo.tell(stage, out)
        finished = True
    finally:
        if not (options.keep and finished):
            out.rule("The end", align="left")
            stage.strike()
    _say_how_to_look(demo, stage, out, running=options.keep)
    out.print(
        f"The story came out {'right' if ending.right else 'WRONG'}, after {time.monotonic() - began:.0f} s.",
        style="bold green" if ending.right else "bold red",
    )
    return ending.right


def say_findings(out: Console, findings: Sequence[Finding]) -> None:
    """Print a verdict."""
    for finding in findings:
        mark, style = ("✓", "green") if finding.right else ("✗", "bold red")
        out.print(f"{mark} {finding.about}: {finding.text}", style=style, markup=False, highlight=False, soft_wrap=True)


def _say_how_to_look(demo: Demo, stage: Stage, out: Console, *, running: bool) -> None:
    out.rule("To look further", align="left")
    lines = [f". {shown_environment(stage)}", *demo.looks]
    if not running:
        lines.insert(1, f"wake stack up      # it was stopped; `{demo.target}` leaves everything running")
    for line in lines:
        out.print(f"  {line}", markup=False, highlight=False, soft_wrap=True)


def _options(demo: Demo, arguments: list[str]) -> Options:
    parser = argparse.ArgumentParser(prog=f"python -m {demo.name}", description=demo.about)
    parser.add_argument("--model", metavar="BASE_URL[,NAME]", help="another server than the local model")
    parser.add_argument("--scripted", action="store_true", help="a script instead of a model: quick, and no decision")
    parser.add_argument("--keep", action="store_true", help="leave everything running")
    given = parser.parse_args(arguments)
    if given.model and given.scripted:
        parser.error("--model and --scripted exclude each other")
    base_url, _, name = (given.model or "").partition(",")
    choice = ModelChoice(base_url or None, name or None, scripted=given.scripted)
    return Options(demo.play.home, choice, keep=given.keep)


def main(demo: Demo) -> None:
    """Exit 0 only if the story came out right."""
    options = _options(demo, sys.argv[1:])

    def interrupt(number: int, frame: FrameType | None) -> None:
        # A second one must not keep us from stopping what runs.
        for each in (signal.SIGINT, signal.SIGTERM):
            signal.signal(each, signal.SIG_IGN)
        raise KeyboardInterrupt

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, interrupt)
    try:
        right = run(demo, options, Console(highlight=False))
    except WakeError as error:
        sys.exit(f"{error}")
    except KeyboardInterrupt:
        sys.exit(130)
    sys.exit(0 if right else 1)
