"""The roles' script run with psql, and what the roles may do then; managed services by their marks."""

from __future__ import annotations

import re
import secrets
import subprocess
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import psycopg
import pytest
from psycopg import sql
from pydantic import SecretStr

from connectors import databases, roles, services
from localstack import requirements
from tests.unit.connectors.source_server import MakeDatabase, make_database, source_server
from wakestream import config
from wakestream.errors import ConfigurationError

__all__ = ["make_database", "source_server"]

SCHEMA = """
    create schema "Back Office";
    create table customer (id int primary key, name text, "pass""port" text);
    create table "Back Office".note (id int primary key, customer_id int references customer, body text);
    alter table "Back Office".note enable row level security;
"""
TABLES = {"public.customer": ('pass"port',), "Back Office.note": ()}


def script(url: str, source: str, tables: dict[str, tuple[str, ...]] = TABLES) -> str:
    with databases.reader(SecretStr(url), "the database", purpose="test") as connection:
        return roles.script(roles.propose(connection, source, tables))


def run(url: str, text: str, directory: Path, *passwords: str) -> None:
    """As the page says, with the passwords typed twice each."""
    file = directory / "roles.sql"
    file.write_text(text)
    typed = "".join(f"{password}\n{password}\n" for password in passwords)
    psql = [str(requirements.find_postgres() / "psql"), "--no-psqlrc", url, "-f", str(file)]
    # Without a terminal of its own, so that it takes the passwords from us.
    done = subprocess.run(psql, input=typed, capture_output=True, text=True, check=False, start_new_session=True)
    assert done.returncode == 0, done.stderr


@contextmanager
def gone_afterwards(url: str, *names: str) -> Generator[None]:
    """Roles belong to the whole server."""
    try:
        yield
    finally:
        with psycopg.connect(url, autocommit=True) as connection:
            for name in names:
                if connection.execute("select from pg_roles where rolname = %s", [name]).fetchone() is not None:
                    for statement in ("drop owned by {} cascade", "drop role {}"):
                        connection.execute(sql.SQL(statement).format(sql.Identifier(name)))


def login(url: str, role: str, password: str) -> psycopg.Connection:
    parts = urlsplit(url)
    netloc = f"{role}:{password}@{parts.hostname}:{parts.port}"
    return psycopg.connect(parts._replace(netloc=netloc).geturl(), autocommit=True)


def test_the_roles_may_do_what_they_must_and_no_more(make_database: MakeDatabase, tmp_path: Path) -> None:
    tag = secrets.token_hex(4)
    url, owner, source = make_database(SCHEMA), f"Own er_{tag}", f"shop_{tag}"
    with gone_afterwards(url, f"{source}_capture", f"{source}_admin", owner):
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute(sql.SQL("create role {}").format(sql.Identifier(owner)))
            for table in ("customer", '"Back Office".note'):
                connection.execute(sql.SQL(f"alter table {table} owner to {{}}").format(sql.Identifier(owner)))
        text = script(url, source)
        assert "bypassrls" in text
        run(url, text, tmp_path, "geheim-1", "geheim-2")
        with login(url, f"{source}_capture", "geheim-1") as capture:
            assert capture.execute("select rolreplication, rolsuper from pg_roles where rolname = user").fetchone() == (
                True,
                False,
            )
            capture.execute('select id, name from customer; select * from "Back Office".note')
            for forbidden in ('select "pass""port" from customer', "delete from customer", "create table x ()"):
                with pytest.raises(psycopg.errors.InsufficientPrivilege):
                    capture.execute(forbidden.encode())
        with login(url, f"{source}_admin", "geheim-2") as admin:
            admin.execute('create publication wake for table customer, "Back Office".note; drop publication wake')
        again = script(url, source)
        assert "create role" not in "\n".join(_statements(again))
        run(url, again, tmp_path)


def test_where_a_superuser_owns_the_tables_nobody_becomes_one(make_database: MakeDatabase, tmp_path: Path) -> None:
    url, source = make_database(SCHEMA), f"shop_{secrets.token_hex(4)}"
    with gone_afterwards(url, f"{source}_capture"):
        text = script(url, source)
        assert not any('to "shop' in line and "grant" in line and "postgres" in line for line in _statements(text))
        assert f"{source}_admin" not in text
        run(url, text, tmp_path, "geheim")


@pytest.mark.parametrize("service", services.SERVICES, ids=lambda service: service.name)
def test_managed_services_are_recognised(service: services.Service, make_database: MakeDatabase) -> None:
    url = make_database(SCHEMA)
    marks = {service.marks[0], *([service.replication_role] if service.replication_role else [])}
    with gone_afterwards(url, *marks):
        with psycopg.connect(url, autocommit=True) as connection:
            for mark in marks:
                connection.execute(sql.SQL("create role {}").format(sql.Identifier(mark)))
        text = script(url, "shop")
    assert f"Recognised: {service.name} 18, wal_level logical." in text
    statements = "\n".join(_statements(text))
    if service.replication_role:
        assert f'grant "{service.replication_role}" to "shop_capture";' in statements
        assert "replication;" not in statements
    else:
        assert 'create role "shop_capture" login replication;' in statements


def test_the_roles_of_a_configured_source(make_database: MakeDatabase, tmp_path: Path) -> None:
    url, tag = make_database(SCHEMA), secrets.token_hex(4)
    own = urlsplit(url)
    capture = own._replace(netloc=f"reader_{tag}:x@{own.hostname}:{own.port}").geturl()
    path = tmp_path / "wake.yaml"
    path.write_text(
        'kafka: {bootstrap_servers: k}\nconnect: {url: "http://c", secrets: s}\nledger: {url: "postgresql://l"}\n'
        "sources:\n  shop:\n    capture: ${CAPTURE}\n    admin: ${ADMIN:-}\n"
        "    tables: {public.customer: {exclude: [name]}}\n"
    )
    # The capture role is still to be made, so the other one reads the catalogue.
    found = roles.configured(config.load(path, {"CAPTURE": capture, "ADMIN": url}), "shop")
    assert f'create role "reader_{tag}" login replication;' in found
    assert 'grant select ("id", "pass""port") on "public"."customer"' in found
    borrowed = roles.configured(config.load(path, {"CAPTURE": url}), "shop")  # a superuser for a first try
    assert 'create role "shop_capture"' in borrowed
    with pytest.raises(ConfigurationError, match="no source `shopp`"):
        roles.configured(config.load(path, {"CAPTURE": url}), "shopp")
    path.write_text(path.read_text().replace("public.customer", "public.custmer"))
    with pytest.raises(ConfigurationError, match=r"no table `public.custmer`"):
        roles.configured(config.load(path, {"CAPTURE": url}), "shop")


def _statements(text: str) -> Iterator[str]:
    return (line for line in text.splitlines() if line and not re.match(r"--|\\", line))
