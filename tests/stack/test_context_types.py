"""Every everyday type through the whole path, in the snapshot and in the stream: what `to_jsonb` says, or `missing`."""

from __future__ import annotations

from collections.abc import Generator, Mapping
from pathlib import Path

import pytest
from psycopg import sql

from tests.harness.context import Raw, exact
from tests.harness.processes import ConsumerProcess
from tests.harness.source import AttachedSource, Connection, attached

# By type: a common value, and one that is not. Days of the old calendar are left out: Debezium moves them.
SCALARS: Mapping[str, tuple[str, str]] = {
    "boolean": ("true", "false"),
    "int2": ("-32768", "32767"),
    "int4": ("-2147483648", "7"),
    "int8": ("-9223372036854775808", "9007199254740993"),
    "oid": ("4294967295", "0"),
    "real": ("1.1", "NaN"),
    "float8": ("0.1", "-Infinity"),
    "numeric": ("123456789012345678901234567890.1234567890", "NaN"),
    "numeric(10, 2)": ("12.50", "-0.01"),
    "text": ('naïve 日本 🛫 "quoted" \\ it\'s', ""),
    "varchar(20)": ("a\tb\nc", "null"),
    "char(5)": ("ab", ""),
    "uuid": ("a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11", "00000000-0000-0000-0000-000000000000"),
    "mood": ("sad", "it's ok"),
    "date": ("2024-02-29", "12345-06-07"),
    "time": ("12:34:56.789012", "00:00"),
    "time(3)": ("12:34:56.789", "23:59:59.999"),
    "timestamp": ("2024-02-29 12:34:56.789012", "1582-10-15 00:00"),
    "timestamp(0)": ("2024-02-29 12:34:56", "12345-06-07 08:09:10"),
    "timestamptz": ("2024-02-29 12:34:56.789012+02", "0044-03-15 10:00:00+00 BC"),
    "timestamptz(3)": ("2024-02-29 12:34:56.789+02", "infinity"),
    "interval": ("1 year -2 days 04:05:06.78", "-1 mon +2 days -00:00:00.000001"),
    "json": ('{"b": 1.50, "a": [null, {"c": []}], "b": 2}', "null"),
    "jsonb": ('{"b": 1.50, "a": [null, {"c": []}]}', '"text"'),
    "bytea": ("\\x00ff10", "\\x"),
}
ARRAYS = (
    *("boolean", "int2", "int4", "int8", "oid", "real", "float8", "numeric", "text", "varchar(20)", "char(5)", "uuid"),
    *("mood", "date", "timestamp", "timestamptz", "json", "jsonb", "bytea"),
)
# What cannot be known: by row, the types of its column.
LOST_ALWAYS = {"generated", "time[]", "interval[]"}
NESTED_AS_NULLS = {"boolean", "int2", "int4", "int8", "oid", "real", "float8", "numeric", "date", "timestamp"} | {
    *("timestamptz", "bytea")
}
LOST: Mapping[str, set[str]] = {
    "common": set(),
    "special": {"mood[]"},  # it has a NULL
    "null": {"numeric[]", "mood[]"},
    "nulls": {"mood[]", *(f"{base}[]" for base in NESTED_AS_NULLS)},
    "nested": {f"{base}[]" for base in ARRAYS},
    "infinite": {"date", "timestamp", "timestamp(0)", "date[]", "timestamp[]", "numeric[]"},
}


def column(type_name: str) -> str:
    """The name of the column that has this type."""
    return "".join(each if each.isalnum() else "_" for each in type_name)


def literal(value: str) -> str:
    escaped = value.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def array(type_name: str, row: str) -> str | None:
    first, second = SCALARS[type_name]
    # NaN in an array is in the row `infinite`; days before Christ come out of arrays as days after, without a sign.
    second = {"numeric": "1E+3", "timestamptz": "infinity"}.get(type_name, second)
    return {
        "common": f"{{{literal(first)},{literal(second)}}}",
        "special": f"{{NULL,{literal(second)},NULL}}",
        "null": None,
        "nulls": "{NULL,NULL}",
        "nested": f"{{{{{literal(first)}}},{{{literal(second)}}}}}",
        "infinite": {"date": "{infinity}", "timestamp": "{-infinity}", "numeric": "{NaN,1}"}.get(type_name, "{}"),
    }[row]


