"""What people and configurations do to triggers that wait: pauses, breakers, batches, settings that go."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import pytest

from agent.intake import Intake
from console import operators, sessions
from console.triggers import Triggers
from tests.unit.agent import airline
from tests.unit.agent.airline import disruption, event
from tests.unit.agent.conftest import MakeWorld, World
from wakestream.errors import RefusedError

FIRE = "    fire: enter\n"
PLACE = (airline.TOPIC, 0)


def timed(make_world: MakeWorld, setting: str, *more: tuple[str, str]) -> World:
    return make_world((FIRE, f"{FIRE}    {setting}\n"), *more)


def at(found: dict[str, Any], seconds: float) -> dict[str, Any]:
    """The event, so long after the usual time."""
    moment = datetime.fromisoformat(airline.TIME) + timedelta(seconds=seconds)
    return {**found, "time": moment.isoformat()}


def mark(seconds: float) -> dict[str, Any]:
    """A clock mark."""
    return at(event("airline", None, None, kind="context.clock"), seconds)


def recovery(number: int = 42, **values: Any) -> dict[str, Any]:
    """The flight of a booking is on time again."""
    found = disruption(number, **values)
    data = found["data"]
    return {**found, "data": {**data, "before": data["after"], "after": data["before"]}}


def states(world: World) -> list[tuple[str, str | None]]:
    return world.rows("select state, reason from wake.activation order by created_at, id")


def triggers(world: World) -> Triggers:
    engine = sessions.open_ledger(world.databases.ledger)
    with sessions.transaction(engine) as session:
        token = operators.add(session, "alice", by="test")
    return Triggers(engine, world.loaded.config, token)


def test_the_run_of_a_hold_sees_what_became_of_the_key_meanwhile(make_world: MakeWorld) -> None:
    world = timed(make_world, "hold: 30s")
    first = disruption()
    world.feed(at(first, 0), mark(1))
    later = event("booking", first["data"]["after"], {**first["data"]["after"], "remarks": "in a hurry"})
    world.feed(at(later, 10), mark(29.9))
    assert [state for state, _ in states(world)] == ["held"]
    assert world.work() == 0
    world.feed(mark(30))
    world.work()
    ((activation, data),) = world.rows("select id, event->'data' from wake.activation where state = 'done'")
    assert activation == f"disrupted/{first['id']}"
    assert (data["before"]["flight"]["status"], data["after"]["remarks"]) == ("on_time", "in a hurry")
    assert data["changed"] == ["flight.status", "remarks"]
    assert [step["id"] for step in data["steps"]] == [first["id"], later["id"]]
    assert "in a hurry" in str(world.model.seen[0].body["messages"])
    assert world.rows("select count(*) from wake.wait") == [(0,)]


def test_a_hold_that_ends_says_by_what(make_world: MakeWorld) -> None:
    world = timed(make_world, "hold: 30s")
    begins, ends = disruption(), recovery()
    world.feed(at(begins, 0), at(ends, 29), mark(31))
    assert states(world) == [("suppressed", f"it did not last: {ends['id']}")]


def test_a_setting_that_is_gone_ends_its_waits(make_world: MakeWorld) -> None:
    world = timed(make_world, "hold: 30s")
    world.feed(at(disruption(), 0))
    without = make_world()
    without.intake.own({PLACE: (0, 1)})
    without.feed(mark(60))
    assert states(world) == [("suppressed", "the trigger no longer says `hold`")]


def test_a_wait_goes_on_in_another_process(make_world: MakeWorld) -> None:
    world = timed(make_world, "debounce: {quiet: 5s, at_most: 1m}")
    world.feed(at(disruption(), 0))
    other = Intake(world.program, world.own, name="other", start="beginning", wake=lambda _: None)
    other.own({PLACE: (0, 10)})
    world.intake = other
    world.feed(mark(5))
    assert [state for state, _ in states(world)] == ["open"]


def test_a_burst_that_cancels_out_wakes_nobody(make_world: MakeWorld) -> None:
    world = timed(make_world, "debounce: {quiet: 5s, at_most: 1m}")
    world.feed(at(disruption(), 0), at(recovery(), 1), mark(10))
    assert states(world) == [("suppressed", "the changes cancel out")]


BATCH = "batch: {by: after.flight_id, at_most: 3, within: 2s}"
CHOOSE = (
    "    bind: {customer: after.customer_id}\n",
    "    bind: {customer: after.customer_id}\n    choose: {booking: {from: batch, key: id}}\n",
)


def test_one_run_for_many_keys(make_world: MakeWorld) -> None:
    world = timed(make_world, BATCH, CHOOSE, ("actions: [rebook, notify]", "actions: [notify]"))
    world.feed(at(disruption(1), 0), at(disruption(2), 0.5), at(disruption(3, flight_id=8), 0.6), mark(2))
    assert world.rows("select activation, subject, state from wake.run") == [
        (world.rows("select id from wake.activation where subject = 'booking/1'")[0][0], "booking/1", "pending")
    ]
    assert [state for state, _ in states(world)] == ["open", "open", "held"]
    world.work()
    prompt = str(world.model.seen[0].body["messages"])
    assert "booking/1" in prompt
    assert "booking/2" in prompt
    assert "booking/3" not in prompt
    assert world.rows("select count(*) from wake.activation where state = 'done'") == [(2,)]
    notified = world.receiver.seen[0].body
    assert notified["booking"] == 1
    world.feed(mark(2.6))
    assert world.rows("select count(*) from wake.run") == [(2,)]


def test_a_full_batch_does_not_wait(make_world: MakeWorld) -> None:
    world = timed(make_world, BATCH)
    world.feed(*(at(disruption(number), 0) for number in range(1, 8)))
    assert world.rows("select count(*) from wake.run") == [(2,)]
    assert world.rows("select count from wake.batch") == [(1,)]


def test_a_pause_suppresses_with_who_and_why_and_holds_runs_back(world: World) -> None:
    world.feed(disruption(1))
    people = triggers(world)
    with pytest.raises(RefusedError, match="needs its reason"):
        people.pause("disrupted", " ")
    people.pause("disrupted", "a wrong prompt")
    world.feed(disruption(2))
    assert world.work() == 0
    assert states(world)[1] == ("suppressed", "paused by alice: a wrong prompt")
    with pytest.raises(RefusedError, match="paused already, by alice: a wrong prompt"):
        people.pause("disrupted", "again")
    people.resume("disrupted")
    assert world.work() > 0
    world.feed(disruption(3))
    assert [state for state, _ in states(world)] == ["done", "suppressed", "open"]


@pytest.mark.parametrize(("way", "begun"), [("run", 1), ("drop", 0)])
def test_a_breaker_holds_until_a_person_decides(make_world: MakeWorld, way: Any, begun: int) -> None:
    world = timed(make_world, "breaker: {runs: 2, within: 10m}")
    for number in range(5):
        world.feed(at(disruption(), number), at(recovery(), number + 0.5))
    world.feed(at(disruption(43), 9))
    assert world.rows("select subject, count(*) from wake.run group by 1 order by 1") == [
        ("booking/42", 2),
        ("booking/43", 1),
    ]
    people = triggers(world)
    (row,) = people.list()
    assert (row.state, row.held_by_breaker, row.runs) == ("active", 3, 3)
    with pytest.raises(RefusedError, match="no breaker of trigger `disrupted` for `7` is open"):
        people.release("disrupted", "7", way)
    assert people.release("disrupted", "42", way, "looked at").by == "alice"
    assert world.rows("select count(*) from wake.run") == [(3 + begun,)]
    held = world.rows("select count(*) from wake.activation where starts_with(reason, 'released by alice')")
    assert held == [(3 - begun,)]
    world.feed(at(disruption(), 700))
    assert world.rows("select count(*) from wake.run") == [(4 + begun,)]


def test_a_key_with_many_runs_gives_way_to_others(world: World) -> None:
    for _ in range(4):
        world.feed(disruption(1), recovery(1))
    world.feed(disruption(2))
    ranked = world.rows("select subject from wake.run order by rank")
    assert ranked[:2] == [("booking/1",), ("booking/2",)]


def test_a_priority_is_a_head_start(make_world: MakeWorld) -> None:
    world = timed(make_world, "priority: 10")
    world.feed(disruption())
    ((ahead,),) = world.rows("select extract(epoch from clock_timestamp() - rank) from wake.run")
    assert 590 < ahead < 660


@pytest.mark.parametrize(
    ("setting", "told"),
    [
        ("hold: 1s\n    debounce: {quiet: 1s, at_most: 2s}", "`hold` and `debounce` wait for different things"),
        ("debounce: {quiet: 3s, at_most: 2s}", "it cannot be shorter than `quiet`"),
        ("absent: {event: after.stat == 'x', within: 1s}", "stat"),
        ("batch: {by: after.flight_idd, within: 1s}", "flight_id"),
        ("conditions: {late: after.status == 'x'}", "`late` is not used"),
        ("conditions: {after: after.status == 'x'}", "`after` means something already"),
    ],
)
def test_what_makes_no_sense_is_refused(make_world: MakeWorld, setting: str, told: str) -> None:
    with pytest.raises(Exception, match=told):
        timed(make_world, setting)
