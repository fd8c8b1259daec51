"""The store as people ask for it: one row, and whether it is what the source has, while both go on."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from console import verifying
from console.context import ContextStore
from localstack import Stack
from tests.harness.agent import WakeProcess, World, attached_world
from tests.harness.stack import REPOSITORY
from tests.harness.waiting import eventually
from wakestream.errors import RefusedError, TransientError

DDL = """
    create type mood as enum ('sad', 'it''s ok', 'happy');
    create table flight (id int primary key, status text, fare numeric(12, 3), at timestamptz, email text, card text);
    create table seat (
        code text, row numeric(6, 2), day date, feel mood, note text, primary key (day, row, code, feel)
    );
    create table part (id int, region text, n int, primary key (region, id)) partition by list (region);
    create table part_a partition of part for values in ('a');
    create table part_b partition of part for values in ('b');
    create table loose (id int primary key, prices numeric[], hours time[], blob bytea);
    create table unmirrored (id int primary key);
    insert into flight select n, 'status ' || n, n * 1.250, now(), 'name' || n || '@example.org', '4111 1111 ' || n
        from generate_series(1, 500) n;
    insert into seat select chr(64 + n % 60) || n, n / 4.0, date '2026-11-01' + n, 'it''s ok', 'n'
        from generate_series(1, 300) n;
    insert into part select n, case when n % 2 = 0 then 'a' else 'b' end, n from generate_series(1, 300) n;
    insert into loose select n, case when n > 1 then array[1.5, 2.50] end, '{12:00}', '\\x00'
        from generate_series(1, 30) n;
"""

WAKE = """
sources:
  SOURCE:
    capture: "${DATABASE_URL}"
    admin: "${DATABASE_URL}"
    tables:
      public.flight: {mask: {email: email, card: hash}}
      public.seat: {exclude: [note]}
      public.part: {}
      public.loose: {}
      public.unmirrored: {mirror: false}
"""


@pytest.fixture(scope="module")
def world(stack: Stack, env: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Generator[World]:
    directory: Path = tmp_path_factory.mktemp("store")
    with (
        attached_world(stack, env, directory, ddl=DDL, wake=WAKE, prompt="") as world,
        WakeProcess(world, "consume"),
    ):
        complete = "select count(*) from wake.mirror_state where complete"
        eventually(lambda: world.told(complete)[0][0] >= 4, "complete mirrors")
        yield world


def verify(world: World, table: str | None = None, limit: int = 1000) -> dict[str, dict[str, Any]]:
    found = verifying.verify(world.loaded, world.source, table, limit)
    return {each.table: {"state": each.state, "differing": each.differing, "rows": each.rows} for each in found}


@contextmanager
def altered(world: World, *statements: str) -> Generator[None]:
    """Change the store behind the consumer's back, and put it right again."""
    copies = ("flight", "seat", "part")
    schema = f"{world.source}__public"
    with world.ledger() as connection:
        for name in copies:
            connection.execute(f"create table {schema}.copy_{name} as table {schema}.{name}".encode())
        try:
            for statement in statements:
                assert connection.execute(statement.replace("STORE", schema).encode()).rowcount > 0
            yield
        finally:
            for name in copies:
                connection.execute(f"delete from {schema}.{name}".encode())
                connection.execute(f"insert into {schema}.{name} table {schema}.copy_{name}".encode())
                connection.execute(f"drop table {schema}.copy_{name}".encode())


def test_a_store_that_is_as_its_source(world: World) -> None:
    found = list(verifying.verify(world.loaded, world.source, None, 1000))
    assert [(each.table, each.state, each.rows) for each in found] == [
        ("public.flight", "same", 500),
        ("public.loose", "same", 30),
        ("public.part", "same", 300),
        ("public.seat", "same", 300),
        ("public.unmirrored", "not mirrored", 0),
    ]
    assert [each.missing for each in found] == [0, 1, 0, 0, 0]  # an array that is NULL may be one with NaN in it


@pytest.mark.parametrize("stretch", [7, 100])
def test_rows_that_differ_are_found_whatever_their_key(
    world: World, monkeypatch: pytest.MonkeyPatch, stretch: int
) -> None:
    monkeypatch.setattr(verifying, "STRETCH", stretch)
    with altered(
        world,
        "update STORE.flight set fare = fare + 0.001, status = 'x' where id = 250",
        "update STORE.flight set card = 'sha256:00' where id = 500",
        "delete from STORE.flight where id = 1",
        "insert into STORE.flight (id) values (501), (-1)",
        "delete from STORE.seat where row = 25.00",
        "insert into STORE.seat values ('🛫', 25.01, '2027-01-01', 'sad')",
        "update STORE.part set n = -1 where id = 300",
    ):
        found = verify(world)
    differing = {
        label: sorted((each.how, json.dumps(each.key, default=str), each.columns) for each in table["differing"])
        for label, table in found.items()
        if table["state"] == "differs"
    }
    assert differing == {
        "public.flight": [
            ("absent", '{"id": 1}', []),
            ("differs", '{"id": 250}', ["fare", "status"]),
            ("differs", '{"id": 500}', ["card"]),
            ("surplus", '{"id": -1}', []),
            ("surplus", '{"id": 501}', []),
        ],
        "public.part": [("differs", '{"region": "a", "id": 300}', ["n"])],
        "public.seat": [
            ("absent", '{"day": "2027-02-09", "row": "25.00", "code": "h100", "feel": "it\'s ok"}', []),
            ("surplus", '{"day": "2027-01-01", "row": "25.01", "code": "\\ud83d\\udeeb", "feel": "sad"}', []),
        ],
    }


