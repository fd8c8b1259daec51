"""`wake init` at a real server: what leaves it, what is written, and what of it can be compiled."""

from __future__ import annotations

import re
import secrets
from pathlib import Path
from typing import Any

import psycopg
import pytest

from connectors import init, roles
from connectors.init import shapes
from localstack import Stack
from tests.harness.stack import own_home
from tests.unit.connectors.source_server import MakeDatabase, make_database, source_server
from wakestream import config, resolving
from wakestream.capture import Revision
from wakestream.errors import ConfigurationError, TransientError
from wakestream.program import compile_program

__all__ = ["make_database", "source_server"]

EVERYTHING = {
    "KAFKA_BOOTSTRAP": "k:9092",
    "CONNECT_URL": "http://c",
    "CONNECT_SECRETS": "/etc/wake/secrets.properties",
    "LEDGER_URL": "postgresql://l",
}


def initiated(url: str, directory: Path, *tables: str, source: str = "shop") -> dict[str, str]:
    """Everything that is written, by name."""
    with init.connected(url) as connection:
        survey = init.survey(connection, source)
        chosen = init.choose_tables(survey, tables) or [each.label for each in survey.capturable]
        columns = init.proposals(connection, survey, chosen)
        proposal = init.propose(survey, chosen, columns, init.trigger_choices(survey, chosen, columns, 1)[0])
        wanted = roles.propose(connection, source, {label: tuple(columns[label].exclude) for label in chosen})
    files = init.new_files(proposal, roles.script(wanted), directory / "wake.yaml")
    init.write(files)
    return {path.name: text for path, text in files.items()}


def compiled(url: str, directory: Path) -> config.Loaded:
    """What was written, checked in every way in which `wake apply` checks it before it changes anything."""
    loaded = config.load(directory / "wake.yaml", {**EVERYTHING, "SHOP_CAPTURE_URL": url})
    with init.connected(url) as connection:
        catalogue = init.survey(connection, "shop").catalogue
        resolved = resolving.resolve(loaded, "shop", catalogue, connection)
    compile_program(loaded, {"shop": Revision(1, "shop", catalogue, resolved)})
    return loaded


SHOP = """
    create type order_status as enum ('new', 'paid', 'cancelled');
    create table person (id int primary key, {columns});
    create table "order" (id int primary key, person_id int references person, status order_status, note text);
"""
LOOKS = {  # what an unmistakable word is made to look like, and what becomes of the column
    "mail": ("{}@mail.example", "mask"),
    "call": ("+43 660 {}", "mask"),
    "plastic": ("4242 4242 4242 4242", "exclude"),
    "social": ("078-05-{:.4}", "exclude"),
    "hashed": ("$2b$12${}", "exclude"),
    "key_of_theirs": ("sk_live_{}{}", "exclude"),
    "hex": ("{0}{0}{0}{0}", "exclude"),
    "story": ("the long story of {} and of all that came of it", "untrusted"),
    "short": ("{}", None),
}


def test_shapes_decide_and_no_value_is_in_what_is_written(make_database: MakeDatabase, tmp_path: Path) -> None:
    url = make_database(SHOP.format(columns=", ".join(f"{name} varchar(200)" for name in LOOKS)))
    seen: list[str] = []
    with psycopg.connect(url, autocommit=True) as connection:
        for number in range(20):
            word, digits = secrets.token_hex(5), f"{secrets.randbelow(10**10):010}"
            values = [
                how.format(digits if name in ("call", "social") else word, word) for name, (how, _) in LOOKS.items()
            ]
            seen += [word, digits, *values]
            marks = ", ".join(["%s"] * (len(values) + 1))
            connection.execute(f"insert into person values ({marks})".encode(), [number, *values])
            connection.execute('insert into "order" values (%s, %s, %s, %s)', [number, number, "paid", word])
    files = initiated(url, tmp_path)
    for name, text in files.items():
        assert not [value for value in seen if value in text], name
        assert str(psycopg.conninfo.conninfo_to_dict(url)["password"]) not in text
    table = compiled(url, tmp_path).config.sources["shop"].tables["public.person"]
    proposed = {"exclude": table.exclude, "mask": tuple(table.mask), "untrusted": table.untrusted}
    for name, (_, expected) in LOOKS.items():
        assert [how for how, columns in proposed.items() if name in columns] == ([expected] if expected else []), name


