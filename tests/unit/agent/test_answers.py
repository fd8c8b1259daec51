from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from agent import answers, bound
from agent.answers import AnswerError, Offer
from agent.json_text import load_event
from tests.unit.agent import airline
from tests.unit.wakestream.test_program import load
from wakestream.program import CompiledAgent, compile_program


@pytest.fixture
def agent(tmp_path: Path) -> CompiledAgent:
    return compile_program(load(tmp_path), {"airline": airline.REVISION}).triggers["disrupted"].agent


def offers(agent: CompiledAgent, missing: tuple[str, ...] = (), **values: Any) -> dict[str, Offer]:
    event = load_event(airline.payload(airline.disruption(**values)))
    return answers.offers(agent, bound.event_values(event, {}), missing)


def said(*actions: Any, reason: Any = "because") -> str:
    return json.dumps({"reason": reason, "actions": list(actions)})


def rebook(to_flight: Any = 8, note: Any = "ok", **more: Any) -> dict[str, Any]:
    return {"action": "rebook", "arguments": {"to_flight": to_flight, "note": note, **more}}


def test_the_schema_offers_what_exists(agent: CompiledAgent) -> None:
    schema = answers.schema(offers(agent))
    assert list(schema["properties"]) == ["reason", "actions"]
    assert schema["properties"]["reason"] == {"type": "string", "maxLength": 300}
    assert schema["properties"]["actions"]["maxItems"] == 2
    first = schema["properties"]["actions"]["items"]["anyOf"][0]
    assert first["properties"]["action"] == {"const": "rebook"}
    arguments = first["properties"]["arguments"]
    assert arguments["properties"] == {"to_flight": {"enum": [8, 9]}, "note": {"type": "string", "maxLength": 80}}
    assert arguments["required"] == ["to_flight", "note"]
    assert arguments["additionalProperties"] is False
    json.dumps(schema)


@pytest.mark.parametrize("alternatives", [[], None, [airline.flight(8, id=None)]])
def test_an_action_without_a_choice_is_not_offered(agent: CompiledAgent, alternatives: Any) -> None:
    found = offers(agent, alternatives=alternatives)
    assert list(found) == ["notify"]
    with pytest.raises(AnswerError, match='there is no action "rebook"; there are: notify'):
        answers.read(said(rebook()), found, answers.schema(found))


def test_what_is_missing_is_not_offered(agent: CompiledAgent) -> None:
    assert list(offers(agent, ("after.alternatives",))) == ["notify"]


def test_nothing_to_offer_leaves_only_the_empty_list() -> None:
    schema = answers.schema({})
    assert answers.read(said(), {}, schema).actions == []
    with pytest.raises(AnswerError):
        answers.read(said({}), {}, schema)


def test_keys_with_digits_after_the_point(agent: CompiledAgent) -> None:
    alternatives = [airline.flight(8, id=1.50), airline.flight(9, id=2)]
    found = offers(agent, alternatives=alternatives)
    schema = answers.schema(found)
    json.dumps(schema)
    decision = answers.read(said(rebook(1.5)), found, schema)
    assert found["rebook"].element("to_flight", decision.actions[0].arguments["to_flight"])["fare"] == 100


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ("Sure, I will do that!", "not one JSON object"),
        ('{"reason": "x", "actions": [', "not one JSON object"),
        ("", "not one JSON object"),
        ("[" * 900 + "]" * 900, "more than 600 levels"),
        ("[" * 100_000, "more than 600 levels"),
        ("[]", "the answer: "),
        ("{}", '"reason" is a required property'),
        (said(rebook(), rebook()), "action rebook is proposed twice"),
        (said(rebook(), rebook(9), rebook()), "has more than 2 items"),
        (said(rebook(1)), "arguments.to_flight: 1 is not one of"),
        (said(rebook("8")), "arguments.to_flight"),
        (said(rebook(note="x" * 81)), "longer than 80"),
        (said(rebook(note=7)), '7 is not of type "string"'),
        (said(rebook(booking=1)), "'booking' was unexpected"),
        (said({"action": "refund", "arguments": {}}), 'there is no action "refund"; there are: rebook, notify'),
        (said({"action": "rebook"}), '"arguments" is a required property'),
        (said("rebook"), "there is no action null"),
        (said(reason="x" * 301), "longer than 300"),
        (said(reason=None), "reason: null is not of type"),
    ],
)
def test_what_does_not_fit_is_said_in_words(agent: CompiledAgent, content: str, problem: str) -> None:
    found = offers(agent)
    with pytest.raises(AnswerError) as caught:
        answers.read(content, found, answers.schema(found))
    assert problem in str(caught.value)


def test_a_decision(agent: CompiledAgent) -> None:
    found = offers(agent)
    decision = answers.read(said(rebook(9)), found, answers.schema(found))
    assert decision.reason == "because"
    assert [(each.action, each.arguments) for each in decision.actions] == [("rebook", {"to_flight": 9, "note": "ok"})]
