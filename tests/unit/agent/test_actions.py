from __future__ import annotations

import json
from typing import Any

import pytest

from agent import action_store, testing
from agent.bell import Bell
from agent.effects.sql import SqlEffect
from agent.run_claim import Turn
from agent.testing import Hang, Seen, Status, decision
from tests.unit.agent.airline import disruption
from tests.unit.agent.conftest import MakeWorld, World
from wakestream.errors import TransientError

REBOOK = ("rebook", {"to_flight": 8, "note": "n"})
DEAR = ("rebook", {"to_flight": 9, "note": "n"})
NOTIFY = ("notify", {"text": "t"})


def decided(world: World, *actions: tuple[str, dict[str, Any]]) -> World:
    """A run that decided on these, none of them executed yet."""
    world.model.script = lambda _: decision(*actions)
    world.feed(disruption())
    assert world.worker.work(world.stop)
    return world


def approve(world: World) -> None:
    """What the console does when a person approves."""
    world.rows(
        "update wake.action set state = 'approved', decided_by = 'ann', decided_at = now(), run_at = now()"
        " where state = 'awaiting_approval' returning 1"
    )


def states(world: World) -> dict[str, str]:
    return dict(world.rows("select name, state from wake.action order by number"))


def due(world: World) -> None:
    world.rows("update wake.action set run_at = now(), lease_until = now() - interval '1 s' returning 1")


def test_proposals(world: World) -> None:
    decided(world, DEAR, NOTIFY)
    rebook, notify = world.action("rebook"), world.action("notify")
    run = world.run()
    assert (rebook["id"], notify["id"]) == (f"{run['id']}/1", f"{run['id']}/2")
    assert (rebook["kind"], rebook["state"], rebook["depth"]) == ("sql", "awaiting_approval", 1)
    assert rebook["arguments"] == {"note": "n"}
    expected = "update booking set flight_id = 9, note = 'n' where id = 42 and flight_id = 7"
    assert rebook["effect"]["text"] == expected
    assert (notify["state"], notify["approval"]) == ("approved", "never")
    assert notify["effect"]["body"] == {"customer": 3, "text": "t"}
    assert run["state"] == "waiting"


def test_actions_happen_in_the_order_of_the_decision(world: World) -> None:
    world.book()
    decided(world, DEAR, NOTIFY)
    assert world.work() == 0, "the second waits until the first is decided"
    assert states(world) == {"rebook": "awaiting_approval", "notify": "approved"}
    approve(world)
    assert world.work() == 2
    assert states(world) == {"rebook": "succeeded", "notify": "succeeded"}
    assert world.run()["state"] == "succeeded"


@pytest.mark.parametrize("end", ["rejected", "failed", "expired"])
def test_what_follows_one_that_did_not_come_about_is_stale(world: World, end: str) -> None:
    decided(world, DEAR, NOTIFY)
    world.rows("update wake.action set state = %s where name = 'rebook' returning 1", end)
    world.work()
    notify = world.action("notify")
    assert (notify["state"], notify["reason"]) == ("stale", f"an action before it did not come about: rebook {end}")
    assert not world.receiver.seen
    assert world.run()["state"] == "succeeded"


def test_a_person_may_approve_it_all_the_same(make_world: MakeWorld) -> None:
    world = make_world(("    approval: never", "    approval: always"))
    decided(world, DEAR, NOTIFY)
    world.rows("update wake.action set state = 'rejected' where name = 'rebook' returning 1")
    approve(world)
    world.work()
    assert states(world) == {"rebook": "rejected", "notify": "succeeded"}


def test_failure_is_final_for_the_run(world: World) -> None:
    decided(world, REBOOK)  # there is no such booking
    world.work()
    rebook = world.action("rebook")
    assert rebook["state"] == "failed"
    assert rebook["reason"] == "expected 1 row, statement touches 0; it was rolled back"
    assert rebook["result"] == {"rows": 0}
    assert world.run()["state"] == "succeeded"