def test_only_counts_leave_the_server(make_database: MakeDatabase, monkeypatch: pytest.MonkeyPatch) -> None:
    url = make_database("create table t (id int primary key, a text, b varchar); insert into t values (1, 'x y', 'z')")
    with init.connected(url) as connection:
        (found,) = init.survey(connection, "shop").tables
        fetched: list[Any] = []
        execute = connection.execute

        def listened(*arguments: Any) -> Any:
            cursor = execute(*arguments)
            if cursor.description:
                fetched.extend(cursor.fetchall())
                cursor.scroll(0, mode="absolute")
            return cursor

        monkeypatch.setattr(connection, "execute", listened)
        assert set(shapes.sample(connection, found) or ()) == {"a", "b"}
    assert len(fetched) == 2
    assert all(isinstance(value, int) for row in fetched for value in row)


def test_it_can_write_nothing_and_does_not_wait(make_database: MakeDatabase, tmp_path: Path) -> None:
    url = make_database("create table t (id int primary key, email text, other text, status text)")
    with init.connected(url) as connection, pytest.raises(psycopg.errors.ReadOnlySqlTransaction):
        connection.execute("create table u ()")
    with psycopg.connect(url) as busy:
        busy.execute("lock table t in access exclusive mode")
        text = initiated(url, tmp_path)["wake.yaml"]
    assert "could not be sampled in time" in text
    assert "mask: {email: hash}" in text  # by its name


def test_a_role_that_may_read_nothing_still_gets_a_file(make_database: MakeDatabase, tmp_path: Path) -> None:
    url = make_database("create table t (id int primary key, email text)")
    role = f"plain_{secrets.token_hex(4)}"
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(f"create role {role} login password 'x'".encode())
    try:
        text = initiated(url.replace("://postgres:", f"://{role}:").replace(_password(url), "x"), tmp_path)["wake.yaml"]
        assert "may not be read by this role" in text
    finally:
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute(f"drop role {role}".encode())


def _password(url: str) -> str:
    return str(psycopg.conninfo.conninfo_to_dict(url)["password"])


ODD = """
    create table "Weird ""Q"" {x}: #1" (
        "the id" int primary key, "${HOME}" text, "e-mail" text, "yes" text, "a, b" text, "é: ü" text,
        "Status of it" text
    );
    create table "true" (id int primary key, "null" text, "- list" text);
    create schema "Upper Case";
    create table "Upper Case"."ünï" (id int, "Key 2" text, primary key ("Key 2", id), weird int
        references "Weird ""Q"" {x}: #1");
    create table "a.b" (id int primary key);
    create table "two
lines" (id int primary key, remarks text);
    create table nokey (a int);
    create unlogged table fast (id int primary key);
    create table nothing (id int primary key); alter table nothing replica identity nothing;
    create view seen as select 1 as one;
    create materialized view kept as select 1 as one;
    create table parent (id int primary key); create table child () inherits (parent);
    create table whole (id int primary key) partition by range (id);
    create table part partition of whole default;
    create table span (id timetz primary key);
"""


def test_odd_names_and_what_cannot_be_captured(make_database: MakeDatabase, tmp_path: Path) -> None:
    url = make_database(ODD)
    text = initiated(url, tmp_path)["wake.yaml"]
    loaded = compiled(url, tmp_path)
    tables = loaded.config.sources["shop"].tables
    weird = 'public.Weird "Q" {x}: #1'
    assert set(tables) == {weird, "public.true", "Upper Case.ünï", "public.two\nlines", "public.whole"}
    assert set(tables[weird].mask) == {"e-mail"}
    assert set(tables[weird].untrusted) == {"${HOME}", "yes", "a, b", "é: ü", "Status of it"}
    lines = text.partition("Cannot be captured:\n")[2].partition("\n\n")[0].splitlines()
    refused = dict(line.strip(" #").split(": ", 1) for line in lines)
    said = {
        "public.a.b": "dot",
        "public.nokey": "no primary key",
        "public.fast": "unlogged",
        "public.nothing": "replica identity nothing",
        "public.seen": "is a view",
        "public.kept": "is a materialized view",
        "public.parent": "inherit from it",
        "public.child": "no primary key",
        "public.part": "partition",
        "public.span": "does not arrive whole",
    }
    for label, why in said.items():
        assert why in refused.pop(label), label
    assert refused == {}


