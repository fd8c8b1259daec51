"""`make demo`: a flight is late, an agent rebooks its passengers, and every step of it can be watched.

Everything is real and on this machine: PostgreSQL, Debezium in Kafka Connect, Kafka, the wake processes, a model.
"""

from __future__ import annotations

import os
from dataclasses import dataclass

from rich.console import Console

from console.views import RunStory
from examples import demo
from examples.airline import disruption, story, verdict
from examples.airline.stage import PLAY
from examples.demo import Demo, say_findings
from examples.stage import Stage
from examples.story import open_insights
from examples.watching import Watcher
from wakestream import config


@dataclass(frozen=True)
class Ending(demo.Ending):
    """How the airline's story came out."""

    happened: disruption.Disruption
    runs: list[RunStory]


def play(stage: Stage, out: Console) -> Ending:
    """Let it happen on a stage that is set, tell it, and judge how it ended."""
    loaded = config.load(PLAY.config, {**os.environ, **stage.env})
    insights = open_insights(stage, loaded.config)
    with Watcher(loaded.config.kafka, PLAY.source) as watcher:
        out.rule("The story", align="left")
        happened = disruption.happen(stage.owner)
        out.print(f"{0:9} ms  {disruption.UPDATE};", style="bold", markup=False, highlight=False, soft_wrap=True)
        teller = story.Story(stage, out, insights, happened)
        runs = teller.play(watcher, happened, lambda runs: len(runs) >= len(happened.allowed))
    out.rule("The verdict", align="left")
    received = stage.messages()
    ending = Ending(received, verdict.judge(stage.owner, happened, runs, received), happened, runs)
    say_findings(out, ending.findings)
    return ending


DEMO = Demo(
    name="examples.airline.demo",
    about="The airline, end to end.",
    play=PLAY,
    tell=play,
    target="make demo DEMO=--keep",
    looks=(
        "wake runs list",
        "wake actions list",
        "wake why booking/3",
        "wake events tail --from 10m --entity booking",
    ),
)

if __name__ == "__main__":
    demo.main(DEMO)
