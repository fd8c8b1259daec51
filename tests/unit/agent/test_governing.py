from __future__ import annotations

from typing import Any

import pytest

from agent.testing import decision
from tests.unit.agent.airline import disruption
from tests.unit.agent.conftest import MakeWorld, World

DEAR = ("rebook", {"to_flight": 9, "note": "n"})
CHEAP = ("rebook", {"to_flight": 8, "note": "n"})
NOTIFY = ("notify", {"text": "t"})
FIRE = ("    fire: enter", "    fire: enter\n    mode: {}")
AGENT = ("attempts: 3", "attempts: 3, {}")


def with_(pair: tuple[str, str], value: str) -> tuple[str, str]:
    return pair[0], pair[1].format(value)


def decided(world: World, *actions: tuple[str, dict[str, Any]], **values: Any) -> dict[str, tuple[str, str]]:
    world.model.script = lambda _: decision(*actions)
    event = disruption(**values)
    event["data"]["untrusted"] = ["remarks"] if "remarks" in values else []
    world.feed(event)
    assert world.worker.work(world.stop)
    return {name: (state, reason) for name, state, reason in world.rows("select name, state, reason from wake.action")}


@pytest.mark.parametrize(
    ("trigger", "agent", "cheap", "notify"),
    [
        ("live", "mode: live", "approved", "approved"),
        ("approve", "mode: live", "awaiting_approval", "awaiting_approval"),
        ("live", "mode: approve", "awaiting_approval", "awaiting_approval"),
        ("shadow", "mode: approve", "shadowed", "shadowed"),
        ("approve", "mode: shadow", "shadowed", "shadowed"),
    ],
)
def test_the_stricter_mode_counts(make_world: MakeWorld, trigger: str, agent: str, cheap: str, notify: str) -> None:
    world = make_world(with_(FIRE, trigger), with_(AGENT, agent))
    found = decided(world, CHEAP, NOTIFY)
    assert (found["rebook"][0], found["notify"][0]) == (cheap, notify)


def test_a_shadow_says_what_it_would_be_and_does_nothing(make_world: MakeWorld) -> None:
    world = make_world(with_(FIRE, "shadow"))
    found = decided(world, DEAR, NOTIFY)
    would = "chosen.to_flight.fare > after.flight.fare + 200.0"
    assert found["rebook"] == ("shadowed", f"mode: shadow; else it would be awaiting_approval: {would}")
    assert found["notify"] == ("shadowed", "mode: shadow; else it would be approved: approval: never")
    assert world.work() == 0
    assert not world.receiver.seen
    assert world.run()["state"] == "succeeded"


def test_what_strangers_wrote_makes_every_action_wait(make_world: MakeWorld) -> None:
    world = make_world(with_(AGENT, "untrusted: approve"))
    found = decided(world, CHEAP, NOTIFY, remarks="do it")
    why = "untrusted: approve, and the run saw remarks"
    assert found == {"rebook": ("awaiting_approval", why), "notify": ("awaiting_approval", why)}
    assert world.work() == 0


def test_without_it_nothing_waits(make_world: MakeWorld) -> None:
    world = make_world(with_(AGENT, "untrusted: approve"))
    assert {state for state, _ in decided(world, CHEAP, NOTIFY).values()} == {"approved"}


@pytest.mark.parametrize("shown", ["seat_no as remarks", "(select remarks from (select seat_no) as r(remarks)) as x"])
def test_a_lookup_that_names_an_untrusted_column_counts(make_world: MakeWorld, shown: str) -> None:
    seats = "where flight_id = :flight and free order by seat_no"
    lookup = (f"select seat_no from seat {seats}", f"select {shown} from seat {seats}")
    world = make_world(with_(AGENT, "untrusted: approve"), lookup)
    found = decided(world, NOTIFY)
    assert found["notify"] == ("awaiting_approval", "untrusted: approve, and the run saw lookups.seats.remarks")


def test_an_approval_may_ask_for_it(make_world: MakeWorld) -> None:
    world = make_world(("approval: never", "approval: size(event.untrusted) > 0"))
    assert decided(world, NOTIFY, remarks="x")["notify"][0] == "awaiting_approval"


EXPIRES = "approval: always\n    expires: 0s"


def test_what_nobody_decides_expires(make_world: MakeWorld) -> None:
    world = make_world(("approval: never", EXPIRES))
    decided(world, NOTIFY)
    world.steward.round(heartbeat=False)
    action = world.action("notify")
    assert (action["state"], action["reason"]) == ("expired", "nobody decided within 0 s")
    assert world.run()["state"] == "succeeded"
    assert world.rows("select who, what from wake.audit") == [("wakestream", "action.reject")]
    world.steward.round(heartbeat=False)
    assert len(world.rows("select 1 from wake.audit")) == 1


def test_it_may_be_executed_then(make_world: MakeWorld) -> None:
    world = make_world(("approval: never", f"{EXPIRES}\n    on_expiry: execute"))
    decided(world, NOTIFY)
    world.steward.round(heartbeat=False)
    assert world.action("notify")["reason"] == "nobody decided within 0 s: on_expiry: execute"
    world.work()
    assert world.action("notify")["state"] == "succeeded"


@pytest.mark.parametrize("held", ["mode: approve", "untrusted: approve"])
def test_but_not_where_a_person_was_asked_for(make_world: MakeWorld, held: str) -> None:
    world = make_world(("approval: never", f"{EXPIRES}\n    on_expiry: execute"), with_(AGENT, held))
    decided(world, NOTIFY, remarks="do it")
    world.steward.round(heartbeat=False)
    assert world.action("notify")["state"] == "expired"


def test_an_escalated_one_waits_for_others(make_world: MakeWorld) -> None:
    world = make_world(("approval: never", f"{EXPIRES}\n    on_expiry: escalate\n    escalate_to: [chief]"))
    decided(world, NOTIFY)
    action = world.action("notify")["id"]
    world.rows("insert into wake.approval (action, who) values (%s, 'ann') returning 1", action)
    world.steward.round(heartbeat=False)
    found = world.action("notify")
    assert (found["state"], found["expires_at"]) == ("awaiting_approval", None)
    assert found["policy"]["approvers"] == ["chief"]
    assert found["reason"] == "nobody decided within 0 s: it waits for chief"
    assert world.rows("select count(*) from wake.approval") == [(0,)]
    assert world.rows("select kind, about from wake.notice") == [("escalated", action)]


def test_what_has_time_left_waits(make_world: MakeWorld) -> None:
    world = make_world(("approval: never", "approval: always\n    expires: 15m"))
    decided(world, NOTIFY)
    world.steward.round(heartbeat=False)
    assert world.action("notify")["state"] == "awaiting_approval"
