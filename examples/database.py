"""An example's own database: roles with no more rights than they need, schema, seed."""

from __future__ import annotations

import json
import os
import secrets
import shlex
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import LiteralString, cast
from urllib.parse import urlsplit

import psycopg
from psycopg import sql


@dataclass(frozen=True)
class Database:
    """What is made in a cluster. The owner has the database's name, wakestream's roles end in `_capture` and `_ops`."""

    name: str
    directory: Path
    """Where its `schema.sql` and `seed.sql` are."""
    others: tuple[str, ...] = ()
    """Roles of other programs: `messenger` is the role `shop_messenger`, with its URL in SHOP_MESSENGER_URL."""

    @property
    def variables(self) -> dict[str, str]:
        """In which variable the URL of each role is."""
        roles = {
            self.name: "ADMIN",
            **{f"{self.name}_{each}": each.upper() for each in ("capture", "ops", *self.others)},
        }
        return {role: f"{self.name.upper()}_{word}_URL" for role, word in roles.items()}

    @property
    def owner(self) -> str:
        """The variable with the owner's URL."""
        return self.variables[self.name]

    def create(self, cluster: str, state: Path) -> dict[str, str]:
        """Make roles, database and schema where they are missing; returns the variables that `wake.yaml` asks for.

        `cluster` is a superuser's URL; the roles' passwords are remembered in `state`.
        """
        passwords = _passwords(state, self.variables)
        with psycopg.connect(cluster, autocommit=True) as admin:
            for role, password in passwords.items():
                _settle_role(admin, role, password, replication=role == f"{self.name}_capture")
            if admin.execute("select from pg_database where datname = %s", [self.name]).fetchone() is None:
                statement = sql.SQL("create database {} owner {}")
                admin.execute(statement.format(sql.Identifier(self.name), sql.Identifier(self.name)))
        with psycopg.connect(_url(cluster, self.name)) as database:
            # So that an action that a crash cut short can tell later whether its transaction was committed.
            functions = sql.SQL("grant execute on function pg_control_system(), pg_control_checkpoint() to {}")
            database.execute(functions.format(sql.Identifier(f"{self.name}_ops")))
        urls = {name: _url(cluster, self.name, role, passwords[role]) for role, name in self.variables.items()}
        with psycopg.connect(urls[self.owner]) as owner:
            if owner.execute("select from pg_tables where schemaname = 'public'").fetchone() is None:
                owner.execute(self._script("schema.sql"))
        return urls

    def seed(self, owner: str) -> None:
        """Bring all rows back to the beginning, in one transaction."""
        with psycopg.connect(owner) as connection:
            connection.execute(self._script("seed.sql"))

    def main(self) -> None:
        """Make and seed the database, and print how to reach it."""
        cluster = os.environ.get("POSTGRES_URL")
        if cluster is None:
            sys.exit('POSTGRES_URL is not set: start the stack and eval "$(wake stack env)"')
        urls = self.create(cluster, Path(os.environ.get("WAKE_HOME") or ".wake") / self.name)
        self.seed(urls[self.owner])
        for name, value in urls.items():
            print(f"export {name}={shlex.quote(value)}")

    def owner_url(self) -> str:
        """The owner's URL from the environment; ends the program where it is not set."""
        url = os.environ.get(self.owner)
        if url is None:
            sys.exit(f'{self.owner} is not set: eval "$(python -m examples.{self.name}.database)"')
        return url

    def _script(self, name: str) -> LiteralString:
        return cast("LiteralString", (self.directory / name).read_text(encoding="utf-8"))


def wal_place(connection: psycopg.Connection) -> int:
    """Where the WAL of this database stands: no commit before has a greater LSN, and none after it a lower one."""
    row = connection.execute("select pg_current_wal_insert_lsn() - '0/0'::pg_lsn").fetchone()
    return int(row[0]) if row else 0


def _passwords(state: Path, roles: dict[str, str]) -> dict[str, str]:
    file = state / "passwords.json"
    if file.exists():
        return cast("dict[str, str]", json.loads(file.read_text()))
    state.mkdir(parents=True, exist_ok=True)
    passwords = {role: secrets.token_urlsafe(18) for role in roles}
    with os.fdopen(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as out:
        json.dump(passwords, out)
    return passwords


def _settle_role(admin: psycopg.Connection, role: str, password: str, *, replication: bool) -> None:
    exists = admin.execute("select from pg_roles where rolname = %s", [role]).fetchone() is not None
    verb = sql.SQL("alter" if exists else "create")
    attributes = sql.SQL("login replication" if replication else "login")
    statement = sql.SQL("{} role {} {} password {}")
    admin.execute(statement.format(verb, sql.Identifier(role), attributes, sql.Literal(password)))


def _url(cluster: str, database: str, role: str | None = None, password: str | None = None) -> str:
    parts = urlsplit(cluster)
    place = parts.netloc if role is None else f"{role}:{password}@{parts.netloc.rpartition('@')[2]}"
    return parts._replace(netloc=place, path=f"/{database}").geturl()
