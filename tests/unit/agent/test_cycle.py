from __future__ import annotations

from agent import testing
from tests.unit.agent import airline
from tests.unit.agent.conftest import World


def test_event_to_effects(world: World) -> None:
    world.model.script = testing.decide_all
    world.book()
    world.feed(airline.disruption())
    assert world.work() == 3
    run, rebook, notify = world.run(), world.action("rebook"), world.action("notify")
    assert run["state"] == "succeeded", run
    assert rebook["state"] == "succeeded", rebook
    assert notify["state"] == "succeeded", notify
    assert world.booked() == 8
    assert world.receiver.keys() == {notify["id"]: 1}
    assert run["tokens_in"] == testing.PROMPT_TOKENS
