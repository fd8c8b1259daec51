"""Executions, approvals and changes of the fenced rows, all at the same time."""

from __future__ import annotations

import random
import threading
from collections.abc import Generator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from typing import Any

import psycopg
import pytest

from agent.actions import Actions
from agent.bell import Bell, listen
from agent.database import Ledger
from agent.effects.sql import SqlEffect
from agent.leases import Holdings
from agent.worker import Worker
from console import sessions
from console.operations import Operations
from tests.harness.waiting import eventually
from tests.unit.agent.conftest import World
from tests.unit.agent.race import BOOKINGS, FLIGHTS, KEY, booking, fence, flight, made_source, pending
from wakestream import exact_json, fences
from wakestream.errors import RefusedError

WORKERS, OPERATORS, CHANGERS = 3, 3, 2
STALE = "was decided on what has changed since"
GIVEN = "given"

MIRRORS = """
create schema airline__race;
create table airline__race.flight (id int primary key, status text, fare numeric(10,2));
create table airline__race.booking (id int primary key, flight_id int, status text);
insert into airline__race.flight select n, 'delayed', 100 from generate_series(1, 40) n;
insert into airline__race.booking select n, n % 40 + 1, 'confirmed' from generate_series(1, 500) n;
insert into wake.mirror_state (source, "table", complete, log)
select 'airline', unnest(array['race.flight', 'race.booking']), true, 1;
"""

DECIDED = """
with numbers as (select n, 'disrupted/' || n as id from generate_series(1, %s) n), activations as (
    insert into wake.activation (id, trigger, source, event_id, subject, key, state, depth, event)
    select id, 'disrupted', 'airline', n::text, 'booking/' || n, jsonb_build_object('id', n), 'done', 0, '{}'
    from numbers
)
insert into wake.run (id, activation, agent, trigger, key, state)
select id, id, 'rebooker', 'disrupted', jsonb_build_object('id', n), 'waiting' from numbers
"""
PROPOSED = """
insert into wake.action
(id, run, number, name, kind, state, bound, chosen, arguments, effect, fence, approval, depth)
values (%s, %s, 1, 'rebook', 'sql', %s, '{}', '{}', '{}', %s::jsonb, %s::jsonb, 'always', 1)
"""


@pytest.fixture
def source(world: World) -> Generator[psycopg.Connection[Any]]:
    """The rows in the database that actions change, and their mirrors in the ledger."""
    with made_source(world.databases.ops) as connection, world.ledger() as ledger:
        ledger.execute(MIRRORS.encode())
        yield connection
        ledger.execute("drop schema airline__race cascade")


def propose(world: World, source: psycopg.Connection[Any]) -> dict[str, int]:
    """An action for each booking, of which every other one awaits approval; by their ids."""
    made = {f"disrupted/{number}/1": number for number in range(1, BOOKINGS + 1)}
    with world.ledger() as ledger, ledger.transaction():
        ledger.execute(DECIDED, (BOOKINGS,))
        for action, number in made.items():
            rests_on = fence(
                source,
                booking(number, flight_id=number % FLIGHTS + 1, status="confirmed"),
                flight(number % FLIGHTS + 1, status="delayed", fare=100),
            )
            effect, state = pending(rests_on, number).effect, "awaiting_approval" if number % 2 else "approved"
            documents = map(exact_json.dump, (effect, fences.to_document(rests_on)))
            ledger.execute(PROPOSED, (action, action.rpartition("/")[0], state, *documents))
    return made


class Changer:
    """Somebody who changes his share of the rows all the time, and the consumer that mirrors what he does."""

    def __init__(self, world: World, share: int) -> None:
        self._world, self._share = world, share
        self._dice = random.Random(share)

    def change(self, over: threading.Event) -> None:
        with psycopg.connect(self._world.databases.ops, autocommit=True) as source, self._world.ledger() as ledger:
            while not over.is_set():
                self._write(source, ledger, "flight", FLIGHTS, "status", ["delayed", "delayed", "cancelled"])
                self._write(source, ledger, "flight", FLIGHTS, "fare", [100, 100, 130])
                self._write(source, ledger, "booking", BOOKINGS, "status", ["confirmed", "cancelled"])

    def _write(  # noqa: PLR0913
        self,
        source: psycopg.Connection[Any],
        ledger: psycopg.Connection[Any],
        table: str,
        rows: int,
        column: str,
        values: list[Any],
    ) -> None:
        place = self._dice.randrange(self._share, rows, CHANGERS) + 1
        value = self._dice.choice(values)
        for connection, schema in ((source, "race"), (ledger, "airline__race")):
            connection.execute(f"update {schema}.{table} set {column} = %s where id = %s".encode(), (value, place))