def test_a_receiver_that_is_down_is_tried_again(world: World) -> None:
    left = [Status(503), Status(502), None]
    world.receiver.react = lambda _: left.pop(0)
    decided(world, NOTIFY)
    for attempt in (1, 2):
        assert world.work() == 1
        notify = world.action("notify")
        assert (notify["state"], notify["attempts"], notify["intent"]) == ("approved", attempt, None)
        assert "the receiver answers 50" in notify["reason"]
        due(world)
    world.work()
    notify = world.action("notify")
    assert (notify["state"], notify["reason"], notify["result"]["status"]) == ("succeeded", None, 200)
    assert world.receiver.keys() == {notify["id"]: 3}


def test_attempts_come_to_an_end(world: World) -> None:
    world.receiver.react = lambda _: Status(503)
    decided(world, NOTIFY)
    world.rows("update wake.action set attempts = %s returning 1", action_store.ATTEMPTS - 1)
    world.work()
    notify = world.action("notify")
    assert (notify["state"], notify["reason"]) == ("failed", "tried 20 times: the receiver answers 503")


def test_no_answer_is_unknown_and_the_run_waits(make_world: MakeWorld) -> None:
    world = make_world(("    secret: whsec_c2VjcmV0\n", "    timeout: 100ms\n"))
    world.receiver.react = lambda _: Hang()
    decided(world, NOTIFY)
    world.work()
    assert world.action("notify")["state"] == "unknown"
    assert world.run()["state"] == "waiting"


def die(*_: object) -> None:
    raise KeyboardInterrupt


