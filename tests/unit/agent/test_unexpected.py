from __future__ import annotations

import logging

import pytest

from agent import backoff, unexpected
from agent.action_store import ATTEMPTS
from tests.unit.agent.airline import disruption
from tests.unit.agent.conftest import World
from wakestream.errors import FatalError

SECRET = "only in a variable"  # noqa: S105 - of this test


def fail(*_: object, **__: object) -> None:
    hidden = SECRET
    raise KeyError("seat" if hidden else "")


def due(world: World) -> None:
    world.rows("update wake.run set run_at = now() where state = 'pending' returning 1")
    world.rows("update wake.action set lease_until = now() - interval '1 s' where state = 'executing' returning 1")


def test_a_run_is_tried_again_then_parked(
    world: World, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    world.feed(disruption(), disruption(43))
    with monkeypatch.context() as patched, caplog.at_level(logging.CRITICAL):
        patched.setattr(world.runs, "_decide", fail)
        assert world.work() == 2, "the worker goes on with the next one"
        assert {row[0] for row in world.rows("select state from wake.run")} == {"pending"}
        for _ in range(2):
            due(world)
            world.work()
    ((state, error, attempts),) = world.rows("select distinct state, error, attempts from wake.run")
    assert (state, attempts) == ("parked", 3)
    assert error.startswith("a fault that nobody foresaw: KeyError: 'seat'\n")
    assert "test_unexpected.py" in error
    assert "in fail: raise KeyError" in error
    assert SECRET not in error
    known = world.rows("select count(*) from wake.run_step where step = 'lookup:seats'")
    assert known == [(2,)], "what was known is kept"


def test_what_is_fatal_stays_fatal(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    def end(*_: object) -> None:
        raise FatalError("the ledger is another one")

    world.feed(disruption())
    monkeypatch.setattr(world.runs, "_decide", end)
    with pytest.raises(FatalError):
        world.work()


@pytest.mark.parametrize(("intended", "state"), [(False, "failed"), (True, "unknown")])
def test_an_action_is_tried_again_then_left_to_a_person(
    world: World, monkeypatch: pytest.MonkeyPatch, intended: bool, state: str
) -> None:
    world.book()
    world.feed(disruption())
    effect = world.effects["sql"]
    monkeypatch.setattr(type(effect), "execute", fail)
    monkeypatch.setattr(type(effect), "settle", fail)
    world.work()
    assert world.action("rebook")["state"] == "executing"
    if intended:
        world.rows("update wake.action set intent = '{}' returning 1")
    world.rows("update wake.action set attempts = %s returning 1", ATTEMPTS - 2)
    for expected in ("executing", state):
        due(world)
        world.work()
        assert world.action("rebook")["state"] == expected
    assert "KeyError: 'seat'" in world.action("rebook")["reason"]


def test_the_action_goes_on_when_the_fault_is_gone(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.book()
    world.feed(disruption())
    effect = world.effects["sql"]
    with monkeypatch.context() as patched:
        patched.setattr(type(effect), "execute", fail)
        world.work()
    due(world)
    world.work()
    assert (world.action("rebook")["state"], world.booked()) == ("succeeded", 8)


@pytest.mark.parametrize("family", backoff.PACES)
def test_each_family_has_its_pace(family: backoff.Family) -> None:
    first, longest = backoff.PACES[family]
    assert 0.8 * first <= backoff.of(family, 1) <= first
    assert 0.8 * longest <= backoff.of(family, 40) <= longest


def test_an_error_out_of_place_says_so() -> None:
    assert unexpected.told(FatalError("x")).startswith("an error out of place: FatalError: x")
