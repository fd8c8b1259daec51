from __future__ import annotations

import json
from decimal import Decimal

import pytest

from console import views
from console.insights import Insights
from console.operations import Operations
from tests.unit.console.seeds import ACTION_ID, EVENT_ID, FARE, RUN_ID, Seed
from wakestream.config import Config
from wakestream.errors import RefusedError
from wakestream.ledger.models import Activation

CONFIG = Config.model_validate(
    {
        "kafka": {"bootstrap_servers": "x:1"},
        "connect": {"url": "http://x", "secrets": "/x"},
        "ledger": {"url": "postgresql://x"},
        "sources": {"airline": {"capture": "postgresql://x", "tables": {"public.flight": {}}}},
        "triggers": {
            "flight_delayed": {
                "table": "airline.public.flight",
                "when": "after.status == 'delayed'",
                "fire": "enter",
                "agent": "rebooker",
            }
        },
        "agents": {"rebooker": {"instructions": "x.md"}},
    }
)


def ids(rows: list[views.RunRow] | list[views.ActionRow]) -> list[str]:
    return [row.id for row in rows]


def test_runs_are_filtered_and_newest_first(seed: Seed, insights: Insights) -> None:
    first, second = seed.run("waiting"), seed.run("failed", number=17, agent="caller")
    assert ids(insights.runs()) == [second, first]
    assert ids(insights.runs(limit=1)) == [second]
    assert ids(insights.runs(states=["waiting", "parked"])) == [first]
    assert ids(insights.runs(agent="caller")) == [second]
    assert ids(insights.runs(trigger="flight_delayed")) == [second, first]
    assert ids(insights.runs(trigger="other")) == []
    assert ids(insights.runs(key="7")) == [first]
    assert ids(insights.runs(key="public.flight/17")) == [second]
    assert ids(insights.runs(key="%")) == []


def test_actions_are_filtered_by_what_their_run_is_about(seed: Seed, insights: Insights) -> None:
    first = seed.action("approved", run=seed.run())
    second = seed.action("succeeded", run=seed.run(number=17, agent="caller"))
    assert ids(insights.actions()) == [second, first]
    assert ids(insights.actions(states=["approved"])) == [first]
    assert ids(insights.actions(key="17")) == [second]
    assert ids(insights.actions(agent="caller")) == [second]
    assert ids(insights.actions(trigger="flight_delayed", limit=1)) == [second]


def test_a_pending_run_says_when_it_is_next_tried(seed: Seed, insights: Insights) -> None:
    seed.run("pending")
    seed.run("waiting", number=8)
    assert [(row.state, row.run_at is not None) for row in insights.runs()] == [("waiting", False), ("pending", True)]


def test_a_story_goes_from_the_change_to_the_receipt(seed: Seed, operations: Operations) -> None:
    seed.run("waiting", decision={"reason": "best one", "actions": []}, tokens_in=230, cost=0.5, attempts=1)
    seed.step("lookup:seats", request={"flight": 7}, response={"rows": []}, ms=3.0)
    seed.step("prompt", request={"messages": [{"role": "user", "content": "Flight 7 is late"}]})
    seed.step("before retry 1/model:1", response={"content": "no"}, error="not JSON")
    seed.step("model:1", response={"content": "{}"}, tokens_in=230, tokens_out=41, ms=812.0)
    seed.action()
    operations.approve(ACTION_ID, "fine")
    seed.receipt()
    story = Insights(seed.engine, CONFIG).run(RUN_ID)

    assert (story.change.event, story.change.subject, story.change.key) == (EVENT_ID, "public.flight/7", {"id": 7})
    assert story.change.changed == [views.ChangedValue(path="status", before="scheduled", after="delayed")]
    assert story.condition.when == "after.status == 'delayed'"
    assert [step.step for step in story.lookups] == ["lookup:seats"]
    assert story.prompt == {"messages": [{"role": "user", "content": "Flight 7 is late"}]}
    assert [step.step for step in story.answers] == ["before retry 1/model:1", "model:1"]
    (action,) = story.actions
    assert (action.decided_by, action.decision_reason) == ("alice", "fine")
    assert [(deed.who, deed.what, deed.reason) for deed in action.history] == [("alice", "action.approve", "fine")]
    assert isinstance(action.receipt, views.Receipt)
    assert (action.receipt.commit, action.receipt.rows, action.receipt.seconds) == ("1/A0", 1, 0.15)

    told = Insights(seed.engine, CONFIG).action(ACTION_ID)
    assert told.origin == story
    assert told.effect == action.effect


def test_numbers_keep_every_digit(seed: Seed, insights: Insights) -> None:
    seed.run()
    seed.action()
    story = insights.action(ACTION_ID)
    assert story.chosen["to_flight"]["fare"] == FARE
    document = views.to_json(story)
    assert document.count(str(FARE)) >= 3
    assert json.loads(document, parse_float=Decimal)["origin"]["change"]["after"]["fare"] == FARE


def test_without_the_trigger_in_the_configuration_the_condition_is_unknown(seed: Seed, insights: Insights) -> None:
    seed.run()
    assert insights.run(RUN_ID).condition == views.Condition(trigger="flight_delayed", on=None, fire=None, when=None)


def test_a_webhooks_receipt_is_its_response_and_an_sql_result_is_none(seed: Seed, insights: Insights) -> None:
    seed.run()
    seed.action("succeeded", kind="webhook", result={"status": 202})
    seed.action("succeeded", number=2, result={"rows": 1})
    seed.action("failed", number=3, kind="webhook", result={"status": 400})
    assert {row.id[-1]: row.receipt for row in insights.actions()} == {"1": {"status": 202}, "2": None, "3": None}


def test_unknown_things_are_refused(insights: Insights) -> None:
    for ask in (lambda: insights.run("x"), lambda: insights.action("x"), lambda: insights.letter(5)):
        with pytest.raises(RefusedError, match="yet"):
            ask()


def test_letters_of_both_stages(seed: Seed, insights: Insights) -> None:
    first, second = seed.letter(), seed.letter("consumer", "discarded", offset=6)
    assert [letter.id for letter in insights.letters()] == [second, first]
    assert [letter.id for letter in insights.letters(states=["open"])] == [first]
    assert insights.letter(first).event is not None
    assert insights.letter(second).event is None


@pytest.mark.parametrize("about", ["public.flight/7", "7", EVENT_ID])
def test_why_tells_of_runs_suppressions_counts_and_letters(seed: Seed, about: str) -> None:
    seed.run()
    opened = seed.get(Activation, RUN_ID)
    suppressed = {name: getattr(opened, name) for name in ("trigger", "source", "event_id", "subject", "key", "event")}
    seed.add(Activation(id="own", state="suppressed", reason="own write", depth=1, **suppressed))
    seed.count("null", 3)
    letter = seed.letter()
    why = Insights(seed.engine, CONFIG).why(about)
    assert {(each.state, each.reason, each.run) for each in why.activations} == {
        ("open", None, RUN_ID),
        ("suppressed", "own write", None),
    }
    assert [(each.outcome, each.count) for each in why.counts] == [("null", 3)]
    assert [each.id for each in why.letters] == ([] if about == "7" else [letter])


def test_why_counts_for_a_key_that_met_nothing(seed: Seed, insights: Insights) -> None:
    seed.run()
    seed.count("null", 3)
    told = Insights(seed.engine, CONFIG).why("public.flight/99")
    assert (told.activations, [each.count for each in told.counts]) == ([], [3])
    assert insights.why("public.flight/99").counts == []
