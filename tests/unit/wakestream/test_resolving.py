"""Names resolved against a catalogue; that the SQL of entities is tried is shown on the real stack, where it runs."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import msgspec
import psycopg
import pytest

from wakestream import config, resolving, resolving_sql
from wakestream.capture import Capture, Member
from wakestream.catalogue import Catalogue, Column, ForeignKey, Table
from wakestream.errors import ConfigurationError

HEAD = """\
kafka: {bootstrap_servers: k}
connect: {url: "http://c", secrets: s}
ledger: {url: "postgresql://l"}
sources:
  air:
    capture: postgresql://c
    tables:
"""
TABLES = """\
      public.flight: {}
      public.booking: {}
      public.customer: {exclude: [passport_no], mask: {email: hash}, untrusted: [name]}
entities:
  booking:
    root: air.public.booking
    include:
"""


def column(name: str, base: str = "int4", **more: Any) -> Column:
    return Column(name, more.pop("type", base), base, **more)


FLIGHT = Table("public", "flight", (column("id"), column("status", "text")), ("id",))
CUSTOMER = Table(
    "public",
    "customer",
    (column("id"), column("name", "text"), column("email", "text"), column("passport_no", "text")),
    ("id",),
)
BOOKING = Table(
    "public",
    "booking",
    (column("id"), column("customer_id"), column("flight_id"), column("first_flight_id"), column("email", "text")),
    ("id",),
    foreign_keys=(
        ForeignKey("booking_customer", ("customer_id",), "public.customer", ("id",)),
        ForeignKey("booking_flight", ("flight_id",), "public.flight", ("id",)),
        ForeignKey("booking_first_flight", ("first_flight_id",), "public.flight", ("id",)),
    ),
)


class NamesOnly:
    """A source that tells which tables it has and answers nothing else."""

    def execute(self, query: str) -> NamesOnly:
        assert "pg_tables" in query
        return self

    def fetchall(self) -> list[tuple[str]]:
        return [("public.flight",), ("public.booking",), ("public.customer",)]


def resolved(directory: Path, text: str, *tables: Table) -> Capture:
    path = directory / "wake.yaml"
    path.write_text(HEAD + text)
    known = {table.label: table for table in tables or (FLIGHT, CUSTOMER, BOOKING)}
    connection = cast("psycopg.Connection[Any]", NamesOnly())
    return resolving.resolve(config.load(path, {}), "air", Catalogue("air", "1", 1, 180000, known), connection)


def refused(directory: Path, text: str, *tables: Table) -> list[str]:
    """The problems, as `line:column: text`."""
    with pytest.raises(ConfigurationError) as caught:
        resolved(directory, text, *tables)
    return [problem.removeprefix(f"{directory}/wake.yaml:") for problem in caught.value.problems]


def test_members_follow_foreign_keys(tmp_path: Path) -> None:
    members = ("customer: {}", "flight: {via: flight_id}", "first: {table: public.flight, via: booking_first_flight}")
    found = resolved(tmp_path, TABLES + "".join(f"      {member}\n" for member in members))
    assert found.entities["booking"].members == (
        Member("customer", "public.customer", columns=("customer_id",), references=("id",), key=("id",)),
        Member("flight", "public.flight", columns=("flight_id",), references=("id",), key=("id",)),
        Member("first", "public.flight", columns=("first_flight_id",), references=("id",), key=("id",)),
    )
    assert found.tables["public.customer"].mask == {"email": "hash"}
    assert found.tables["public.customer"].untrusted == ("name",)


def test_the_placeholder_is_random_unless_it_is_given() -> None:
    assert resolving.new_placeholder() != resolving.new_placeholder()
    assert resolving.new_placeholder().startswith("wake_")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"key": ()}, "or say `replica_identity: full` here and run `wake apply --allow replica-identity`"),
        (
            {"key": (), "kind": "partitioned", "replica_identity": "full"},
            "a replica identity of its own; add a key",
        ),
        ({"kind": "unlogged"}, "`alter table public.flight set logged`"),
        ({"kind": "view"}, "public.flight is a view, which has no changes of its own"),
        ({"kind": "foreign"}, "public.flight is a foreign, which has no changes of its own"),
        ({"replica_identity": "nothing"}, "replica identity nothing, so updates and deletes cannot be published"),
        ({"replica_identity": "index"}, "`alter table public.flight replica identity default`"),
        ({"columns": (column("id", "point"),)}, "the key column `id` of public.flight has a type that does not arrive"),
    ],
)
def test_tables_that_cannot_be_captured(tmp_path: Path, change: dict[str, Any], said: str) -> None:
    (problem,) = refused(tmp_path, "      public.flight: {}\n", msgspec.structs.replace(FLIGHT, **change))
    assert problem.startswith("8:7: ")
    assert said in problem


@pytest.mark.parametrize(
    ("name", "said"),
    [("fli.ght", "names with a dot cannot be captured"), ("fli,ght", "has a dot or a comma in its name")],
)
def test_names_that_debezium_would_cut(tmp_path: Path, name: str, said: str) -> None:
    (problem,) = refused(tmp_path, f"      'public.{name}': {{}}\n", msgspec.structs.replace(FLIGHT, name=name))
    assert said in problem


@pytest.mark.parametrize(
    ("settings", "problem"),
    [
        ("exclude: [nam]", "8:35: public.customer has no column `nam`; did you mean `name`?"),
        ("untrusted: [nme]", "8:37: public.customer has no column `nme`; did you mean `name`?"),
        ("mask: {emial: hash}", "8:32: public.customer has no column `emial`; did you mean `email`?"),
        ("exclude: [id]", "8:35: `id` is in the primary key of public.customer and cannot be excluded; remove it here"),
        (
            "mask: {id: hash}",
            "8:32: `id` is in the primary key of public.customer and cannot be masked; remove it here",
        ),
    ],
)
def test_columns(tmp_path: Path, settings: str, problem: str) -> None:
    assert refused(tmp_path, f"      public.customer: {{{settings}}}\n") == [problem]


@pytest.mark.parametrize(
    ("member", "problem"),
    [
        ("flight: {}", "15:7: public.booking has several foreign keys to public.flight: write `via: flight_id`, "),
        ("flight: {via: flght_id}", "15:16: no foreign key `flght_id` from public.booking to public.flight; did you"),
        ("client: {}", "15:7: no captured table `public.client` in `air`"),
        (
            "x: {table: public.bookin}",
            "15:11: no captured table `public.bookin` in `air`; did you mean `public.booking`?",
        ),
        (
            "again: {table: public.booking}",
            "15:7: public.booking has no foreign key to public.booking; use `match`, or `many: true` with",
        ),
        ("email: {table: public.customer}", "15:7: `email` is a column of public.booking; choose another name"),
        ("booking: {}", "15:7: `booking` is the entity itself; choose another name"),
    ],
)
def test_members_that_cannot_be_found(tmp_path: Path, member: str, problem: str) -> None:
    (found,) = refused(tmp_path, f"{TABLES}      {member}\n")
    assert found.startswith(problem)


def test_a_masked_foreign_key_cannot_be_followed(tmp_path: Path) -> None:
    text = TABLES.replace("public.booking: {}", "public.booking: {mask: {customer_id: hash}}") + "      customer: {}\n"
    (found,) = refused(tmp_path, text)
    assert found == (
        "15:7: the member is found by public.booking.customer_id, which is excluded or masked; remove that"
    )


def test_documents_need_mirrors(tmp_path: Path) -> None:
    text = TABLES.replace("public.flight: {}", "public.flight: {mirror: false}") + "      flight: {via: flight_id}\n"
    assert refused(tmp_path, text) == [
        "15:7: public.flight has `mirror: false`, and documents come from mirrors; remove that"
    ]


def test_a_misspelt_table_is_said_once(tmp_path: Path) -> None:
    text = TABLES.replace("public.flight:", "public.flihgt:") + "      flight: {via: flight_id}\n"
    assert refused(tmp_path, text) == [
        "8:7: no table `public.flihgt` in the database of `air`; did you mean `public.flight`?"
    ]


def test_lists_follow_foreign_keys_to_the_row_above(tmp_path: Path) -> None:
    text = TABLES.replace("root: air.public.booking", "root: air.public.customer").replace(
        "  booking:\n", "  person:\n"
    )
    member = "trips: {table: public.booking, many: true, limit: 9, watch: true, fan_out: 5, fields: [email],"
    found = resolved(tmp_path, f"{text}      {member} include: {{flight: {{via: flight_id, fields: [status]}}}}}}\n")
    flight = Member(*("flight", "public.flight", False, ("flight_id",), ("id",)), fields=("id", "status"), key=("id",))
    assert found.entities["person"].members == (
        Member(
            *("trips", "public.booking", True, ("id",), ("customer_id",)),
            limit=9,
            fields=("id", "email"),
            fan_out=5,
            key=("id",),
            members=(flight,),
        ),
    )
    assert [[member.name for member in chain] for chain in found.entities["person"].chains()] == [
        ["trips"],
        ["trips", "flight"],
    ]
    assert found.entities["person"].tables == {"public.customer", "public.booking", "public.flight"}


@pytest.mark.parametrize(
    ("member", "problem"),
    [
        (
            "first: {table: public.flight, via: booking_first_flight, fields: [id, state]}",
            "15:77: public.flight has no",
        ),
        ("customer: {fields: [name, passport_no]}", "15:33: `passport_no` of public.customer is excluded; remove it"),
        ("customer: {include: {name: {table: public.flight, match: {id: id}}}}", "15:28: `name` is a column of public"),
        ("customer: {include: {seats: {}}}", "15:28: no captured table `public.seats` in `air`"),
        (
            "x: {table: public.flight, match: {idd: flight_id}}",
            "15:41: public.flight has no column `idd`; did you mean",
        ),
        ("x: {table: public.flight, match: {id: flight}}", "15:41: public.booking has no column `flight`"),
        ("x: {table: public.customer, match: {email: email}}", "15:7: the member is found by public.customer.email"),
    ],
)
def test_what_is_wrong_below_a_member_is_said_at_its_place(tmp_path: Path, member: str, problem: str) -> None:
    (found,) = refused(tmp_path, f"{TABLES}      {member}\n")
    assert found.startswith(problem)


def test_a_name_that_is_too_long_for_sql(tmp_path: Path) -> None:
    flight = "table: public.flight, match: {id: id}"
    inner = f"{{{flight}, include: {{{'g' * 20}: {{{flight}}}}}}}"
    (found,) = refused(tmp_path, f"{TABLES}      customer: {{include: {{{'f' * 33}: {inner}}}}}\n")
    assert f"`customer__{'f' * 33}__{'g' * 20}` is too long a name for SQL; choose shorter names" in found


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("a.x > 1 and lower(a.y) = 'now()' -- random()", []),
        ("a.x > now()", [("now()", 6)]),
        ("a.x > current_date", [("current_date", 6)]),
        ("a.user = 1 or a.current_date = 2", []),
        ("exists (select 1) and a.b in (1) and $$ random() $$ = 'x'", []),
        ('pg_catalog."random" () > 0', [("random()", 12)]),
        ("/* now() */ RANDOM()", [("random()", 12)]),
        ("a.x > current_timestamp(0)", [("current_timestamp", 6)]),
        ("a.x > LocalTimestamp (3)", [("localtimestamp", 6)]),
        ("age(a.x) > a.y", [("age()", 0)]),
        ("age(greatest(a.x, a.y))", [("age()", 0)]),
        ("age(a.x, greatest(a.y, a.z))", []),
    ],
)
def test_what_gives_another_answer_another_time(text: str, found: list[tuple[str, int]]) -> None:
    volatile = {"now", "random"}
    assert list(resolving_sql._fickle(text, volatile.__contains__)) == found
