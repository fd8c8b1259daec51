"""Documents of one transaction show one state of what they have in common: its last, in all of them."""

from __future__ import annotations

from collections.abc import Generator
from itertools import pairwise
from pathlib import Path

import pytest

from tests.harness.comparison import transactions
from tests.harness.processes import ConsumerProcess
from tests.harness.source import AttachedSource, attached
from wakestream.capture import Entity, Member

BOOKINGS = 300
ROUNDS = 12
DDL = f"""
    create table flight (id int primary key, status text, delay int);
    create table booking (id int primary key, flight int not null, note text);
    insert into flight values (1, 'on time', 0), (2, 'on time', 0);
    insert into booking select n, 1, 'n' from generate_series(1, {BOOKINGS}) n;
    insert into booking values (1000, 2, 'n');
"""
SEAT = Entity(
    "seat",
    "public.booking",
    (Member("flight", "public.flight", columns=("flight",), references=("id",), key=("id",)),),
)
Flight = tuple[str, int]


@pytest.fixture
def source(env: dict[str, str]) -> Generator[AttachedSource]:
    with attached(env, DDL, ["public.flight", "public.booking"], entities={"seat": SEAT}) as source:
        yield source


def write(source: AttachedSource, number: int) -> None:
    """A flight, twice, and all its bookings in one transaction; another flight's booking while it is open."""
    with source.connect() as connection, source.connect() as other:
        connection.execute("begin")
        connection.execute("update flight set status = 'unsure', delay = -1 where id = 1")
        connection.execute("update booking set note = %s where flight = 1 and id <= 150", (f"first {number}",))
        other.execute("update booking set note = %s where id = 1000", (f"beside {number}",))
        connection.execute("update flight set status = %s, delay = %s where id = 1", (f"late {number}", number))
        connection.execute("update booking set note = %s where flight = 1 and id > 150", (f"last {number}",))
        connection.execute("commit")


def test_a_flight_and_its_300_bookings_are_never_seen_half(source: AttachedSource, tmp_path: Path) -> None:
    with ConsumerProcess(source.raw_config, tmp_path) as consumer:
        consumer.start()
        source.wait_mirrored()
        for number in range(1, ROUNDS + 1):
            write(source, number)
            if number % 4 == 0:
                consumer.kill()
                consumer.start()
        source.wait_applied()
        assert consumer.stop() == 0
    context = source.context()
    context.verify_contract()
    told = [events for events in transactions(context, "entity.changed") if len(events) > 1]
    assert [sorted(each.data["key"]["id"] for each in events) for events in told] == [
        [*range(1, BOOKINGS + 1)]
    ] * ROUNDS
    seen = [("on time", 0), *((f"late {number}", number) for number in range(1, ROUNDS + 1))]
    for events, (before, after) in zip(told, pairwise(seen), strict=True):
        assert {flight(each.data["before"]) for each in events} == {before}
        assert {flight(each.data["after"]) for each in events} == {after}
        notes = {each.data["key"]["id"]: each.data["after"]["note"] for each in events}
        assert notes == {n: f"{'first' if n <= 150 else 'last'} {after[1]}" for n in range(1, BOOKINGS + 1)}


def flight(document: dict[str, dict[str, object]]) -> Flight:
    """What a booking's document shows of its flight."""
    row = document["flight"]
    assert row["id"] == 1
    return str(row["status"]), int(str(row["delay"]))
