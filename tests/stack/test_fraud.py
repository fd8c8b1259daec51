"""The payment service's example on the real stack, with a script in the model's place."""

from __future__ import annotations

import io
from collections.abc import Generator
from dataclasses import replace

import psycopg
import pytest
from rich.console import Console

from console import sessions
from console.insights import Insights
from examples import traffic
from examples.fraud import demo, payments, verdict
from examples.fraud.stage import PLAY, TRIGGERS
from examples.fraud.traffic import NAMES, Traffic
from examples.play import ModelChoice
from examples.stage import Stage
from localstack import Stack
from tests.harness.stages import stage_for


@pytest.fixture(scope="module")
def stage(stack: Stack) -> Generator[Stage]:
    with stage_for(PLAY, stack) as stage:
        yield stage


def test_the_story_comes_out_right_and_the_verdict_can_tell(stage: Stage) -> None:
    out = io.StringIO()
    stage.set(ModelChoice(scripted=True))
    ending = demo.play(stage, Console(file=out, width=200))
    told = out.getvalue()
    assert ending.right, told
    ordinary, burst, jeweller = ending.paid
    assert ordinary.suspicious == frozenset()
    assert burst.suspicious == {burst.payments[-1]}
    assert jeweller.suspicious == set(jeweller.payments)
    for word in ("change", "event", "trigger", "answer", "policy", "action", "receipt"):
        assert f" {word} " in told, f"the story has no {word}:\n{told}"
    now = payments.standing(stage.owner)
    assert {now[each][0] for each in burst.suspicious | jeweller.suspicious} == {"held"}
    shadowed = [action for run in ending.runs if run.trigger == "suspicious_next" for action in run.actions]
    assert shadowed
    assert {(action.state, action.attempts) for action in shadowed} == {("shadowed", 0)}
    _assert_the_verdict_can_tell(stage, ending, jeweller)


def _assert_the_verdict_can_tell(stage: Stage, ending: demo.Ending, paid: payments.Paid) -> None:
    """Spoil the ending in every way that counts."""
    now, messages = payments.standing(stage.owner), ending.received["messages"]
    (payment,) = paid.payments

    def wrong(**spoilt: object) -> str:
        given = {"paid": paid, "now": now, "runs": ending.runs, "messages": messages, **spoilt}
        return "; ".join(each.text for each in verdict.judge(**given) if not each.right)  # type: ignore[arg-type]

    assert wrong() == ""
    assert "it is open" in wrong(now={**now, payment: ("open", None)})
    assert "judged by nobody" in wrong(now={**now, payment: ("held", "nobody")})
    assert "told 0 times" in wrong(messages=[])
    assert "2 runs" in wrong(runs=[*ending.runs, *ending.runs])
    assert "not suspicious" in wrong(paid=replace(paid, suspicious=frozenset()))


def test_ordinary_traffic_wakes_nobody(stage: Stage) -> None:
    stage.set(ModelChoice(scripted=True))
    insights = Insights(sessions.open_ledger(stage.env["LEDGER_URL"]))
    before = {name: insights.runs(trigger=name) for name in TRIGGERS}
    done = traffic.run(Traffic, stage.owner, rate=60, seconds=4, seed=7)
    assert all(done[name] > 0 for name in NAMES.values()), done
    stage.wait_read()
    assert {name: insights.runs(trigger=name) for name in TRIGGERS} == before
    with psycopg.connect(stage.owner) as connection:
        assert connection.execute("select from payment where status = 'held'").fetchone() is None
    assert stage.messages() == {"messages": [], "refused": []}
