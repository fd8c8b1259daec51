from __future__ import annotations

import logging
import threading

import pytest

from agent import budgets, testing
from agent.bell import Bell
from agent.budgets import Charge
from agent.database import Ledger
from agent.leases import Holdings
from agent.runs import Runs
from agent.worker import Worker
from tests.unit.agent.airline import booking, disruption, event
from tests.unit.agent.conftest import MakeWorld, World
from wakestream.ledger.models import Run

AGENT = "attempts: 3}"
TRIGGER = "    agent: rebooker\n"
NOTHING = testing.SCRIPTS["decide_none"]


def of_agent(budget: str) -> tuple[str, str]:
    return AGENT, f"attempts: 3, budget: [{budget}]}}"


def of_trigger(budget: str) -> tuple[str, str]:
    return TRIGGER, f"{TRIGGER}    budget: [{budget}]\n"


def states(world: World) -> list[str]:
    return [state for (state,) in world.rows("select state from wake.run order by id")]


def disrupt(world: World, count: int) -> None:
    world.model.script = NOTHING
    world.feed(*(disruption(number) for number in range(1, count + 1)))


def next_window(world: World) -> None:
    """Let the present window of every budget be over."""
    world.rows(
        "update wake.spend set window_start = window_start - interval '1 day',"
        " window_end = window_end - interval '1 day' returning 1"
    )
    world.rows(
        "update wake.run set run_at = now() - interval '1 minute' + (run_at - now()) / 1e6"
        " where state = 'pending' returning 1"
    )


def test_queue_waits_for_the_next_window(make_world: MakeWorld) -> None:
    world = make_world(of_trigger("{runs: 2, per: day}"))
    disrupt(world, 5)
    world.work()
    assert sorted(states(world)) == ["pending"] * 3 + ["succeeded"] * 2
    waiting = world.rows(
        "select budget, error, run_at >= date_trunc('day', now(), 'UTC') + interval '24 hours', attempts"
        " from wake.run where state = 'pending'"
    )
    assert {row[0] for row in waiting} == {"trigger disrupted: runs per day"}
    assert all("is spent: 2 of 2 runs until " in row[1] for row in waiting)
    assert {row[2:] for row in waiting} == {(True, 0)}
    next_window(world)
    world.work()
    assert sorted(states(world)) == ["pending"] + ["succeeded"] * 4


def test_those_that_wait_are_put_off_together_and_in_order(make_world: MakeWorld) -> None:
    world = make_world(of_trigger("{runs: 1, per: day}"))
    disrupt(world, 6)
    world.work()
    next_window(world)
    assert world.work() == 2, "one that runs, and one for all that must wait"
    left = [row[0] for row in world.rows("select id from wake.run where state = 'pending' order by run_at")]
    assert len(left) == 4
    next_window(world)
    world.work()
    assert world.rows("select id from wake.run where state = 'succeeded' and id = any(%s)", left) == [(left[0],)]


def test_approve_waits_for_a_person(make_world: MakeWorld) -> None:
    world = make_world(of_agent("{runs: 1, per: day, over: approve}"))
    disrupt(world, 2)
    world.work()
    ((run, error),) = world.rows("select id, error from wake.run where state = 'parked'")
    assert "agent rebooker: runs per day is spent: 1 of 1 runs" in error
    assert "wake runs retry" in error
    world.rows("update wake.run set state = 'pending', let_go_by = 'alice' where id = %s returning 1", run)
    world.work()
    assert states(world) == ["succeeded", "succeeded"]
    assert world.rows("select spent from wake.spend") == [(2.0,)]


def test_drop_cancels_and_says_why(make_world: MakeWorld) -> None:
    world = make_world(of_agent("{runs: 1, per: hour, over: drop}"))
    disrupt(world, 2)
    world.work()
    assert sorted(states(world)) == ["cancelled", "succeeded"]
    ((error, activation, reason),) = world.rows(
        "select r.error, a.state, a.reason from wake.run r join wake.activation a on a.id = r.activation"
        " where r.state = 'cancelled'"
    )
    assert (activation, reason) == ("done", error)
    assert "runs per hour is spent" in error


def test_each_value_has_its_own(make_world: MakeWorld) -> None:
    world = make_world(of_trigger("{runs: 1, per: day, by: after.customer_id}"))
    world.model.script = NOTHING
    world.feed(*(disruption(number, customer_id=number % 2) for number in range(4)))
    world.feed(disruption(9, customer_id=None))
    world.work()
    assert sorted(states(world)) == ["pending"] * 2 + ["succeeded"] * 3
    assert world.rows("select by_value, spent from wake.spend order by 1") == [("0", 1.0), ("1", 1.0), ("null", 1.0)]


def test_warns_once_a_window(make_world: MakeWorld, caplog: pytest.LogCaptureFixture) -> None:
    world = make_world(of_trigger("{runs: 5, per: day, warn: 0.6}"))
    with caplog.at_level(logging.WARNING, "agent.notices"):
        disrupt(world, 7)
        world.work()
    told = world.rows("select kind, about, text from wake.notice order by id")
    assert [row[0] for row in told] == ["budget_warning", "budget_spent"]
    assert {row[1] for row in told} == {"trigger disrupted: runs per day"}
    assert "3 of 5 runs" in told[0][2]
    assert [record.message for record in caplog.records if record.name == "agent.notices"] == [row[2] for row in told]


