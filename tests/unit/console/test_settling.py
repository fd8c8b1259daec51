from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import psycopg
import pytest

from tests.unit.console.seeds import RUN_ID, Seed
from wakestream import states
from wakestream.ledger.models import Run
from wakestream.settling import settle_run


def settle(url: str, run: str = RUN_ID) -> bool:
    with psycopg.connect(url) as connection:
        return settle_run(connection, run)


@pytest.mark.parametrize("state", states.ACTION)
def test_a_waiting_run_succeeds_when_its_last_action_is_final(seed: Seed, state: str) -> None:
    seed.run("waiting")
    seed.action("succeeded")
    seed.action(state, number=2)
    assert settle(seed.url) is (state in states.ACTION_FINAL)
    run = seed.get(Run, RUN_ID)
    assert run.state == ("succeeded" if state in states.ACTION_FINAL else "waiting")
    assert (run.finished_at is not None) is (state in states.ACTION_FINAL)


@pytest.mark.parametrize("state", sorted(set(states.RUN) - {"waiting", "running"}))
def test_a_run_that_is_over_or_has_not_begun_is_left_alone(seed: Seed, state: str) -> None:
    seed.run(state)
    seed.action("succeeded")
    assert settle(seed.url) is False
    assert seed.get(Run, RUN_ID).state == state


def test_a_run_that_a_worker_holds_is_left_alone(seed: Seed) -> None:
    held = seed.run("running", lease_by="worker")
    undecided = seed.run("running", number=8, decision=None)
    decided = seed.run("running", number=9)
    assert [settle(seed.url, run) for run in (held, undecided, decided)] == [False, False, True]
    assert seed.get(Run, decided).state == "succeeded"


def test_of_two_last_actions_at_once_the_second_settles(seed: Seed) -> None:
    seed.run("waiting")
    ids = [seed.action("executing", number=number) for number in (1, 2)]
    finish = "update wake.action set state = 'succeeded' where id = %s"
    blocked = "select cardinality(pg_blocking_pids(%s)) > 0"
    with (
        psycopg.connect(seed.url) as first,
        psycopg.connect(seed.url) as second,
        psycopg.connect(seed.url, autocommit=True) as watcher,
        ThreadPoolExecutor(1) as pool,
    ):
        first.execute(finish, [ids[0]])
        second.execute(finish, [ids[1]])
        assert settle_run(first, RUN_ID) is False
        later = pool.submit(settle_run, second, RUN_ID)
        while watcher.execute(blocked, [second.info.backend_pid]).fetchone() != (True,):
            assert not later.done()
        first.commit()
        assert later.result(timeout=10) is True
    assert seed.get(Run, RUN_ID).state == "succeeded"