def scalar(type_name: str, row: str) -> str | None:
    first, second = SCALARS[type_name]
    infinite = {"date": "-infinity", "timestamp": "infinity", "timestamp(0)": "0001-12-31 10:00 BC"}
    return {"null": None, "special": second, "infinite": infinite.get(type_name, first)}.get(row, first)


VALUES = {
    row: {
        **{column(name): scalar(name, row) for name in SCALARS},
        **{column(f"{name}[]"): array(name, row) for name in ARRAYS},
        **{"time__": "{12:00}", "interval__": "{1 day}", "int4range": "[1,5)"},
    }
    for row in LOST
}
DDL = "create type mood as enum ('sad', 'it''s ok'); create table everything (id text primary key, " + ", ".join(
    (
        *(f"{column(name)} {name}" for name in SCALARS),
        *(f"{column(f'{name}[]')} {name}[]" for name in ARRAYS),
        "time__ time[], interval__ interval[], int4range int4range",
        "generated text generated always as (id || '!') stored)",
    )
)


def write(connection: Connection, prefix: str) -> None:
    for row, values in VALUES.items():
        query = sql.SQL("insert into everything (id, {}) values ({})").format(
            sql.SQL(", ").join(map(sql.Identifier, values)), sql.SQL(", ").join([sql.SQL("%s")] * (len(values) + 1))
        )
        connection.execute(query, [f"{prefix} {row}", *values.values()])


def fill(source: AttachedSource) -> None:
    with source.connect() as connection:
        write(connection, "read")