def test_chosen_tables_are_found_and_others_refused_with_what_would_be_right(make_database: MakeDatabase) -> None:
    url = make_database("create table person (id int primary key); create schema s; create table s.person (a int)")
    with init.connected(url) as connection:
        survey = init.survey(connection, "shop")
    assert init.choose_tables(survey, ["public.person", "public.person"]) == ["public.person"]
    for wanted, said in (
        ("public.persn", "no table `public.persn` in .*; did you mean `public.person`"),
        ("person", "several tables are called `person`: name one of public.person, s.person"),
        ("s.person", "`s.person` cannot be captured: s.person has no primary key"),
    ):
        with pytest.raises(ConfigurationError, match=said):
            init.choose_tables(survey, [wanted])
    with init.connected(url) as connection:
        columns = init.proposals(connection, survey, ["public.person"])
    with pytest.raises(ConfigurationError, match="no trigger can be proposed on `public.person.nme`"):
        init.find_trigger(survey, ["public.person"], columns, "public.person.nme")


def test_no_file_is_overwritten(make_database: MakeDatabase, tmp_path: Path) -> None:
    url = make_database("create table t (id int primary key)")
    (tmp_path / "prompts").mkdir()
    prompt = tmp_path / "prompts" / "t_watcher.md"
    prompt.write_text("mine")
    assert set(initiated(url, tmp_path)) == {"wake.yaml", "roles.sql"}
    assert prompt.read_text() == "mine"
    for name in ("wake.yaml", "roles.sql"):
        (tmp_path / name).write_text("mine")
    with pytest.raises(ConfigurationError, match=r"wake.yaml and .*roles.sql: exists and is not overwritten"):
        initiated(url, tmp_path)
    with pytest.raises(ConfigurationError, match="exists and is not overwritten"):
        init.write({tmp_path / "wake.yaml": "yours"})
    assert {path.read_text() for path in (tmp_path / "wake.yaml", tmp_path / "roles.sql", prompt)} == {"mine"}


def test_sizes_traffic_and_the_schemas_own_lists(make_database: MakeDatabase) -> None:
    url = make_database(
        "create table t (id int primary key, state varchar(9) check (state in ('it''s', 'b')));"
        "create table p (id int primary key) partition by range (id);"
        "create table p1 partition of p for values from (0) to (10); create table p2 partition of p default;"
    )
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("insert into t select n, 'b' from generate_series(1, 7) n; update t set state = 'b'")
        connection.execute("insert into p select generate_series(1, 30)")
        connection.execute("analyze")
    with init.connected(url) as connection:
        survey = init.survey(connection, "shop")
    t, p = survey.find("public.t"), survey.find("public.p")
    assert t is not None
    assert p is not None
    assert (t.rows, t.updates, t.values) == (7.0, 7.0, {"state": ("it's", "b")})
    assert p.rows == 30.0
    assert p.writes_per_hour is not None
    assert p.writes_per_hour > 0


def test_addresses_and_names() -> None:
    url = "postgresql://me:s%20cret@db.example:5433/My-Shop?sslmode=verify-full&sslrootcert=/ca.pem"
    assert init.source_name(url, None) == "my_shop"
    shown = init.example_url(url, "shop_capture")
    assert (
        shown == "postgresql://shop_capture:PASSWORD@db.example:5433/My-Shop?sslmode=verify-full&sslrootcert=%2Fca.pem"
    )
    with pytest.raises(ConfigurationError, match="`My-Shop` cannot name a source"):
        init.source_name(url, "My-Shop")
    with pytest.raises(ConfigurationError, match="no PostgreSQL URL") as caught:
        init.source_name("postgresql://me:s%zzcret@h/x", None)
    assert "cret" not in str(caught.value)
    with pytest.raises(TransientError) as refused, init.connected("postgresql://me:geheim@127.0.0.1:9/x"):
        pass
    assert "geheim" not in str(refused.value)


def test_the_file_takes_what_the_local_stack_exports(make_database: MakeDatabase, tmp_path: Path) -> None:
    text = initiated(make_database("create table t (id int primary key)"), tmp_path)["wake.yaml"]
    with own_home() as home:
        stack = Stack(home)
        stack.home.prepare()
        stack.home.assign_ports(set())
        exported = set(stack.env())
    asked = set(re.findall(r"\$\{([A-Z_]+)\}", text)) - {"NAME", "API_KEY", "SHOP_CAPTURE_URL"}
    assert asked == exported - {"POSTGRES_URL"}
