"""The SQL of entities, tried on a PostgreSQL: what works at any depth, and where a mistake is said to be."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import psycopg
import pytest

from tests.unit.connectors.source_server import MakeDatabase, make_database, source_server
from wakestream import config, inspection, resolving
from wakestream.capture import Capture
from wakestream.errors import ConfigurationError

__all__ = ["make_database", "source_server"]

DDL = """
create table aircraft (id int primary key, kind text, built date);
create table flight (id int primary key, origin text, departs_at timestamptz, aircraft_id int references aircraft);
create table booking (id int primary key, flight_id int references flight, ref text, fare numeric);
create table bag (booking_id int references booking, n int, weight int, primary key (booking_id, n));
create table payment (id int primary key, ref text, amount numeric, at timestamptz);
"""
HEAD = """\
kafka: {bootstrap_servers: k}
connect: {url: "http://c", secrets: s}
ledger: {url: "postgresql://l"}
sources:
  air:
    capture: postgresql://c
"""
TABLES = """\
    tables: {public.aircraft: {}, public.flight: {}, public.booking: {}, public.bag: {}, public.payment: {}}
entities:
  booking:
    root: air.public.booking
"""
LABELS = [f"public.{name}" for name in ("aircraft", "flight", "booking", "bag", "payment")]


def resolved(
    directory: Path, url: str, text: str, tables: str = TABLES, labels: Sequence[str] = tuple(LABELS)
) -> Capture:
    path = directory / "wake.yaml"
    path.write_text(HEAD + tables + text)
    with psycopg.connect(url) as connection:
        catalogue = inspection.read_catalogue(connection, "air", labels)
        return resolving.resolve(config.load(path, {}), "air", catalogue, connection)


def test_sql_may_speak_of_every_row_that_is_there(make_database: MakeDatabase, tmp_path: Path) -> None:
    text = """\
    include:
      late_others:
        {table: public.flight, many: true, where: "late_others.origin = flight.origin and flight__aircraft.kind = 'A'",
         order: late_others.departs_at desc, limit: 3}
      flight:
        include:
          aircraft: {}
          siblings:
            table: public.booking
            many: true
            where: flight__siblings.id <> booking.id
            via: flight_id
            limit: 5
            include: {bags: {table: public.bag, many: true, limit: 2, order: flight__siblings__bags.weight}}
      newest: {table: public.payment, match: {ref: ref}, order: newest.at desc}
      payments: {table: public.payment, many: true, match: {ref: ref}, where: payments.amount > booking.fare, limit: 9}
    compute:
      age: "date '2026-01-01' - flight__aircraft.built"
      paid: (select sum((p ->> 'amount')::numeric) from jsonb_array_elements(payments.rows) p)
      crowd: jsonb_array_length(flight__siblings.rows)
      last_paid: newest.amount
"""
    entity = resolved(tmp_path, make_database(DDL), text).entities["booking"]
    assert {each.name: each.type for each in entity.computed} == {
        "age": "int4",
        "paid": "numeric",
        "crowd": "int4",
        "last_paid": "numeric",
    }
    assert {".".join(each.name for each in chain): chain[-1].watch for chain in entity.chains()} == {
        "flight": True,
        "flight.aircraft": True,
        "flight.siblings": False,
        "flight.siblings.bags": False,
        "newest": True,
        "payments": False,
        "late_others": False,
    }


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (
            "    include: {x: {table: public.bag, match: {n: ref}}}",
            "11:45: operator does not exist: integer = text",
        ),
        (
            "    include: {bags: {table: public.bag, many: true, limit: 2, where: bags.wait > 3}}",
            "11:70: column bags.wait does not exist",
        ),
        (
            "    include: {flight: {include: {f: {table: public.bag, many: true, where: f.n > 1, limit: 1}}}}",
            '11:76: missing FROM-clause entry for table "f"',
        ),
        (
            "    include: {bags: {table: public.bag, many: true, limit: 2, order: random()}}",
            "11:70: random() gives another answer another time",
        ),
        (
            "    include: {flight: {}}\n    compute: {x: aircraft.kind}",
            '12:18: missing FROM-clause entry for table "aircraft"',
        ),
    ],
)
def test_a_mistake_is_said_where_it_stands(
    make_database: MakeDatabase, tmp_path: Path, text: str, problem: str
) -> None:
    with pytest.raises(ConfigurationError) as caught:
        resolved(tmp_path, make_database(DDL), text + "\n")
    (found,) = caught.value.problems
    assert found.removeprefix(f"{tmp_path}/wake.yaml:").startswith(problem)


OTHER_DDL = """
create extension citext;
create type urgency as enum ('low', 'high', 'critical');
create table city (code citext primary key, name text);
create table customer (id int primary key, name text, email text, label text generated always as (name || '!') stored);
create table trip (
    id int primary key, customer_id int references customer, city citext references city, at timestamptz,
    urgent urgency, n int, note text
);
create table job (id int primary key, trip_id int references trip, urgent urgency, x text);
"""
OTHER_TABLES = """\
    tables: {public.city: {}, public.customer: {mask: {email: email}}, public.trip: {}, public.job: {}}
