"""`make demo-fraud`: payments come in, and what looks like fraud is judged while the merchant waits.

Everything is real and on this machine: PostgreSQL, Debezium in Kafka Connect, Kafka, the wake processes, a model.
"""

from __future__ import annotations

import os
from dataclasses import dataclass

from rich.console import Console

from console.views import RunStory
from examples import demo
from examples.demo import Demo, Finding, say_findings
from examples.fraud import payments, story, verdict
from examples.fraud.stage import PLAY
from examples.stage import Stage
from examples.story import open_insights
from examples.watching import Watcher
from wakestream import config


@dataclass(frozen=True)
class Ending(demo.Ending):
    """How the payment service's story came out."""

    paid: list[payments.Paid]
    runs: list[RunStory]


def play(stage: Stage, out: Console) -> Ending:
    """Let one scene after another happen on a stage that is set, tell it, and judge how it ended."""
    loaded = config.load(PLAY.config, {**os.environ, **stage.env})
    insights = open_insights(stage, loaded.config)
    findings: list[Finding] = []
    paid: list[payments.Paid] = []
    runs: list[RunStory] = []
    with Watcher(loaded.config.kafka, PLAY.source) as watcher:
        for scene in payments.SCENES:
            out.rule(scene.title, align="left")
            now = payments.happen(stage.owner, scene)
            stage.wait_read()
            teller = story.Story(stage, out, insights, now)
            of_scene = teller.play(
                watcher, now, lambda found, now=now: {run.key["id"] for run in found} >= now.suspicious
            )
            messages = stage.messages()["messages"]
            of_moment = verdict.judge(now, payments.standing(stage.owner), of_scene, messages)
            say_findings(out, of_moment)
            paid.append(now)
            runs += of_scene
            findings += of_moment
    return Ending(stage.messages(), findings, paid, runs)


DEMO = Demo(
    name="examples.fraud.demo",
    about="The payment service, end to end.",
    play=PLAY,
    tell=play,
    target="make demo-fraud DEMO=--keep",
    looks=(
        "wake triggers list",
        "wake runs list",
        "wake actions list --state shadowed",
        "wake entity show payment 51",
        "python -m examples.fraud.traffic --rate 20 --seconds 20   # mostly harmless",
    ),
)

if __name__ == "__main__":
    demo.main(DEMO)