@pytest.mark.parametrize("budget", ["{tokens: 200, per: day}", "{cost: 0.0005, per: day}"])
def test_tokens_and_cost_are_counted_with_the_answer(make_world: MakeWorld, budget: str) -> None:
    """120 tokens and 0.0003 an answer: the second passes the limit, the third is not asked for."""
    world = make_world(of_agent(budget))
    disrupt(world, 4)
    world.work()
    assert len(world.model.seen) == 2
    assert sorted(states(world)) == ["pending"] * 2 + ["succeeded"] * 2
    next_window(world)
    world.work()
    assert len(world.model.seen) == 4


def test_checked_before_each_call(make_world: MakeWorld) -> None:
    """The first answer spends it, so the repair waits; what was answered is kept."""
    world = make_world(of_agent("{tokens: 100, per: day}"))
    world.model.script = testing.prose
    world.feed(disruption())
    world.work()
    assert len(world.model.seen) == 1
    run = world.run()
    assert (run["state"], run["budget"]) == ("pending", "agent rebooker: tokens per day")
    next_window(world)
    world.model.script = NOTHING
    world.work()
    assert world.run()["state"] == "succeeded"
    assert len(world.model.seen) == 2


def test_a_run_is_counted_once(make_world: MakeWorld) -> None:
    world = make_world(of_trigger("{runs: 3, per: day}"))
    world.model.script = testing.SCRIPTS["error"]
    world.feed(disruption())
    for _ in range(3):
        world.work()
        world.rows("update wake.run set run_at = now() where state = 'pending' returning 1")
    assert world.run()["state"] == "parked"
    assert world.rows("select spent from wake.spend") == [(1.0,)]


def test_a_worker_that_dies_right_after_counting_leaves_it_counted_once(
    make_world: MakeWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    def die(*_: object) -> None:
        raise KeyboardInterrupt

    world = make_world(of_trigger("{runs: 1, per: day}"))
    disrupt(world, 1)
    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(world.runs, "_question", die)
        world.work()
    world.rows("update wake.run set lease_until = now() - interval '1 s' returning 1")
    world.work()
    assert states(world) == ["succeeded"]
    assert world.rows("select spent from wake.spend") == [(1.0,)]


def test_workers_together_never_begin_more(make_world: MakeWorld) -> None:
    """Eight workers as if of eight processes; the model answers when all that may begin have begun."""
    world = make_world(of_trigger("{runs: 5, per: day}"), of_agent("{runs: 7, per: day, by: after.status}"))
    disrupt(world, 30)
    ledgers = [Ledger(world.databases.ledger, f"worker {number}") for number in range(8)]

    def work(own: Ledger) -> None:
        runs = Runs(world.program, own, world.models, world.lookups, world.stop)
        runs._looked_up = lambda *_: {"rows": []}  # type: ignore[method-assign,assignment] # noqa: SLF001 - one connection is shared
        worker = Worker(world.program, own, Holdings(), Bell(), runs, world.actions)
        while worker.work(world.stop):
            pass

    threads = [threading.Thread(target=work, args=(own,)) for own in ledgers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    for own in ledgers:
        own.close()
    assert len(world.model.seen) == 5
    assert dict(world.rows("select scope, spent from wake.spend")) == {
        "trigger disrupted: runs per day": 5.0,
        "agent rebooker: runs per day by after.status": 5.0,
    }


def test_of_several_all_or_none_count(world: World) -> None:
    one = Charge("a: runs per day", "", "runs", "day", 9)
    two = Charge("b: runs per day", "", "runs", "day", 1)
    with world.own.transaction("counting") as connection:
        assert budgets.count(connection, [two, one], "runs") is None
    with world.own.transaction("counting") as connection:
        held = budgets.count(connection, [two, one], "runs")
    assert held is not None
    assert held.key == "b: runs per day"
    assert dict(world.rows("select scope, spent from wake.spend")) == {one.scope: 1.0, two.scope: 1.0}


def test_old_windows_are_forgotten(world: World) -> None:
    charge = Charge("a: runs per day", "", "runs", "day", 9)
    with world.own.transaction("counting") as connection:
        budgets.count(connection, [charge], "runs")
    world.rows("update wake.spend set window_end = now() - interval '3 days' returning 1")
    with world.own.transaction("forgetting") as connection:
        budgets.forget(connection)
    assert world.rows("select 1 from wake.spend") == []


def test_the_columns_are_there(world: World) -> None:
    names = {
        row[0] for row in world.rows("select column_name from information_schema.columns where table_name = 'run'")
    }
    assert names == {column.name for column in Run.__table__.columns}


def test_other_runs_go_on(make_world: MakeWorld) -> None:
    world = make_world(of_trigger("{runs: 1, per: day, by: after.customer_id}"))
    world.model.script = NOTHING
    world.feed(disruption(1), disruption(2), disruption(3, customer_id=8))
    world.feed(event("booking", booking(4), booking(4), changed=[]))
    world.work()
    assert [row[0] for row in world.rows("select key->>'id' from wake.run where state = 'succeeded' order by 1")] == [
        "1",
        "3",
    ]
