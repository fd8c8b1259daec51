"""Flights and bookings in the database that actions change, with a witness, and the fences of decisions about them."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

import msgspec
import psycopg

from agent.effects.outcome import Pending
from agent.effects.sql import SqlPlan
from wakestream.events import Cause
from wakestream.fences import Fence, FencedRow

KEY = b"k" * 32
FLIGHTS, BOOKINGS = 40, 500

DDL = """
drop schema if exists race cascade;
create schema race;
create table race.flight (id int primary key, status text not null, fare numeric(10,2) not null, at timestamptz);
create table race.booking (id int primary key, flight_id int not null, status text not null, note text);
create table race.witness (booking int, flight int, flight_status text, fare text, booking_status text);
create function race.witness() returns trigger language plpgsql as $$
declare seen race.flight;
begin
  perform count(*) from generate_series(1, 8000);
  select * into seen from race.flight where id = old.flight_id;
  insert into race.witness values (old.id, seen.id, seen.status, seen.fare::text, old.status);
  return new;
end $$;
create trigger witness before update of flight_id on race.booking for each row execute function race.witness();
"""


@contextmanager
def made_source(url: str) -> Generator[psycopg.Connection[Any]]:
    """The tables with their rows, dropped afterwards."""
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(DDL.encode())
        connection.execute("insert into race.flight select n, 'delayed', 100, now() from generate_series(1, 40) n")
        connection.execute(
            "insert into race.booking select n, n % 40 + 1, 'confirmed', null from generate_series(1, 500) n"
        )
        yield connection
        connection.execute("drop schema race cascade")


def identifier(source: psycopg.Connection[Any]) -> str:
    row = source.execute("select system_identifier::text from pg_control_system()").fetchone()
    assert row
    return row[0]


def fence(source: psycopg.Connection[Any], *rows: FencedRow) -> Fence:
    return Fence("airline", identifier(source), 1, 1, list(rows))


def flight(number: int, **values: Any) -> FencedRow:
    return FencedRow("race.flight", {"id": number}, f"race.flight/{number}", values)


def booking(number: int, **values: Any) -> FencedRow:
    return FencedRow("race.booking", {"id": number}, f"race.booking/{number}", values)


MOVE = "update race.booking set flight_id = :to where id = :id"


def pending(made: Fence, number: int = 1, *, statement: str = MOVE, **more: Any) -> Pending:
    values = {name: value for name, value in {"to": 40, "id": number}.items() if f":{name}" in statement}
    plan = SqlPlan(connection="ops", statement=statement, values=values, text="", timeout_s=5.0, rows=1)
    cause = Cause(f"a/{number}", "a", "t", (f"booking/{number}",), 1)
    return Pending(f"a/{number}", "move", msgspec.structs.asdict(plan), cause, None, made, **more)