entities:
  trip:
    root: air.public.trip
"""


OTHER_LABELS = [f"public.{name}" for name in ("city", "customer", "trip", "job")]


def others(directory: Path, url: str, text: str) -> Capture:
    return resolved(directory, url, text, OTHER_TABLES, OTHER_LABELS)


JOBS = "{table: public.job, many: true, limit: 5"


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("compute: {x: \"trip.at > 'now'\"}", "'now' is another time whenever it is read"),
        ("compute: {x: \"trip.at > timestamptz ' Today '\"}", "' Today ' is another time whenever it is read"),
        ("compute: {x: \"trip.at::date > cast('yesterday' as date)\"}", "'yesterday' is another time"),
        ("compute: {x: \"trip.at > 'tomorrow 10:00+00'\"}", "'tomorrow 10:00+00' is another time"),
        ('compute: {x: "trip.at::date = $$today$$::date"}', "$$today$$ is another time"),
        ("compute: {x: \"(trip.urgent) > 'low'\"}", "`trip.urgent` is an enum"),
        ("compute: {x: \"greatest(trip.urgent, 'low')\"}", "`trip.urgent` is an enum"),
        ("compute: {x: \"trip.city is distinct from 'fra'\"}", "`trip.city` is citext"),
        ("compute: {x: age(trip.at)}", "age() gives another answer another time"),
        ("compute: {x: trip.at > current_timestamp(0)}", "current_timestamp gives another answer another time"),
        ("compute: {x: (select count(*) from pg_stat_activity)}", "it reads pg_stat_get_activity()"),
        ("compute: {x: (select count(*) from pg_class c where c.oid = trip.id)}", "it reads pg_catalog.pg_class"),
        (
            f"include: {{jobs: {JOBS}, where: exists (select from pg_class)}}}}",
            "it reads pg_catalog.pg_class",
        ),
        ("compute: {x: \"trip.urgent > 'low'\"}", "`trip.urgent` is an enum"),
        ("compute: {x: \"urgent between 'low' and 'high'\"}", "`urgent` is an enum"),
        (f"include: {{jobs: {JOBS}, order: jobs.urgent desc}}}}", "`jobs.urgent` is an enum"),
        (f"include: {{jobs: {JOBS}, order: 'n, urgent'}}}}", "`urgent` is an enum"),
        ("compute: {x: \"trip.city = 'fra'\"}", "`trip.city` is citext"),
        ("include: {city_row: {table: public.city, via: city}}", "the member is found by public.trip.city, which is c"),
        ("include: {city_row: {table: public.city, match: {code: note}}}", "the member is found by public.city.code"),
        ("include: {customer: {fields: [name]}}\n    compute: {x: customer.email}", "is masked, so the entity cannot"),
    ],
)
def test_what_would_be_another_document_than_the_sources_is_refused(
    make_database: MakeDatabase, tmp_path: Path, text: str, problem: str
) -> None:
    with pytest.raises(ConfigurationError) as caught:
        others(tmp_path, make_database(OTHER_DDL), f"    {text}\n")
    assert problem in caught.value.problems[0]


@pytest.mark.parametrize(
    "text",
    [
        "compute: {x: \"trip.note = 'now'\", y: \"'today' || trip.note\"}",
        "compute: {x: \"age(trip.at, timestamptz '2026-01-01')\"}",
        "compute: {x: \"trip.urgent = 'low'\", y: \"array_position(array['low', 'high'], trip.urgent) > 1\"}",
        f"include: {{jobs: {JOBS}, order: \"array_position(array['low', 'high'], jobs.urgent) desc\"}}}}",
        "compute: {x: lower(trip.city) = 'fra', y: \"'fra' = trip.city::text\"}",
        'compute: {x: "trip.note::jsonb @> \'{\\"now\\": 1}\'::jsonb"}',
        'compute: {x: "(select max(g) from generate_series(1, trip.n) g)"}',
        "include: {customer: {fields: [name, email, label]}}\n    compute: {x: trip.n + 1}",
    ],
)
def test_what_is_the_same_everywhere_is_allowed(make_database: MakeDatabase, tmp_path: Path, text: str) -> None:
    assert "trip" in others(tmp_path, make_database(OTHER_DDL), f"    {text}\n").entities
