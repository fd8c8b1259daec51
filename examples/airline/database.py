"""The airline's own database: roles with no more rights than they need, schema, seed.

eval "$(python -m examples.airline.database)" makes it in the cluster of POSTGRES_URL and exports how to reach it.
"""

from __future__ import annotations

import json
import os
import secrets
import shlex
import sys
from pathlib import Path
from typing import LiteralString, cast
from urllib.parse import urlsplit

import psycopg
from psycopg import sql

HERE = Path(__file__).parent
NAME = "airline"
ROLES: dict[str, LiteralString] = {
    "airline": "login",  # owns the tables; the airline's applications
    "airline_capture": "login replication",
    "airline_ops": "login",
}
VARIABLES = {"airline": "AIRLINE_ADMIN_URL", "airline_capture": "AIRLINE_CAPTURE_URL", "airline_ops": "AIRLINE_OPS_URL"}


def create(cluster: str, state: Path) -> dict[str, str]:
    """Make roles, database and schema where they are missing; returns the variables that `wake.yaml` asks for.

    `cluster` is a superuser's URL; the roles' passwords are remembered in `state`.
    """
    passwords = _passwords(state)
    with psycopg.connect(cluster, autocommit=True) as admin:
        for role, attributes in ROLES.items():
            _settle_role(admin, role, attributes, passwords[role])
        if admin.execute("select from pg_database where datname = %s", [NAME]).fetchone() is None:
            admin.execute(sql.SQL("create database {} owner airline").format(sql.Identifier(NAME)))
    with psycopg.connect(_url(cluster, NAME)) as database:
        # So that an action that a crash cut short can tell later whether its transaction was committed.
        database.execute("grant execute on function pg_control_system(), pg_control_checkpoint() to airline_ops")
    urls = {VARIABLES[role]: _url(cluster, NAME, role, passwords[role]) for role in ROLES}
    with psycopg.connect(urls["AIRLINE_ADMIN_URL"]) as owner:
        if owner.execute("select to_regclass('public.flight') is null").fetchone() == (True,):
            owner.execute(_script("schema.sql"))
    return urls


def seed(owner: str) -> None:
    """Bring all rows back to the beginning, in one transaction."""
    with psycopg.connect(owner) as connection:
        connection.execute(_script("seed.sql"))


def _script(name: str) -> LiteralString:
    return cast("LiteralString", (HERE / name).read_text(encoding="utf-8"))


def _passwords(state: Path) -> dict[str, str]:
    file = state / "passwords.json"
    if file.exists():
        return cast("dict[str, str]", json.loads(file.read_text()))
    state.mkdir(parents=True, exist_ok=True)
    passwords = {role: secrets.token_urlsafe(18) for role in ROLES}
    with os.fdopen(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as out:
        json.dump(passwords, out)
    return passwords


def _settle_role(admin: psycopg.Connection, role: str, attributes: LiteralString, password: str) -> None:
    exists = admin.execute("select from pg_roles where rolname = %s", [role]).fetchone() is not None
    verb = sql.SQL("alter" if exists else "create")
    statement = sql.SQL("{} role {} " + attributes + " password {}")
    admin.execute(statement.format(verb, sql.Identifier(role), sql.Literal(password)))


def _url(cluster: str, database: str, role: str | None = None, password: str | None = None) -> str:
    parts = urlsplit(cluster)
    place = parts.netloc if role is None else f"{role}:{password}@{parts.netloc.rpartition('@')[2]}"
    return parts._replace(netloc=place, path=f"/{database}").geturl()


def main() -> None:
    """Make and seed the database, and print how to reach it."""
    cluster = os.environ.get("POSTGRES_URL")
    if cluster is None:
        sys.exit('POSTGRES_URL is not set: start the stack and eval "$(wake stack env)"')
    urls = create(cluster, Path(os.environ.get("WAKE_HOME") or ".wake") / "airline")
    seed(urls["AIRLINE_ADMIN_URL"])
    for name, value in urls.items():
        print(f"export {name}={shlex.quote(value)}")


if __name__ == "__main__":
    main()
