"""What a Kafka action's event is made of; what becomes of it at a broker is in `tests/stack/test_effect_kafka.py`."""

from __future__ import annotations

import pytest

from agent.testing import decision
from tests.unit.agent.airline import disruption
from tests.unit.agent.conftest import MakeWorld, World
from wakestream.errors import ConfigurationError

PUBLISH = """
actions:
  publish:
    kind: kafka
    topic: decisions
    key: bound.customer
    bind: {customer: after.customer_id}
    choose: {like: {from: after.alternatives, key: id}}
    parameters: {note: {type: string}}
    approval: always
"""


def made(make_world: MakeWorld, *replacements: tuple[str, str]) -> World:
    text = PUBLISH
    for old, new in replacements:
        assert old in text
        text = text.replace(old, new)
    return make_world(("\nactions:\n", text), ("actions: [rebook, notify]", "actions: [publish]"))


@pytest.mark.parametrize(
    ("key", "expected"),
    [("bound.customer", "3"), ("chosen.like.status", "on_time"), ("after.remarks", None)],
)
def test_the_event(make_world: MakeWorld, key: str, expected: str | None) -> None:
    world = made(make_world, ("key: bound.customer", f"key: {key}"))
    world.model.script = lambda _: decision(("publish", {"like": 9, "note": "n"}))
    world.feed(disruption())
    world.work()
    assert world.action("publish")["effect"] == {
        "topic": "decisions",
        "key": expected,
        "type": "wake.action.publish",
        "source": "wake://airline/publish",
        "subject": "booking/42",
        "data": {"customer": 3, "like": 9, "note": "n"},
        "timeout_s": 10.0,
    }


@pytest.mark.parametrize("topic", ["airline.context", "airline.changes", "airline.signal"])
def test_our_own_topics_are_nobody_s(make_world: MakeWorld, topic: str) -> None:
    with pytest.raises(ConfigurationError, match="is a topic that only wakestream writes"):
        made(make_world, ("topic: decisions", f"topic: {topic}"))


def test_a_key_is_checked_as_what_else_an_action_reads(make_world: MakeWorld) -> None:
    with pytest.raises(ConfigurationError, match="key reads"):
        made(make_world, ("key: bound.customer", "key: args.note"))
