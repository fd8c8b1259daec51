from __future__ import annotations

import threading
from typing import Any

import pytest

from agent import model_limits, testing
from agent.bell import Bell
from agent.budgets import Held
from agent.database import Ledger
from agent.leases import Holdings
from agent.runs import Runs
from agent.testing import Status
from agent.worker import Worker
from tests.harness.waiting import eventually
from tests.unit.agent.airline import disruption
from tests.unit.agent.conftest import MakeWorld, World

NOTHING = testing.SCRIPTS["decide_none"]


def limited(limits: str) -> tuple[str, str]:
    return "name: scripted,", f"name: scripted, {limits},"


def disrupt(world: World, count: int) -> None:
    world.model.script = NOTHING
    world.feed(*(disruption(number) for number in range(1, count + 1)))


def counts(world: World) -> dict[str, int]:
    return dict(world.rows("select state, count(*) from wake.run group by 1"))


def another(world: World) -> tuple[Worker, Ledger]:
    """A worker as if of another process."""
    own = Ledger(world.databases.ledger, "another")
    runs = Runs(world.program, own, world.models, world.lookups, world.stop)
    return Worker(world.program, own, Holdings(), Bell(), runs, world.actions), own


def test_requests_wait_for_the_next_window(make_world: MakeWorld) -> None:
    world = make_world(limited("rate: {requests: 2, per: day}"))
    disrupt(world, 5)
    world.work()
    assert counts(world) == {"succeeded": 2, "pending": 3}
    assert len(world.model.seen) == 2
    waiting = world.rows("select distinct budget, attempts from wake.run where state = 'pending'")
    assert waiting == [("model default: requests per day", 0)]
    assert world.rows("select 1 from wake.notice") == [], "a rate is there to be reached"


def test_tokens_are_counted_with_the_answer(make_world: MakeWorld) -> None:
    world = make_world(limited("rate: {tokens: 200, per: day}"))
    disrupt(world, 4)
    world.work()
    assert counts(world) == {"succeeded": 2, "pending": 2}
    assert world.rows("select scope, spent from wake.spend") == [("model default: tokens per day", 240.0)]


def test_no_more_calls_at_once_than_allowed(make_world: MakeWorld) -> None:
    """While one worker's call is under way another one finds no place, does other things, and is woken for its run."""
    world = make_world(limited("concurrency: 1"))
    disrupt(world, 3)
    asked, answer = threading.Event(), threading.Event()

    def hold(_request: dict[str, object]) -> testing.Reaction:
        asked.set()
        answer.wait(30)
        return testing.decision()

    world.model.script = hold
    first = threading.Thread(target=world.worker.work, args=(world.stop,))
    first.start()
    assert asked.wait(30)
    other, own = another(world)
    while other.work(world.stop):
        pass
    assert len(world.model.seen) == 1
    assert world.rows("select budget, count(*) from wake.run where state = 'pending' group by 1") == [
        ("model default: concurrency", 2)
    ]
    answer.set()
    first.join(30)
    assert world.rows("select count(*) from wake.run where state = 'pending' and run_at <= now()") == [(1,)]
    while other.work(world.stop):
        pass
    own.close()
    assert counts(world) == {"succeeded": 3}
    assert world.rows("select count(*) from wake.run where calling is not null") == [(0,)]


def test_who_finds_no_place_is_woken_by_whoever_leaves_one_meanwhile(
    make_world: MakeWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between the look and the putting off nobody leaves unseen."""
    world = make_world(limited("concurrency: 1"))
    disrupt(world, 2)
    world.rows(
        "update wake.run set state = 'running', lease_by = 'other', lease_until = now() + interval '1 hour',"
        " calling = 'default' where key->>'id' = '1' returning 1"
    )
    world.rows("insert into wake.model_pause (model) values ('default') returning 1")  # by the other's call
    look, leaving = model_limits._full, threading.Thread(target=leave, args=(world,))  # noqa: SLF001 - the moment is its

    def looked(*args: Any) -> Held | None:
        found = look(*args)
        leaving.start()
        eventually(lambda: world.rows("select 1 from pg_stat_activity where wait_event_type = 'Lock'"), "it waits")
        return found

    monkeypatch.setattr(model_limits, "_full", looked)
    assert world.worker.work(world.stop)
    leaving.join(30)
    assert world.rows("select budget, run_at <= now() from wake.run where state = 'pending'") == [
        ("model default: concurrency", True)
    ]


def leave(world: World) -> None:
    with world.ledger() as connection, connection.transaction():
        model_limits.leave(connection, "model default: concurrency")


def test_the_place_of_a_dead_worker_is_free(make_world: MakeWorld) -> None:
    world = make_world(limited("concurrency: 1"))
    disrupt(world, 2)
    world.rows(
        "update wake.run set state = 'running', lease_by = 'dead', lease_until = now() + interval '1 hour',"
        " calling = 'default' where key->>'id' = '1' returning 1"
    )
    world.work()
    assert counts(world) == {"running": 1, "pending": 1}
    world.rows("update wake.run set lease_until = now() - interval '1 second' where lease_by = 'dead' returning 1")
    world.rows("update wake.run set run_at = now() where state = 'pending' returning 1")
    world.work()
    assert counts(world) == {"succeeded": 2}


@pytest.mark.parametrize("code", [429, 503])
def test_a_pause_is_everybodys(make_world: MakeWorld, code: int) -> None:
    world = make_world()
    disrupt(world, 3)
    world.model.script = lambda _: Status(code, {"retry-after": "120"})
    world.worker.work(world.stop)
    other, own = another(world)
    while other.work(world.stop):
        pass
    assert len(world.model.seen) == 1
    assert world.rows("select distinct budget, attempts from wake.run") == [("model default: paused", 0)]
    assert [row[0] for row in world.rows("select kind from wake.notice")] == ["model_paused"]
    world.rows("update wake.model_pause set until = now() returning 1")
    world.rows("update wake.run set run_at = now() returning 1")
    world.model.script = NOTHING
    while other.work(world.stop):
        pass
    own.close()
    assert counts(world) == {"succeeded": 3}


def test_a_call_that_fails_gives_its_place_back(make_world: MakeWorld) -> None:
    """To whoever waits longest, and at once: the run that failed waits for another attempt."""
    world = make_world(limited("concurrency: 1"))
    disrupt(world, 2)
    world.model.script = testing.SCRIPTS["error"]
    world.rows(
        "update wake.run set budget = 'model default: concurrency', run_at = now() + interval '1 hour'"
        " where key->>'id' = '2' returning 1"
    )
    world.worker.work(world.stop)
    states = world.rows("select key->>'id', run_at <= now(), calling from wake.run order by 1")
    assert states == [("1", False, None), ("2", True, None)]
