"""A healthy database with roles that may do what they must; faults are added to it, and remedies take them away."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psycopg
from ruamel.yaml import YAML

from connectors import doctor
from connectors.checks.finding import Finding
from tests.harness.server import Server
from wakestream import config
from wakestream.config import Loaded

DATABASE = "healthy"
PASSWORD = "doctor"
SOURCE = "air"
TABLES = ("public.flight", "public.booking", "app.note")

ROLES = """
    create role cap
    create role owner
    create role ops
    create role others
"""
# Made anew before each test; a database made anew would take ten times as long.
HEALTHY = """
    alter role cap login replication nosuperuser nocreaterole nocreatedb nobypassrls password 'doctor';
    alter role cap connection limit -1 valid until 'infinity';
    alter role cap reset all;
    alter role owner login password 'doctor';
    alter role ops login nosuperuser nocreaterole nocreatedb nobypassrls password 'doctor';
    revoke others, pg_read_all_stats from cap, owner, ops;
    drop publication if exists wake_air, theirs;
    drop foreign data wrapper if exists far cascade;
    drop schema if exists public, app cascade;
    create schema public;
    grant usage on schema public to public;
    grant create, usage on schema public to owner;
    grant create on database healthy to owner;
    grant execute on function pg_partition_tree to public;
"""
SCHEMA = """
    set role owner;
    create table flight (id int primary key, status text not null, fare numeric(10, 2), gate text);
    create table booking (id int primary key, flight_id int references flight, status text not null);
    create schema app;
    create table app.note (id bigint primary key, body text, written timestamptz);
    insert into flight values (1, 'on time', 10, 'A1');
    insert into booking values (1, 1, 'confirmed');
    insert into app.note values (1, 'hello', now());
    grant usage on schema app to cap;
    grant select on all tables in schema public, app to cap;
    grant select, update on booking to ops;
"""
PUBLISHED = """
    set role owner
    create publication wake_air for table flight, booking, app.note with (publish_via_partition_root = true)