@pytest.fixture(scope="module")
def source(env: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Generator[AttachedSource]:
    """With the same rows in its snapshot and in its stream, and one change of each that touches one column."""
    directory: Path = tmp_path_factory.mktemp("types")
    with (
        attached(env, DDL, ["public.everything"], fill=fill) as source,
        ConsumerProcess(source.raw_config, directory) as consumer,
    ):
        consumer.start()
        source.wait_mirrored()
        with source.connect() as connection:
            write(connection, "streamed")
            connection.execute("update everything set text = 'changed' where id like 'streamed %'")
        source.wait_applied()
        yield source
        assert source.dead_letters() == []
        assert consumer.stop() == 0


@pytest.fixture(scope="module")
def events(source: AttachedSource) -> list[Raw]:
    context = source.context()
    context.verify_contract()
    return [each for each in context.unique if each.type.startswith("row.")]


@pytest.fixture(scope="module")
def truth(source: AttachedSource) -> dict[str, dict[str, object]]:
    with source.connect() as connection:
        texts = connection.execute("select to_jsonb(e.*)::text from everything as e").fetchall()
    return {image["id"]: image for (text,) in texts if (image := exact(text))}


def expected_missing(row: str) -> set[str]:
    return {column(name) for name in LOST_ALWAYS | LOST[row]}


@pytest.mark.parametrize("row", LOST)
@pytest.mark.parametrize(("prefix", "kind"), [("read", "row.read"), ("streamed", "row.inserted")])
def test_values_are_what_to_jsonb_prints(
    events: list[Raw], truth: dict[str, dict[str, object]], row: str, prefix: str, kind: str
) -> None:
    (found,) = (each for each in events if each.type == kind and each.data["key"]["id"] == f"{prefix} {row}")
    missing = expected_missing(row)
    wanted = {name: value for name, value in truth[f"{prefix} {row}"].items() if name not in missing}
    wanted["text"] = VALUES[row]["text"]
    after: dict[str, object] = found.data["after"] or {}
    assert {n: (after.get(n), wanted.get(n)) for n in {**after, **wanted} if after.get(n) != wanted.get(n)} == {}
    assert {path for path in found.data["missing"] if path != "before"} == {f"after.{name}" for name in missing}


@pytest.mark.parametrize("row", LOST)
def test_a_change_of_one_column_changes_one_column(events: list[Raw], row: str) -> None:
    (found,) = (each for each in events if each.type == "row.updated" and each.data["key"]["id"] == f"streamed {row}")
    missing = {f"{side}.{name}" for side in ("before", "after") for name in expected_missing(row)}
    assert (found.data["changed"], set(found.data["missing"])) == (["text"], missing)


LOST_NULLS = f"""
    create table shrunk (id int primary key, a bytea, b bytea, c bytea, photo bytea, n int);
    create table eager (id int primary key, note bytea, photo bytea, n int) with (toast_tuple_target = 128);
    create table beside (id int primary key, digits numeric, photo bytea, n int);
    create table wide (id int primary key, {", ".join(f"name{n} name" for n in range(40))}, photo bytea, n int);
    create table unmirrored (id int primary key, photo bytea, n int);
    create table whole (id int primary key, photo bytea, n int);
    alter table whole replica identity full;
    create function noise(size int) returns bytea language sql as
        $$ select substr(string_agg(decode(md5(random()::text || g), 'hex'), ''), 1, size)
           from generate_series(0, size / 16) g $$
"""
OUT_OF_LINE = ("shrunk", "eager", "beside", "wide", "unmirrored", "whole")


def put_out_of_line(source: AttachedSource) -> None:
    """A photo in each table that its own length, or that of its row, does not make one to be stored out of line."""
    names = ", ".join(f"name{n} = 'x'" for n in range(40))
    statements = (
        "insert into shrunk values (1, noise(700), noise(700), noise(700), noise(710))",
        "update shrunk set a = null, b = null, c = null",
        "insert into eager values (1, noise(2100), noise(90))",
        "insert into beside values (1, repeat('9712', 900)::numeric, noise(700))",
        f"insert into wide (id) values (1); update wide set photo = noise(60), {names}",
        "insert into unmirrored values (1, noise(3000))",
        "insert into whole values (1, noise(3000)), (2, noise(3000))",
    )
    with source.connect() as connection:
        for statement in statements:
            connection.execute(statement.encode())


def test_a_null_that_may_stand_for_an_unchanged_value_is_missing(env: dict[str, str], tmp_path: Path) -> None:
    """The length of the row as it is does not tell what PostgreSQL has stored out of line, and does not send."""
    labels = [f"public.{name}" for name in OUT_OF_LINE]
    with (
        attached(env, LOST_NULLS, labels, unmirrored=["public.unmirrored"], fill=put_out_of_line) as source,
        ConsumerProcess(source.raw_config, tmp_path) as consumer,
    ):
        consumer.start()
        source.wait_mirrored()
        with source.connect() as connection:
            for name in OUT_OF_LINE:
                table = sql.Identifier(name)
                outside = sql.SQL("select pg_column_toast_chunk_id(photo) is not null from {}").format(table)
                assert connection.execute(outside).fetchone() == (True,)
                connection.execute(sql.SQL("update {} set n = 1 where id = 1").format(table))
            connection.execute(b"update whole set photo = null where id = 2")
        source.wait_applied()
        context = source.context()
        assert consumer.stop() == 0
    context.verify_contract()
    told = {each.event["subject"]: each.data for each in context.of_type("row.updated")}
    for name in OUT_OF_LINE[:-1]:
        data = told[f"public.{name}/1"]
        assert ("photo" in data["after"], "after.photo" in data["missing"]) == (False, True), name
    first, second = told["public.whole/1"], told["public.whole/2"]
    assert (first["after"]["photo"], first["changed"]) == (first["before"]["photo"], ["n"])
    assert (second["after"]["photo"], second["changed"], second["missing"]) == (None, ["photo"], [])


# Types whose long values stand outside their row: what an update of another column leaves of them.
KNOWN = {
    "text": "(select string_agg(md5(n::text), '') from generate_series(1, 300) n)",
    "varchar": "(select string_agg(md5(n::text), '') from generate_series(1, 300) n)",
    "jsonb": "(select jsonb_agg(md5(n::text)) from generate_series(1, 300) n)",
    "json": "(select json_agg(md5(n::text)) from generate_series(1, 300) n)",
    "numeric": "(select string_agg((n * 7919 % 1000000)::text, '')::numeric from generate_series(100, 2000) n)",
    "text[]": "(select array_agg(md5(n::text)) from generate_series(1, 300) n)",
    "int4[]": "(select array_agg(hashint4(n)) from generate_series(1, 2000) n)",
    "int8[]": "(select array_agg(hashint8extended(n, 7)) from generate_series(1, 2000) n)",
    "uuid[]": "(select array_agg(md5(n::text)::uuid) from generate_series(1, 300) n)",
    "char(32)[]": "(select array_agg(md5(n::text)) from generate_series(1, 300) n)",
    "jsonb[]": "(select array_agg(to_jsonb(array[md5(n::text)])) from generate_series(1, 300) n)",
    "remark": "(select string_agg(md5(n::text), '') from generate_series(1, 300) n)",
    "tsvector": "(select string_agg(md5(n::text), ' ')::tsvector from generate_series(1, 300) n)",
    "numrange": "(select numrange(string_agg((n * 79)::text, '')::numeric, null) from generate_series(1, 2000) n)",
}
HIDDEN = {
    "bytea": "(select decode(string_agg(md5(n::text), ''), 'hex') from generate_series(1, 300) n)",
    "bytea[]": "(select array_agg(decode(md5(n::text), 'hex')) from generate_series(1, 300) n)",
    "float8[]": "(select array_agg(sin(n)) from generate_series(1, 1000) n)",
    "numeric[]": "(select array_agg(n * 7919.5) from generate_series(1, 1000) n)",
    "timestamptz[]": "(select array_agg(to_timestamp(hashint4(n))) from generate_series(1, 1000) n)",
    "date[]": "(select array_agg(date '2000-01-01' + abs(hashint4(n)) % 9000) from generate_series(1, 3000) n)",
    "oid[]": "(select array_agg(n::oid) from generate_series(100000, 103000) n)",
    "int2[]": "(select array_agg((hashint4(n) % 30000)::int2) from generate_series(1, 3000) n)",
    "labels": "(select array_agg(md5(n::text)) from generate_series(1, 300) n)",
    "codes": "(select array_agg(hashint4(n)) from generate_series(1, 2000) n)",
}
DOMAINS = "create domain remark as text; create domain labels as text[]; create domain codes as int4[];"
LONG_DDL = f"{DOMAINS}create table long (id int primary key, n int, " + ", ".join(
    f"{column(name)} {name}" for name in (*KNOWN, *HIDDEN)
)
STORAGE = "".join(f"; alter table long alter {column(name)} set storage external" for name in (*KNOWN, *HIDDEN))


def test_unchanged_long_values(env: dict[str, str], tmp_path: Path) -> None:
    """Those with a placeholder come from the store, through a change of the key too; the others are missing."""
    with (
        attached(env, f"{LONG_DDL}){STORAGE}", ["public.long"]) as source,
        ConsumerProcess(source.raw_config, tmp_path) as consumer,
    ):
        consumer.start()
        source.wait_mirrored()
        with source.connect() as connection:
            values = ", ".join((*KNOWN.values(), *HIDDEN.values()))
            connection.execute(f"insert into long select 1, 0, {values}".encode())
            for statement in (
                "update long set n = 1",
                "update long set id = 2",
                "update long set n = 2",
                "delete from long",
            ):
                connection.execute(statement.encode())
        source.wait_applied()
        context = source.context()
        assert consumer.stop() == 0
    context.verify_contract()
    inserted, updated, deleted, moved, again, last = (
        each.data for each in context.unique if each.type.startswith("row.")
    )
    hidden = sorted(column(name) for name in HIDDEN)
    whole = inserted["after"]
    known = {name: value for name, value in whole.items() if name not in hidden}
    assert (inserted["missing"], len(whole)) == ([], 2 + len(KNOWN) + len(HIDDEN))
    assert (updated["before"], updated["after"], updated["changed"]) == (whole, {**known, "n": 1}, ["n"])
    assert updated["missing"] == [f"after.{name}" for name in hidden]
    assert (deleted["before"], deleted["missing"]) == (updated["after"], [f"before.{name}" for name in hidden])
    assert (moved["after"], moved["missing"]) == ({**known, "n": 1, "id": 2}, [f"after.{name}" for name in hidden])
    assert (again["before"], again["after"]) == (moved["after"], {**known, "n": 2, "id": 2})
    assert (last["before"], last["missing"]) == (again["after"], [f"before.{name}" for name in hidden])
