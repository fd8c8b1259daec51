from __future__ import annotations

import time

import pytest

from agent import leases
from agent.leases import Grip, Holdings, Lease, LeaseLostError
from tests.unit.agent.airline import disruption
from tests.unit.agent.conftest import World


def test_every_claim_has_a_name_of_its_own() -> None:
    holdings, other = Holdings(), Holdings()
    names = [holdings.new(), holdings.new(), other.new()]
    assert len(set(names)) == 3
    assert holdings.held() == sorted(names[:2])
    holdings.drop(names[0])
    assert holdings.held() == [names[1]]


def test_the_heartbeat_extends_what_is_held(world: World) -> None:
    world.feed(disruption())
    held = world.holdings.new()
    with world.ledger() as connection:
        connection.execute("update wake.run set state = 'running', lease_by = %s, lease_until = now()", (held,))
    world.steward.round(heartbeat=False)
    assert world.rows("select lease_until > now() + interval '20 s' from wake.run") == [(False,)]
    world.steward.round(heartbeat=True)
    assert world.rows("select lease_until > now() + interval '20 s' from wake.run") == [(True,)]


def test_what_is_given_back_is_taken_up_again(world: World) -> None:
    world.feed(disruption())
    held = world.holdings.new()
    with world.ledger() as connection:
        connection.execute(
            "update wake.run set state = 'running', lease_by = %s, lease_until = now() + interval '1 h', attempts = 2",
            (held,),
        )
        assert leases.release(connection, [held]) == 1
    assert world.rows("select state, attempts, lease_by from wake.run") == [("pending", 1, None)]
    assert world.work() == 2


def test_nothing_is_left_held(world: World) -> None:
    world.feed(disruption())
    world.work()
    assert world.holdings.held() == []


def test_a_claim_whose_time_is_not_over_surely_stands() -> None:
    asked: list[str] = []
    Grip(Lease("a", 1, time.monotonic() + 60), lambda: asked.append("ledger")).check()
    assert asked == []


def test_one_whose_time_is_over_is_asked_for_and_extended() -> None:
    asked: list[str] = []
    grip = Grip(Lease("a", 1), lambda: asked.append("ledger"))
    grip.check()
    grip.check()
    assert asked == ["ledger"]


def test_one_that_another_has_taken_over_does_not_stand() -> None:
    def lost() -> None:
        raise LeaseLostError("it is another worker's")

    grip = Grip(Lease("a", 1), lost)
    for _ in range(2):
        with pytest.raises(LeaseLostError):
            grip.check()
