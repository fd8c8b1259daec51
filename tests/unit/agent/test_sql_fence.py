"""The fence of an SQL action, held on a real PostgreSQL."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

import msgspec
import psycopg
import pytest

from agent.effects.outcome import MOVED, Stale, Succeeded
from agent.effects.sql import SqlEffect
from tests.unit.agent.conftest import Databases
from tests.unit.agent.race import KEY, booking, fence, flight, made_source, pending
from wakestream.fences import Fence, Present


@pytest.fixture
def source(databases: Databases) -> Generator[psycopg.Connection[Any]]:
    with made_source(databases.ops) as connection:
        yield connection


@pytest.fixture
def effect(databases: Databases) -> SqlEffect:
    return SqlEffect({"ops": databases.ops}, KEY, lambda _: False, {"airline": databases.ops})


def nothing(_: dict[str, Any]) -> None:
    """An intent that is not looked at."""


def moved_to(source: psycopg.Connection[Any], number: int = 1) -> int:
    row = source.execute("select flight_id from race.booking where id = %s", (number,)).fetchone()
    assert row
    return row[0]


def test_what_holds_is_locked_and_done(effect: SqlEffect, source: psycopg.Connection[Any]) -> None:
    made = fence(source, booking(1, flight_id=2, status="confirmed"), flight(2, status="delayed", fare=100))
    outcome = effect.execute(pending(made), nothing)
    assert isinstance(outcome, Succeeded)
    assert outcome.result["fence"] == "locked"
    assert moved_to(source) == 40


def test_what_has_changed_is_stale_and_rolled_back(effect: SqlEffect, source: psycopg.Connection[Any]) -> None:
    source.execute("update race.flight set status = 'cancelled', fare = 120.5 where id = 2")
    source.execute("delete from race.booking where id = 7")
    made = fence(source, booking(7, status="confirmed"), flight(2, status="delayed", fare=100))
    assert effect.execute(pending(made), nothing) == Stale(
        (
            "race.booking/7 is gone",
            'race.flight/2 status: "delayed" -> "cancelled"',
            "race.flight/2 fare: 100 -> 120.50",
        )
    )
    assert moved_to(source) == 2


def test_nobody_changes_the_rows_between_comparison_and_commit(
    effect: SqlEffect, source: psycopg.Connection[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    refused: list[str] = []

    def change(point: str) -> None:
        if point == "agent.6.before_commit":
            source.execute("set lock_timeout = '50ms'")
            with pytest.raises(psycopg.errors.LockNotAvailable):
                source.execute("update race.flight set status = 'cancelled' where id = 2")
            refused.append(point)

    monkeypatch.setattr("agent.effects.sql.reach", change)
    outcome = effect.execute(pending(fence(source, flight(2, status="delayed"))), nothing)
    assert isinstance(outcome, Succeeded)
    assert refused == ["agent.6.before_commit"]


def test_a_row_that_somebody_is_changing_is_waited_for(
    effect: SqlEffect, source: psycopg.Connection[Any], databases: Databases
) -> None:
    with psycopg.connect(databases.ops) as other:
        other.execute("update race.flight set status = 'cancelled' where id = 2")
        with ThreadPoolExecutor(1) as pool:
            waiting = pool.submit(effect.execute, pending(fence(source, flight(2, status="delayed"))), nothing)
            while not source.execute("select 1 from pg_locks where not granted").fetchone():
                assert not waiting.done(), waiting.result()
            other.commit()
            assert waiting.result() == Stale(('race.flight/2 status: "delayed" -> "cancelled"',))


@contextmanager
def role(source: psycopg.Connection[Any], databases: Databases, *grants: str) -> Iterator[SqlEffect]:
    source.execute("create role modest login password 'modest'")
    source.execute("grant usage on schema race to modest")
    source.execute("grant select, update on race.booking to modest")
    source.execute("grant insert on race.witness to modest")
    source.execute("alter function race.witness() security definer")
    for grant in grants:
        source.execute(grant.encode())
    parts = urlsplit(databases.ops)
    url = parts._replace(netloc=f"modest:modest@{parts.hostname}:{parts.port}").geturl()
    try:
        yield SqlEffect({"ops": url}, KEY, lambda _: False, {"airline": databases.ops})
    finally:
        source.execute("drop owned by modest")
        source.execute("drop role modest")


def test_where_the_role_may_not_lock_it_says_so(source: psycopg.Connection[Any], databases: Databases) -> None:
    made = fence(source, booking(1, status="confirmed"), flight(2, status="delayed"))
    with role(source, databases, "grant select on race.flight to modest") as effect:
        outcome = effect.execute(pending(made), nothing)
        assert isinstance(outcome, Succeeded)
        assert outcome.result["fence"] == "compared, not locked"
        source.execute("update race.flight set status = 'cancelled' where id = 2")
        assert isinstance(effect.execute(pending(made), nothing), Stale)


def test_what_the_role_may_not_read_the_store_is_asked(source: psycopg.Connection[Any], databases: Databases) -> None:
    made = fence(source, booking(1, status="confirmed"), flight(2, status="delayed"))
    with role(source, databases) as effect:
        same = Present((), (), False, ({"status": "confirmed"}, {"status": "delayed"}))
        outcome = effect.execute(pending(made, compare=lambda: same), nothing)
        assert isinstance(outcome, Succeeded)
        assert outcome.result["fence"] == "compared, not locked"
        other = same._replace(images=({"status": "confirmed"}, {"status": "cancelled"}))
        assert effect.execute(pending(made, compare=lambda: other), nothing) == Stale(
            ('race.flight/2 status: "delayed" -> "cancelled"',)
        )
        untold = same._replace(untold=("race.flight: its mirror is not complete",))
        outcome = effect.execute(pending(made, 2, compare=lambda: untold), nothing)
    assert isinstance(outcome, Succeeded)
    assert outcome.result["fence"] == ("compared, not locked; not compared: race.flight: its mirror is not complete")


def test_another_database_is_no_home(effect: SqlEffect, source: psycopg.Connection[Any]) -> None:
    made = replace_identifier(fence(source, flight(2, status="delayed")))
    same = Present((), (), False, ({"status": "delayed"},))
    outcome = effect.execute(pending(made, compare=lambda: same), nothing)
    assert isinstance(outcome, Succeeded)
    assert outcome.result["fence"] == "compared, not locked"


def replace_identifier(made: Fence) -> Fence:
    return msgspec.structs.replace(made, system_identifier="1")


def test_what_the_statement_makes_of_rows_that_later_actions_rest_on_is_recorded(
    effect: SqlEffect, source: psycopg.Connection[Any]
) -> None:
    intents: list[dict[str, Any]] = []
    later = fence(source, booking(1, flight_id=2, status="confirmed"), booking(3, status="confirmed"))
    outcome = effect.execute(pending(fence(source, flight(2, status="delayed")), later=(later,)), intents.append)
    assert isinstance(outcome, Succeeded)
    assert len(intents) == 2
    was = {"flight_id": 2, "status": "confirmed"}
    assert intents[1] == {**intents[0], MOVED: [("race.booking/1", was, was | {"flight_id": 40})]}


def test_the_statement_finds_the_settings_of_its_role(source: psycopg.Connection[Any], effect: SqlEffect) -> None:
    source.execute("alter database ops set timezone = 'Asia/Tokyo'")
    try:
        statement = "update race.booking set note = current_setting('timezone') where id = :id"
        effect.execute(pending(fence(source, flight(2, status="delayed")), statement=statement), nothing)
        assert source.execute("select note from race.booking where id = 1").fetchone() == ("Asia/Tokyo",)
    finally:
        source.execute("alter database ops reset timezone")


def test_timestamps_are_compared_as_events_have_them(effect: SqlEffect, source: psycopg.Connection[Any]) -> None:
    source.execute("update race.flight set at = '2026-11-22 15:00+01' where id = 2")
    seen = "2026-11-22T14:00:00+00:00"
    assert isinstance(effect.execute(pending(fence(source, flight(2, at=seen))), nothing), Succeeded)
