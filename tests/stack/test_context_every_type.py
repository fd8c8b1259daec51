"""Every type that PostgreSQL can hold, through the real stack: events say what `to_jsonb` says, or name what they lack.

Hypothesis makes the rows, a part of which the snapshot reads; all are updated and deleted. What may be missing is a
closed list, the one of `tests.harness.types` and of the page.
"""

from __future__ import annotations

import os
import random
import re
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import psycopg
import pytest
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st
from psycopg import sql

from tests.harness import types
from tests.harness.agent import own_database
from tests.harness.context import Raw, exact
from tests.harness.processes import ConsumerProcess
from tests.harness.source import AttachedSource, Connection, attached
from tests.harness.stack import REPOSITORY
from tests.harness.types import Rule, TypeSpec

SEED = int(os.environ["WAKE_SEED"])
EXAMPLES = 24  # rows of each table
FILLED = 8  # and so many without any NULL
TOGETHER = 20  # rows of one transaction
SHORT = 20  # bytes; a value that has no more is never stored out of line
LONG = 1000  # bytes; what stands here for the length of a value that is compressed

PAGE = (REPOSITORY / "docs/reference/types.md").read_text()
TABLES = types.tables()

Values = dict[str, str | None]
Image = dict[str, Any]


@dataclass
class Life:
    """One row: what it is made of, and what PostgreSQL says of it at each stage."""

    number: int
    values: Values
    update: Values
    images: list[Image] = field(default_factory=list[Image])
    """After the insert and after the update."""
    nested: list[frozenset[str]] = field(default_factory=list[frozenset[str]])
    """The columns with arrays of arrays, at the same times."""
    sizes: dict[str, int] = field(default_factory=dict[str, int])
    """How many bytes the values of types without a fixed length have before the update."""
    outside: set[str] = field(default_factory=set[str])
    """Those of them that are out of line then."""


def row_strategy(label: str, *, filled: bool) -> st.SearchStrategy[tuple[Values, Values]]:
    made = {name: types.arrays(spec) if array else spec.made for name, spec, array in TABLES[label]}
    values = made if filled else {name: st.one_of(st.none(), *[each] * 6) for name, each in made.items()}
    return st.tuples(st.fixed_dictionaries(values), st.fixed_dictionaries({}, optional=values))


def lives(label: str) -> list[Life]:
    """Rows of one table."""
    made: list[Life] = []
    for count, filled in ((FILLED, True), (EXAMPLES, False)):

        @seed(SEED)
        @settings(
            max_examples=count,
            database=None,
            deadline=None,
            phases=(Phase.generate,),
            suppress_health_check=[*HealthCheck],
        )
        @given(row_strategy(label, filled=filled))
        def collect(row: tuple[Values, Values]) -> None:
            made.append(Life(len(made), *row))

        collect()
    return made


def say(connection: Connection, label: str, query: sql.Composable, values: Sequence[object], life: Life) -> None:
    """Execute a statement that returns the row, and remember what it is now."""
    dimensions = sql.SQL(", ").join(
        sql.SQL("array_ndims({})").format(sql.Identifier(name)) if array else sql.SQL("null::int")
        for name, _, array in TABLES[label]
    )
    returning = sql.SQL("{} returning to_jsonb(t.*)::text, array[{}]").format(query, dimensions)
    row = connection.execute(returning, values).fetchone()
    assert row is not None
    life.images.append(exact(row[0]))
    names = [name for name, _, _ in TABLES[label]]
    life.nested.append(frozenset(name for name, dims in zip(names, row[1], strict=True) if dims and dims > 1))


def insert(connection: Connection, label: str, life: Life) -> None:
    filler = random.Random(life.number).randbytes(1500).hex() if life.number % 3 else None
    query = sql.SQL("insert into {} as t (id, filler, {}) values (%s, %s, {})").format(
        sql.Identifier(*label.split(".")),
        sql.SQL(", ").join(map(sql.Identifier, life.values)),
        sql.SQL(", ").join([sql.SQL("%s")] * len(life.values)),
    )
    say(connection, label, query, [life.number, filler, *life.values.values()], life)