def approve(operations: Operations, ids: list[str], seed: int) -> dict[str, str]:
    """What one operator is told about each of these actions."""
    order, told = list(ids), dict[str, str]()
    random.Random(seed).shuffle(order)
    for each in order:
        try:
            operations.approve(each, "checked")
            told[each] = GIVEN
        except RefusedError as error:
            told[each] = str(error)
    return told


def work(world: World, bell: Bell, stop: threading.Event) -> None:
    """What one worker of an agent does."""
    effect = SqlEffect({"ops": world.databases.ops}, KEY, lambda _: False, {"airline": world.databases.ops})
    with closing(Ledger(world.databases.ledger, "worker")) as own:
        actions = Actions(own, {"sql": effect}, stop)
        Worker(world.program, own, Holdings(), bell, world.runs, actions).run(stop)


def test_a_race_of_500_executions_and_changes(world: World, source: psycopg.Connection[Any]) -> None:
    """What the database itself saw while each statement ran is what its decision had seen."""
    engine, bell = sessions.open_ledger(world.databases.ledger), Bell()
    over, stop = threading.Event(), threading.Event()
    made = propose(world, source)
    asked = [action for action, number in made.items() if number % 2]
    tokens = [Operations(engine, None).add_operator(f"operator-{n}") for n in range(OPERATORS)]
    with ThreadPoolExecutor(WORKERS + OPERATORS + CHANGERS + 1) as pool:
        try:
            threads = [pool.submit(Changer(world, share).change, over) for share in range(CHANGERS)]
            threads += [pool.submit(work, world, bell, stop) for _ in range(WORKERS)]
            threads.append(pool.submit(listen, world.databases.ledger, bell, stop))
            approving = [pool.submit(approve, Operations(engine, token), asked, n) for n, token in enumerate(tokens)]
            told = [each.result() for each in approving]
            eventually(lambda: not open_actions(world), "every approved action at its end")
        finally:
            over.set()
            stop.set()
        for each in threads:
            each.result()
    verify(world, source, made)
    verify_approvals(world, asked, told)


def open_actions(world: World) -> list[tuple[Any, ...]]:
    return world.rows("select id, reason from wake.action where state in ('approved', 'executing')")


def verify(world: World, source: psycopg.Connection[Any], made: dict[str, int]) -> None:
    """What happened did so once, under its lock, over rows as the decision had seen them."""
    ended = world.rows("select id, result ->> 'fence' from wake.action where state = 'succeeded'")
    assert {how for _, how in ended} == {"locked"}
    assert 20 < len(ended) < BOOKINGS - 20, "the race was no race"
    witnessed = source.execute("select booking, flight_status, fare, booking_status from race.witness").fetchall()
    assert sorted(number for number, *_ in witnessed) == sorted(made[action] for action, _ in ended)
    assert {tuple(seen) for _, *seen in witnessed} == {("delayed", "100.00", "confirmed")}


def verify_approvals(world: World, asked: list[str], told: list[dict[str, str]]) -> None:
    """Each is given once and its action came to an end, or everybody was refused because it had become stale."""
    states = dict(world.rows("select id, state from wake.action"))
    never = {state for action, state in states.items() if action not in asked}
    assert never == {"succeeded", "stale"}
    approved = {action for each in told for action, what in each.items() if what == GIVEN}
    for action in asked:
        answers = [each[action] for each in told]
        assert answers.count(GIVEN) == (action in approved)
        assert states[action] in (("succeeded", "stale") if action in approved else ("awaiting_approval",)), answers
        refused = [what for what in answers if what != GIVEN]
        assert action in approved or all(STALE in what for what in refused), answers
    assert 20 < len(approved) < len(asked) - 20, "the race was no race"
    assert {states[action] for action in approved} == {"succeeded", "stale"}, "some changed between approval and lock"
    assert world.rows("select count(*) from wake.approval") == [(len(approved),)]