def test_it_leaves_a_table_after_so_many(world: World) -> None:
    with altered(world, "delete from STORE.flight where id > 3"):
        (found,) = verifying.verify(world.loaded, world.source, "public.flight", 5)
    assert (found.state, len(found.differing)) == ("differs", 5)


def test_nothing_that_is_only_late_is_reported(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Writers change rows and keys all the time, one row a hundred times a second; what really differs is found."""
    monkeypatch.setattr(verifying, "STRETCH", 50)
    stop = threading.Event()

    def write(statement: str) -> None:
        with world.connect() as connection:
            while not stop.is_set():
                connection.execute(statement.encode())
                connection.execute("select pg_sleep(0.01)")  # what writes more than this machine reads proves nothing

    statements = (
        "update flight set fare = fare + 1 where id = 7",
        "update flight set at = clock_timestamp() where id % 10 = floor(random() * 10)",
        "update part set region = case region when 'a' then 'b' else 'a' end where id = floor(random() * 300)",
        "update seat set code = code || 'x' where length(code) < 60 and row = (10 + floor(random() * 290)) / 4.0",
    )
    writers = [threading.Thread(target=write, args=(statement,)) for statement in statements]
    for writer in writers:
        writer.start()
    try:
        found = {label: each["state"] for label, each in verify(world).items()}
        with altered_row(world):
            (flight,) = verifying.verify(world.loaded, world.source, "public.flight", 1000)
    finally:
        stop.set()
        for writer in writers:
            writer.join()
    assert set(found.values()) == {"same", "not mirrored"}
    assert [(each.how, each.key) for each in flight.differing] == [("surplus", {"id": 9999})]


@contextmanager
def altered_row(world: World) -> Generator[None]:
    """A row in the store that the source does not have."""
    schema = f"{world.source}__public"
    with world.ledger() as connection:
        connection.execute(f"insert into {schema}.flight (id) values (9999)".encode())
        try:
            yield
        finally:
            connection.execute(f"delete from {schema}.flight where id = 9999".encode())


def test_one_row(world: World) -> None:
    with ContextStore.opened(world.loaded.config, world.source) as store:
        flight = store.row("public.flight", "8")
        loose = store.row("public.loose", "public.loose/1")
        seat = store.row("public.seat", "2026-11-05,1.00,D4,it%27s ok")
        nobody = store.row("public.flight", "12345")
    assert flight.row is not None
    assert {name: str(flight.row[name]) for name in ("id", "status", "fare", "email")} == {
        "id": "8",
        "status": "status 8",
        "fare": "10.000",
        "email": "n***@example.org",
    }
    assert (flight.complete, flight.gaps, flight.missing) == (True, [], [])
    assert flight.position.commit is not None
    assert (loose.missing, "prices" in (loose.row or {})) == (["hours", "prices"], False)
    assert seat.row is not None
    assert (seat.row["code"], seat.key["feel"], "note" in seat.row) == ("D4", "it's ok", False)
    assert (nobody.row, nobody.complete, nobody.key) == (None, True, {"id": 12345})


@pytest.mark.parametrize(
    ("table", "key", "said"),
    [
        ("public.fligth", "1", "`public.fligth` is no captured table of"),
        ("public.unmirrored", "1", "`mirror: false`"),
        ("public.seat", "1", "has 1 values and the key of public.seat is day, row, code, feel"),
        ("public.flight", "x", "`x` is no key of public.flight: invalid input syntax for type integer"),
    ],
)
def test_what_is_no_row(world: World, table: str, key: str, said: str) -> None:
    with (
        ContextStore.opened(world.loaded.config, world.source) as store,
        pytest.raises(RefusedError, match=said.replace("`", ".")),
    ):
        store.row(table, key)


def test_the_commands(world: World) -> None:
    (row,) = world.wake("context", "show", world.source, "public.flight", "8")
    assert (row["key"], row["row"]["email"]) == ({"id": 8}, "n***@example.org")
    assert [each["state"] for each in world.wake("context", "verify", world.source)] == [*["same"] * 4, "not mirrored"]
    with altered(world, "delete from STORE.flight where id = 1"):
        done = subprocess.run(
            [sys.executable, "-m", "cli.main", "-c", str(world.file), "context", "verify", world.source],
            capture_output=True,
            check=False,
            text=True,
            cwd=REPOSITORY,
            env={**os.environ, **world.variables},
        )
    assert (done.returncode, done.stderr) == (1, "")
    assert '  absent: {"id":1}' in done.stdout.replace(": 1", ":1")


def test_what_cannot_be_compared(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    with world.ledger() as connection:
        connection.execute("update wake.mirror_state set complete = false where \"table\" = 'public.part'")
        try:
            assert verify(world, "public.part")["public.part"]["state"] == "incomplete"
        finally:
            connection.execute("update wake.mirror_state set complete = true where \"table\" = 'public.part'")
    monkeypatch.setattr(verifying, "PATIENCE", 0.0)
    monkeypatch.setattr(verifying.databases, "end_of_wal", lambda _: 2**62)  # pyright: ignore[reportUnknownLambdaType]
    with pytest.raises(TransientError, match="has not moved"):
        verify(world, "public.flight")