def update(connection: Connection, label: str, life: Life) -> None:
    table = sql.Identifier(*label.split("."))
    varlena = "select a.attname::text from pg_attribute a where a.attrelid = %s::regclass and a.attlen = -1"
    names = [name for (name,) in connection.execute(varlena, (label,)).fetchall()]
    asked = sql.SQL(", ").join(
        sql.SQL("{}({})").format(sql.SQL(function), sql.Identifier(name))
        for function in ("pg_column_size", "pg_column_toast_chunk_id", "pg_column_compression")
        for name in names
    )
    found = connection.execute(sql.SQL("select {} from {} where id = %s").format(asked, table), (life.number,))
    stored, count = found.fetchone() or (), len(names)
    of_each = (stored[:count], stored[count : 2 * count], stored[2 * count :])
    for name, size, chunk, compression in zip(names, *of_each, strict=True):
        life.sizes[name] = LONG if compression else size or 0
        if chunk is not None:
            life.outside.add(name)
    assigned = sql.SQL(", ").join(sql.SQL("{} = %s").format(sql.Identifier(name)) for name in ["id", *life.update])
    query = sql.SQL("update {} as t set {} where id = %s").format(table, assigned)
    say(connection, label, query, [life.number, *life.update.values(), life.number], life)


def together(source: AttachedSource, rows: dict[str, list[Life]], change: Any) -> None:
    with source.connect() as connection:
        for label, listed in rows.items():
            for start in range(0, len(listed), TOGETHER):
                with connection.transaction():
                    for life in listed[start : start + TOGETHER]:
                        change(connection, label, life)


def delete(connection: Connection, label: str, life: Life) -> None:
    query = sql.SQL("delete from {} where id = %s").format(sql.Identifier(*label.split(".")))
    connection.execute(query, (life.number,))


@dataclass(frozen=True)
class Lived:
    """All rows, and the events of each by its subject."""

    rows: dict[str, list[Life]]
    events: dict[str, list[Raw]]