def test_sql_that_was_committed_is_not_done_twice(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker that dies between the target's commit and the ledger."""
    world.book()
    decided(world, REBOOK)
    with monkeypatch.context() as patched:
        patched.setattr(world.actions, "_finish", die)
        with pytest.raises(KeyboardInterrupt):
            world.work()
    assert (world.booked(), states(world)) == (8, {"rebook": "executing"})
    assert world.work() == 0, "the lease still stands"
    due(world)
    with world.ops() as connection:
        connection.execute("update booking set flight_id = 7")
    assert world.work() == 1
    assert (world.booked(), states(world)) == (7, {"rebook": "succeeded"})
    assert world.action("rebook")["result"]["settled"] == "by its transaction's status"
    assert world.run()["state"] == "succeeded"


def test_sql_that_was_not_committed_is_done(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.book()
    decided(world, REBOOK)
    with monkeypatch.context() as patched:
        patched.setattr(SqlEffect, "_finish", die)
        with pytest.raises(KeyboardInterrupt):
            world.work()
    assert (world.booked(), world.action("rebook")["intent"] is None) == (7, False)
    due(world)
    assert world.work() == 1
    assert (world.booked(), states(world), world.action("rebook")["attempts"]) == (8, {"rebook": "succeeded"}, 2)


@pytest.mark.parametrize(("idempotent", "state", "sent"), [(False, "unknown", 1), (True, "succeeded", 2)])
def test_a_webhook_cut_short(
    make_world: MakeWorld, monkeypatch: pytest.MonkeyPatch, idempotent: bool, state: str, sent: int
) -> None:
    world = make_world(("    secret: whsec_c2VjcmV0\n", f"    idempotent: {json.dumps(idempotent)}\n"))
    decided(world, NOTIFY)
    with monkeypatch.context() as patched:
        patched.setattr(world.actions, "_finish", die)
        with pytest.raises(KeyboardInterrupt):
            world.work()
    due(world)
    world.work()
    notify = world.action("notify")
    assert notify["state"] == state
    assert world.receiver.keys() == {notify["id"]: sent}


def test_a_crash_before_the_intent_is_no_doubt(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    decided(world, NOTIFY)
    with monkeypatch.context() as patched:
        patched.setattr(world.actions, "_record", die)
        with pytest.raises(KeyboardInterrupt):
            world.work()
    due(world)
    world.work()
    assert states(world) == {"notify": "succeeded"}
    assert sum(world.receiver.keys().values()) == 1


def test_a_receipt_settles_what_was_unknown(world: World) -> None:
    decided(world, DEAR)
    world.rows("update wake.action set state = 'unknown' returning 1")
    world.steward.round(heartbeat=True)
    assert states(world) == {"rebook": "unknown"}
    with world.ledger() as connection:
        connection.execute(
            "insert into wake.receipt values (%s, 'airline', 1, 5, 50, 1, now(), now())",
            (world.action("rebook")["id"],),
        )
    world.steward.round(heartbeat=False)
    rebook = world.action("rebook")
    assert (rebook["state"], rebook["reason"]) == ("succeeded", "its mark was seen in the change log")
    assert world.run()["state"] == "succeeded"


def test_who_lost_the_lease_does_not_act(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.book()
    decided(world, REBOOK)
    record = world.actions._record

    def late(action: action_store.Claimed, intent: dict[str, Any]) -> None:
        world.rows("update wake.action set lease_by = 'other' returning 1")
        record(action, intent)

    monkeypatch.setattr(world.actions, "_record", late)
    assert world.work() == 1
    assert world.booked() == 7
    assert (world.action("rebook")["state"], world.action("rebook")["lease_by"]) == ("executing", "other")


def test_what_cannot_be_settled_now_stays_and_is_looked_at_later(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.book()
    decided(world, REBOOK)
    with monkeypatch.context() as patched:
        patched.setattr(world.actions, "_finish", die)
        with pytest.raises(KeyboardInterrupt):
            world.work()
    due(world)

    def away(*_: object) -> None:
        raise TransientError("away")

    with monkeypatch.context() as patched:
        patched.setattr(SqlEffect, "settle", away)
        assert world.work() == 1
    rebook = world.action("rebook")
    assert (rebook["state"], rebook["reason"], rebook["lease_by"]) == ("executing", "away", None)
    assert rebook["intent"]
    due(world)
    world.work()
    assert states(world) == {"rebook": "succeeded"}


def test_an_approved_action_is_executed_as_it_was_shown(world: World) -> None:
    """Whatever the configuration says by then."""
    world.book()
    decided(world, DEAR)
    approve(world)
    changed = World(world.databases, world.loaded, world.model, world.receiver)
    changed.work()
    changed.close()
    assert world.booked() == 9


def test_two_workers_never_hold_the_same(world: World) -> None:
    decided(world, NOTIFY)
    with world.ledger() as one, world.ledger() as two, one.transaction():
        first = action_store.claimed(action_store.claim(one, "one"))
        second = action_store.claimed(action_store.claim(two, "two"))
        assert first is not None
        assert second is None


def test_one_claim_takes_an_action_or_a_run(world: World) -> None:
    """Both are asked for at once."""
    decided(world, NOTIFY)
    world.feed(disruption(43))
    turn = Turn(Bell())
    with world.ledger() as connection:
        for by, taken in [("one", (True, False)), ("two", (False, True)), ("three", (False, False))]:
            with connection.transaction():
                asked = action_store.claim(connection, by), turn.claim(connection, by)
                found = action_store.claimed(asked[0]), turn.claimed(asked[1])
            assert tuple(each is not None for each in found) == taken


def test_the_cause_travels(world: World) -> None:
    seen: list[Seen] = []
    world.receiver.react = lambda each: seen.append(each)
    found = disruption()
    found["data"]["cause"] = {"action": "x", "run": "y", "trigger": "other", "keys": [], "depth": 2}
    world.model.script = lambda _: testing.decision(NOTIFY)
    world.feed(found)
    world.work()
    assert world.action("notify")["depth"] == 3
    assert seen[0].headers["wake-cause"]
