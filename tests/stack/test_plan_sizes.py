"""Plans without a connector: five hundred tables with odd names, a DBA's script, and locks that give way."""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import threading
import time
from collections.abc import Generator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg import sql

from connectors import databases, identity, publication
from connectors.apply import Options, apply, planning
from connectors.publication import Published
from tests.harness.stack import SourceDatabase
from tests.stack.attaching import Attachable, attachable
from wakestream.errors import RefusedError

TABLES = 500
TIMES_THE_USUAL = 4  # of what the command takes for three tables, most of which is its start
ODD = (
    'qu"oted {}',
    "CamelCase {}",
    "Flüge_äöü_{}",
    "select{}",
    "with space {} ",
    "emoji🛫{}",
    "it's {}",
    "back\\slash {}",
)
SHORT = 600  # milliseconds


@pytest.fixture
def airline(env: dict[str, str], source_database: SourceDatabase, tmp_path: Path) -> Generator[Attachable]:
    with attachable(env, source_database, tmp_path) as made:
        yield made


def wake(airline: Attachable, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "cli.main", "-c", str(airline.directory / "wake.yaml"), *arguments]
    return subprocess.run(command, env={**os.environ, **airline.variables}, capture_output=True, text=True, check=False)


def timed_plan(airline: Attachable) -> tuple[float, subprocess.CompletedProcess[str]]:
    """A plan, and the processor time that it takes, its start included."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    ran = wake(airline, "plan", "--json")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime, ran


def test_five_hundred_tables_with_odd_names(airline: Attachable) -> None:
    usual, _ = timed_plan(airline)
    names = [ODD[number % len(ODD)].format(number) for number in range(TABLES)]
    columns = ", ".join(f'"Spalte {n}" text' for n in range(12))
    with psycopg.connect(airline.database.url) as connection:
        connection.execute('create schema "Ünder Schema"')
        connection.execute(f'grant usage on schema "Ünder Schema" to {airline.capture_role}'.encode())
        connection.execute(f'alter schema "Ünder Schema" owner to {airline.admin_role}'.encode())
        connection.execute(f"set role {airline.admin_role}".encode())
        for name in names:
            table = sql.Identifier("Ünder Schema", name)
            connection.execute(sql.SQL("create table {} (id int primary key, {})").format(table, sql.SQL(columns)))  # pyright: ignore[reportArgumentType]
        connection.execute(f'grant select on all tables in schema "Ünder Schema" to {airline.capture_role}'.encode())
    listed = "".join(f"      {json.dumps(f'Ünder Schema.{name}', ensure_ascii=False)}: {{}}\n" for name in names)
    airline.write(("      public.flight: {}\n", f"{listed}      public.flight: {{}}\n"))
    took, ran = timed_plan(airline)
    assert (ran.returncode, ran.stderr) == (0, "")
    assert took < TIMES_THE_USUAL * usual
    steps = json.loads(ran.stdout)["steps"]
    (made,) = [step for step in steps if step["object"] == f"publication wake_{airline.source}"]
    with psycopg.connect(
        airline.variables["ADMIN_URL"]
    ) as connection:  # The SQL that is shown is SQL, whatever the names.
        connection.execute(made["command"].encode())
        assert len(connection.execute("select from pg_publication_tables").fetchall()) == TABLES + 3


def test_a_script_for_a_dba_and_apply_without_an_admin(airline: Attachable) -> None:
    with airline.superuser() as connection:
        connection.execute(f"revoke select on customer from {airline.capture_role}".encode())
    dear = f"dear: {{table: {airline.source}.public.flight, when: after.fare > 110.0, fire: enter, agent: watcher}}"
    loaded = airline.load(
        ("public.flight: {}", "public.flight: {replica_identity: full}"),
        ("triggers:\n", f"triggers:\n  {dear}\n"),
        ("agents:\n", "agents:\n  watcher: {instructions: prompt.md}\n"),
    )
    ran = wake(airline, "plan", "--sql", "--allow", "replica-identity")
    assert (ran.returncode, ran.stderr) == (0, "")
    assert "-- lock: ACCESS EXCLUSIVE on public.flight;" in ran.stdout
    with pytest.raises(RefusedError, match="and --assume-database was given") as caught:
        apply(loaded, options=Options(assume_database=True))
    assert "create publication" in str(caught.value)
    assert airline.rows("select from pg_publication") == []
    with psycopg.connect(airline.variables["ADMIN_URL"], autocommit=True) as connection:
        connection.execute(ran.stdout.encode())
    with planning(loaded, options=Options(assume_database=True)) as plan:
        assert (plan.refusals, plan.sql, plan.notes) == ((), "", ())
        assert not any(step.object.startswith(("publication", "table")) for step in plan.steps)
    ran = wake(airline, "plan")
    assert ran.returncode == 0
    assert "trigger dear: 1 of 2 rows match now\ntrigger disrupted: known after the snapshot\n" in ran.stdout


def test_a_lock_that_cannot_be_had_is_given_up_in_time(airline: Attachable, monkeypatch: pytest.MonkeyPatch) -> None:
    """An application's transaction keeps a table; we wait for it, and nobody waits behind us longer than we may."""
    monkeypatch.setattr(databases, "DDL", databases.DDL.replace(str(databases.LOCK_TIMEOUT), str(SHORT)))
    monkeypatch.setattr(publication, "LOCK_PAUSE", 0.3)
    loaded, done = airline.load(), threading.Event()
    waits: list[float] = []

    def write() -> None:
        with psycopg.connect(airline.variables["ADMIN_URL"], autocommit=True) as connection:
            while not done.is_set():
                begun = time.monotonic()
                connection.execute("update flight set delay_minutes = 1 where id = 8")
                waits.append(time.monotonic() - begun)

    admin = databases.admin(loaded, airline.source)
    assert admin is not None
    writer = threading.Thread(target=write)
    with admin, psycopg.connect(airline.variables["ADMIN_URL"]) as holder:
        holder.execute("update flight set delay_minutes = 2 where id = 7")
        writer.start()
        threading.Timer(2.0, holder.commit).start()
        tables: dict[str, Any] = {"public.flight": None}
        step = publication.step(admin, airline.source, None, tables)
        assert step is not None
        step.do()  # beside the open transaction
        assert identity.step(admin, "public.flight").do() is None
        assert publication.find(admin, airline.source) == Published(tables)
    done.set()
    writer.join()
    assert SHORT / 2000 < max(waits) < SHORT / 1000 + 0.3
    ((identity_now,),) = airline.rows("select relreplident from pg_class where relname = 'flight'")
    assert identity_now == "f"