@pytest.fixture(scope="module")
def lived(env: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Generator[Lived]:
    directory: Path = tmp_path_factory.mktemp("every")
    rows = {label: lives(label) for label in TABLES}
    early = {label: each[::2] for label, each in rows.items()}
    late = {label: each[1::2] for label, each in rows.items()}
    with (
        attached(env, types.ddl(), list(TABLES), fill=lambda s: together(s, early, insert)) as source,
        ConsumerProcess(source.raw_config, directory) as consumer,
    ):
        consumer.start()
        source.wait_mirrored()
        together(source, late, insert)
        together(source, rows, update)
        together(source, rows, delete)
        source.wait_applied()
        context = source.context()
        assert source.dead_letters() == []
        assert consumer.stop() == 0
    context.verify_contract()
    events: dict[str, list[Raw]] = {}
    for each in context.unique:
        if each.type.startswith("row."):
            events.setdefault(each.event["subject"], []).append(each)
    yield Lived(rows, events)


def may_lack(rule: Rule, value: Any, nested: bool) -> bool:
    """Whether the closed list lets an event lack a value."""
    elements = cast("list[Any]", value) if isinstance(value, list) else []
    if rule == "infinite or BC":
        return isinstance(value, str) and re.search(r"infinity| BC", value) is not None
    if rule == "no JSON number, nested or only NULLs":
        only = bool(elements) and all(each is None for each in elements)
        return value is None or nested or only or any(each in ("NaN", "Infinity", "-Infinity") for each in elements)
    if rule == "nested or NULL inside":
        return value is None or nested or None in elements
    if rule == "nested or only NULLs":
        return nested or (bool(elements) and all(each is None for each in elements))
    return rule == "always" or (rule == "nested" and nested)


def wrong(label: str, life: Life, stage: int, event: Raw, carried: set[str]) -> list[str]:
    """What of an event's new image is neither as PostgreSQL says nor rightly missing."""
    missing = {path.removeprefix("after.") for path in event.data["missing"] if path.startswith("after.")}
    after, truth = event.data["after"], life.images[stage]
    found = [f"{name} is missing" for name in missing & after.keys()]
    for name, spec, array in TABLES[label]:
        value = truth[name]
        if name not in missing:
            if name not in after or after[name] != value:
                found.append(f"{name} {spec.name}: {after.get(name)!r}, not {value!r}")
            continue
        rule = types.in_array(spec) if array else spec.missing
        unsent = stage == 1 and is_null_in_doubt(life, name, spec, array, carried)
        if not may_lack(rule, value, name in life.nested[stage]) and not unsent:
            found.append(f"{name} {spec.name} is missing and is {value!r}")
    return found


def is_null_in_doubt(life: Life, name: str, spec: TypeSpec, array: bool, carried: set[str]) -> bool:
    """Whether null comes in an update, and the value before it was not known or may have been out of line."""
    if not (spec.unmarked_array if array else spec.unmarked):
        return False
    size = life.sizes.get(name, 0)
    may_stand_outside = size > (0 if spec.encoded and not array else SHORT)
    null_comes = life.images[1][name] is None or (name in life.outside and name not in life.update)
    return null_comes and (may_stand_outside or name in carried)


@pytest.mark.parametrize("label", TABLES)
def test_events_say_what_to_jsonb_says(lived: Lived, label: str) -> None:
    problems: list[str] = []
    for life in lived.rows[label]:
        created, updated, deleted = lived.events[f"{label}/{life.number}"]
        assert (created.type, updated.type, deleted.type) == (
            "row.inserted" if life.number % 2 else "row.read",
            "row.updated",
            "row.deleted",
        )
        first = {p.removeprefix("after.") for p in created.data["missing"] if p != "before"}
        problems += wrong(label, life, 0, created, set())
        problems += wrong(label, life, 1, updated, first)
        for earlier, later in ((created, updated), (updated, deleted)):
            assert later.data["before"] == earlier.data["after"]
            lacking = {path for path in later.data["missing"] if path.startswith("before.")}
            assert lacking == {
                p.replace("after.", "before.", 1) for p in earlier.data["missing"] if p.startswith("after.")
            }
        assert (deleted.data["after"], updated.data["changed"]) == (None, changed(updated.data))
    assert problems == []


def changed(data: dict[str, Any]) -> list[str]:
    before, after = data["before"], data["after"]
    return [name for name in after if name in before and before[name] != after[name]]


def test_values_of_every_type_arrive(lived: Lived) -> None:
    """What is not said to be lost is told for some row, so that `missing` cannot cover what was never looked at."""
    for label, columns in TABLES.items():
        told: set[str] = set()
        for life in lived.rows[label]:
            for event in lived.events[f"{label}/{life.number}"][:2]:
                told |= {name for name, value in event.data["after"].items() if value is not None}
        wanted = {
            name for name, spec, array in columns if (types.in_array(spec) if array else spec.missing) != "always"
        }
        assert wanted - told == set()


ROWS: list[tuple[str, str, str]] = re.findall(r"^\| `([^|]*)` \| ([^|]*) \| ([^|]*) \| [^|]*\|$", PAGE, re.MULTILINE)


def test_the_page_says_what_is_tested() -> None:
    said = {name: (missing.strip(), array.strip()) for name, missing, array in ROWS}
    assert said == {spec.name: (spec.missing, types.in_array(spec)) for spec in types.TYPES}


def test_the_page_names_every_type_that_postgresql_has(env: dict[str, str]) -> None:
    query = (
        "select format_type(t.oid, null) from pg_type t where t.typtype in ('b', 'r', 'm') and t.typcategory <> 'A'"
        " and t.typcategory <> 'Z' and t.typnamespace = 'pg_catalog'::regnamespace and t.typname not like 'pg\\_%%'"
        " or t.typname in ('pg_lsn', 'pg_snapshot') or exists (select from pg_depend d where d.objid = t.oid"
        " and d.deptype = 'e' and d.classid = 'pg_type'::regclass) and t.typtype = 'b' and t.typcategory <> 'A'"
    )
    with plain_database(env) as connection:
        names = {name for (name,) in connection.execute(query, ()).fetchall()}
    internal = {"gtsvector", "ghstore", "ltree_gist", "xml"}  # of indexes; without libxml no value can be made
    assert {name for name in names - internal if f"`{name}" not in PAGE} == set()


@contextmanager
def plain_database(env: dict[str, str]) -> Generator[Connection]:
    """A database with every extension, without a source."""
    with (
        own_database(env["POSTGRES_URL"], f"types{os.getpid()}", owner=None) as url,
        psycopg.connect(url, autocommit=True) as connection,
    ):
        for name in types.EXTENSIONS:
            connection.execute(sql.SQL("create extension {}").format(sql.Identifier(name)))
        yield connection