"""
MARKS = "select rolname from pg_roles where rolname ~ '^(rds|cloudsql|azure|supabase|neon)_?' order by 1 desc"
EXTRA = "public.extra"
GRANT = "grant select on extra to cap"

_SETTING = re.compile(r"wake\.yaml: (?P<line>.+)")


@dataclass
class Patient:
    """One source in a database of its own, and the file that names it."""

    server: Server
    database: str
    directory: Path
    env: Mapping[str, str]
    tables: dict[str, dict[str, Any]] = field(default_factory=lambda: {label: {} for label in TABLES})
    kafka: dict[str, Any] = field(default_factory=dict[str, Any])
    connect: dict[str, Any] = field(default_factory=dict[str, Any])
    urls: dict[str, str] = field(default_factory=dict[str, str])

    def url(self, role: str, port: int | None = None) -> str:
        return f"postgresql://{role}:{PASSWORD}@127.0.0.1:{port or self.server.port}/{self.database}"

    def load(self) -> Loaded:
        data: dict[str, Any] = {
            "kafka": {"bootstrap_servers": self.env["KAFKA_BOOTSTRAP"], **self.kafka},
            "connect": {"url": self.env["CONNECT_URL"], "secrets": self.env["CONNECT_SECRETS"], **self.connect},
            "ledger": {"url": self.urls.get("ledger", self.env["LEDGER_URL"])},
            "sources": {
                SOURCE: {
                    "capture": self.urls.get("capture", self.url("cap")),
                    "admin": self.url("owner"),
                    "tables": self.tables,
                }
            },
            "connections": {"ops": self.urls.get("ops", self.url("ops"))},
            "actions": {
                "cancel": {
                    "kind": "sql",
                    "connection": "ops",
                    "statement": "update booking set status = 'cancelled' where id = :id",
                    "bind": {"id": "after.id"},
                    "approval": "always",
                }
            },
        }
        if "lookups" in self.urls:
            data["ledger"]["lookups"] = self.urls["lookups"]
        path = self.directory / "wake.yaml"
        path.write_text(json.dumps(data))  # JSON is YAML.
        return config.load(path, {})

    def findings(self) -> list[Finding]:
        return doctor.examine(self.load())

    @contextmanager
    def reading(self, name: str) -> Generator[None]:
        """Somebody reads the slot, and confirms nothing."""
        reader = psycopg.connect(self.url("cap"), replication="database", autocommit=True, application_name=name)
        options = "(proto_version '1', publication_names 'none')"
        reader.pgconn.exec_(f"START_REPLICATION SLOT wake_{SOURCE} LOGICAL 0/0 {options}".encode())
        try:
            yield
        finally:
            reader.pgconn.finish()

    def execute(self, statements: str) -> None:
        self.server.execute(statements, self.database)

    def take(self, remedy: str) -> None:
        """Do what a remedy says, to the letter."""
        kind = remedy.partition(":")[0]
        if kind == "wake.yaml":
            self._set(remedy)
        else:
            assert kind not in ("none", "setting", "worker", "run"), remedy
            self.execute(remedy)
            if "then restart the server" in remedy:
                self.server.restart()

    def _set(self, remedy: str) -> None:
        match = _SETTING.fullmatch(remedy)
        assert match is not None, remedy
        ((path, value),) = YAML(typ="safe").load(match["line"]).items()
        if path == f"sources.{SOURCE}.tables":
            for label, settings in value.items():
                self.tables[label] = {**self.tables[label], **settings}
        else:
            assert path == "kafka.topics"
            self.kafka["topics"] = {**self.kafka.get("topics", {}), **value}


def prepare(server: Server) -> None:
    """Roles, and the database."""
    server.execute(f"{ROLES}\ncreate database {DATABASE}")


@contextmanager
def patient(server: Server, env: Mapping[str, str], directory: Path, *, database: str = DATABASE) -> Generator[Patient]:
    """A healthy one; whatever was done to its server is undone afterwards."""
    with psycopg.connect(server.url(DATABASE), autocommit=True) as connection:
        connection.execute(f"{HEALTHY}{SCHEMA}".encode())
    try:
        yield Patient(server, database, directory, env)
    finally:
        with psycopg.connect(server.url(), autocommit=True) as connection:
            connection.execute("alter system reset all")
            connection.execute("select pg_reload_conf()")
            query = "select pg_terminate_backend(pid, 5000) from pg_stat_activity where pid <> pg_backend_pid()"
            connection.execute(f"{query} and backend_type in ('client backend', 'walsender')".encode())
            connection.execute("select pg_drop_replication_slot(slot_name) from pg_replication_slots")
            for (mark,) in connection.execute(MARKS).fetchall():
                connection.execute(f"drop role {mark}".encode())


@dataclass(frozen=True)
class Case:
    """A fault: what is done, what is found, and how it is undone where no remedy can be pasted."""

    id: str
    object: str
    fault: str = ""
    setup: str = ""
    tables: Mapping[str, dict[str, Any]] = field(default_factory=dict[str, dict[str, Any]])
    """What the file says of tables beside those of the healthy database, or otherwise."""
    undo: str | None = None
    """Statements in the place of a remedy; None where the remedy is executed."""
    then: Callable[[Server], object] = lambda _: None
    """What else the fault needs."""
    name: str = ""

    def __str__(self) -> str:
        return f"{self.id}{'-' if self.name else ''}{self.name}"


def go_through(case: Case, one: Patient) -> Finding:
    """Healthy, with the fault, and after the remedy."""
    one.execute(case.setup)
    before = dict(one.tables)
    one.execute(case.fault)
    case.then(one.server)
    one.tables.update(case.tables)
    (found,) = only(one, case.id, case.object)
    if case.undo is None:
        one.take(found.remedy)
    else:
        assert found.remedy.startswith("none: ")
        one.execute(case.undo)
        one.tables = before
    assert one.findings() == []
    return found


def only(one: Patient, id: str, of: str) -> list[Finding]:
    found = one.findings()
    assert [(each.id, each.object) for each in found] == [(id, of)], found
    return found
