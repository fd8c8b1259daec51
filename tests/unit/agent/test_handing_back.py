"""What a process holds when it ends, in every state that a run or an action can be in."""

from __future__ import annotations

import json

import pytest

from agent import leases
from tests.unit.agent.airline import disruption
from tests.unit.agent.conftest import World
from wakestream import states

HELD = "here/1/1"


@pytest.fixture
def decided(world: World) -> World:
    world.book()
    world.feed(disruption())
    world.worker.work(world.stop)
    assert world.action("rebook")["state"] == "approved"
    return world


def release(world: World) -> int:
    with world.ledger() as connection:
        return leases.release(connection, [HELD])


@pytest.mark.parametrize("state", states.RUN)
def test_runs(decided: World, state: str) -> None:
    """Only what runs is anybody's; with its answers kept, and the attempt not counted."""
    decided.rows(
        "update wake.run set state = %s, attempts = 2, lease_by = %s, lease_until = now() + interval '1 h',"
        " calling = 'default' returning 1",
        *(state, HELD if state == "running" else None),
    )
    assert release(decided) == (1 if state == "running" else 0)
    run = decided.run()
    assert run["state"] == ("pending" if state == "running" else state)
    assert run["attempts"] == (1 if state == "running" else 2)
    assert run["lease_by"] is None
    assert decided.rows("select count(*) from wake.run_step where step = 'model:1'") == [(1,)]


@pytest.mark.parametrize("intent", [None, {"xid": 7}])
@pytest.mark.parametrize("state", states.ACTION)
def test_actions(decided: World, state: str, intent: dict[str, int] | None) -> None:
    """What may have begun is claimed again at once, by whoever settles it; nothing is given back as if it had not."""
    decided.rows(
        "update wake.action set state = %s, attempts = 2, lease_by = %s, lease_until = now() + interval '1 h',"
        " intent = %s::jsonb returning 1",
        *(state, HELD if state == "executing" else None, intent and json.dumps(intent)),
    )
    assert release(decided) == (1 if state == "executing" else 0)
    action = decided.action("rebook")
    assert (action["state"], action["lease_by"], action["intent"]) == (state, None, intent)
    if state == "executing":
        assert decided.rows("select lease_until < clock_timestamp() from wake.action") == [(True,)]


def test_what_another_holds_stays_his(decided: World) -> None:
    decided.rows("update wake.run set state = 'running', lease_by = 'there/1/1' returning 1")
    decided.rows("update wake.action set state = 'executing', lease_by = 'there/1/1' returning 1")
    assert release(decided) == 0
    assert (decided.run()["lease_by"], decided.action("rebook")["lease_by"]) == ("there/1/1", "there/1/1")
