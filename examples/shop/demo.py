"""`make demo-shop`: things sell out, an agent recommends others, and every message is held against the stock of then.

Everything is real and on this machine: PostgreSQL, Debezium in Kafka Connect, Kafka, the wake processes, a model.
"""

from __future__ import annotations

import os
from dataclasses import dataclass

from rich.console import Console

from examples import demo
from examples.demo import Demo, Finding, say_findings
from examples.shop import moments, proof, story, verdict
from examples.shop.stage import PLAY
from examples.stage import Stage
from examples.story import open_insights
from examples.watching import Watcher
from wakestream import config


@dataclass(frozen=True)
class Ending(demo.Ending):
    """How the shop's story came out."""

    happened: list[moments.Happened]


def play(stage: Stage, out: Console) -> Ending:
    """Let one moment after another happen on a stage that is set, tell it, and judge how it ended."""
    loaded = config.load(PLAY.config, {**os.environ, **stage.env})
    insights = open_insights(stage, loaded.config)
    findings: list[Finding] = []
    happened: list[moments.Happened] = []
    with Watcher(loaded.config.kafka, PLAY.source) as watcher:
        for moment in moments.MOMENTS:
            out.rule(moment.title, align="left")
            before, told = moments.recommended(stage.owner), len(stage.messages()["messages"])
            now = moments.happen(stage.owner, moment)
            happened.append(now)
            teller = story.Story(stage, out, insights, moment)
            wanted = now.decided
            teller.play(watcher, now, lambda runs, wanted=wanted: {run.key["id"] for run in runs} >= wanted)
            messages = stage.messages()["messages"][told:]
            of_moment = verdict.judge(now, before, moments.recommended(stage.owner), messages)
            say_findings(out, of_moment)
            findings += of_moment
    out.rule("The proof", align="left")
    received = stage.messages()
    proved = proof.prove(loaded.config.kafka, received["messages"], until=happened[-1].lsn)
    say_findings(out, proved)
    return Ending(received, [*findings, *proved], happened)


DEMO = Demo(
    name="examples.shop.demo",
    about="The shop, end to end.",
    play=PLAY,
    tell=play,
    target="make demo-shop DEMO=--keep",
    looks=(
        "wake runs list",
        "wake entity show wish 1",
        "wake events tail --from 10m --entity wish --key 1",
        "python -m examples.shop.traffic --rate 20 --seconds 20   # many sell out while others are recommended",
        "python -m examples.shop.proof",
    ),
)

if __name__ == "__main__":
    demo.main(DEMO)
