"""A claim looks from where the process last claimed, and yet nothing that is due before it is passed over."""

from __future__ import annotations

from typing import Any

import pytest

from agent import run_claim, testing
from agent.bell import Bell
from agent.run_claim import Turn
from tests.unit.agent.airline import disruption
from tests.unit.agent.conftest import World

BOOKINGS = range(101, 105)


class Claims:
    """What one process claims, each time with a name of its own."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.bell = Bell()
        self.now = 0.0
        self.turn = Turn(self.bell, lambda: self.now)
        self.count = 0
        self.looked: list[bool] = []
        """Of each look, whether it was from the beginning."""

    def next(self) -> int | None:
        """The booking whose run is claimed; one look, as a worker takes it."""
        self.count += 1
        with self.world.ledger() as connection, connection.transaction():
            asked = self.turn.claim(connection, f"claim {self.count}")
        self.looked.append(asked.from_beginning)
        run = self.turn.claimed(asked)
        return None if run is None else run.event.data.key["id"]  # type: ignore[index]


@pytest.fixture
def claims(world: World) -> Claims:
    world.model.script = testing.SCRIPTS["decide_none"]
    for booking in BOOKINGS:
        world.feed(disruption(booking))
    return Claims(world)


def before_all(world: World, booking: int) -> None:
    """A run comes that is to be claimed before all others."""
    world.feed(disruption(booking))
    world.rows(f"update wake.run set rank = now() - interval '1 h' where key ->> 'id' = '{booking}' returning 1")


def test_they_are_claimed_in_their_order_each_once(claims: Claims) -> None:
    assert [claims.next() for _ in BOOKINGS] == list(BOOKINGS)
    assert claims.looked == [True, False, False, False]
    assert [claims.next(), claims.next()] == [None, None]
    assert claims.looked[4:] == [False, True], "what is found nowhere is looked for from the beginning"


def test_what_is_told_of_is_claimed_at_once(claims: Claims) -> None:
    assert [claims.next(), claims.next()] == [101, 102]
    before_all(claims.world, 200)
    claims.bell.ring(news=True)
    assert [claims.next() for _ in range(3)] == [200, 103, 104]


def test_what_is_not_told_of_is_claimed_soon(claims: Claims) -> None:
    assert [claims.next(), claims.next()] == [101, 102]
    before_all(claims.world, 200)
    claims.bell.ring()
    assert claims.next() == 103, "a ring alone says nothing of new runs"
    claims.now += run_claim.ANEW
    assert [claims.next(), claims.next()] == [200, 104]


def test_what_is_told_during_a_look_counts_for_the_next(claims: Claims) -> None:
    """The claim's snapshot may be older than what was told."""
    with claims.world.ledger() as connection, connection.transaction():
        asked = claims.turn.claim(connection, "early")
        before_all(claims.world, 200)
        claims.bell.ring(news=True)
    assert claims.turn.claimed(asked) is not None
    assert claims.next() == 200


def test_a_worker_finds_what_lies_before_where_it_looked(claims: Claims) -> None:
    """It does not go to sleep over a look that did not begin at the beginning."""
    world = claims.world
    assert world.worker.work(world.stop)
    world.rows("update wake.run set rank = now() - interval '1 h' where state = 'pending' returning 1")
    assert [world.worker.work(world.stop) for _ in range(4)] == [True, True, True, False]


def test_what_is_done_is_not_walked_through(world: World) -> None:
    """Counted in entries that are looked at, while a snapshot that somebody holds keeps all of it in the index."""
    world.model.script = testing.SCRIPTS["decide_none"]
    for booking in range(1000, 1300):
        world.feed(disruption(booking))
    with world.ledger() as reader, reader.transaction():
        reader.execute("set transaction isolation level repeatable read")
        reader.execute("select count(*) from wake.run")
        for _ in range(299):
            world.worker.work(world.stop)
        rank = world.rows("select max(rank) from wake.run where state = 'succeeded'")[0][0]
        assert entries(world, rank) + 299 <= entries(world, run_claim.BEGINNING)


def entries(world: World, since: object) -> int:
    """How many of the index a claim from there looks at."""
    with world.ledger() as connection, connection.transaction(force_rollback=True):
        connection.execute(run_claim.CLAIM, {"by": "x", "lease": 30.0, "since": since})
        row: Any = connection.execute(
            "select pg_stat_get_xact_tuples_returned('wake.run_rank_idx'::regclass)"
        ).fetchone()
    return row[0]
