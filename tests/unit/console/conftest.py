"""A real ledger for each test: one PostgreSQL for the run, one database made from a template for each."""

from __future__ import annotations

import secrets
from collections.abc import Generator
from pathlib import Path
from urllib.parse import urlsplit

import psycopg
import pytest
from psycopg import sql

from localstack import Stack
from wakestream import ledger

TEMPLATE = "ledger_template"


@pytest.fixture(scope="session")
def ledger_server(tmp_path_factory: pytest.TempPathFactory) -> Generator[str]:
    """The superuser-like URL of a PostgreSQL whose database `ledger_template` has the newest schema."""
    stack = Stack(tmp_path_factory.mktemp("console") / "home")
    stack.home.prepare()
    stack.home.assign_ports(set())
    stack.start_part("ledger-db")
    try:
        url = f"postgresql://postgres:{stack.home.password('postgres')}@127.0.0.1:{stack.home.port('ledger-db')}/postgres"
        with psycopg.connect(url, autocommit=True) as admin:
            admin.execute(sql.SQL("create database {}").format(sql.Identifier(TEMPLATE)))
        ledger.migrate(urlsplit(url)._replace(path=f"/{TEMPLATE}").geturl())
        with psycopg.connect(url, autocommit=True) as admin:
            admin.execute(
                "select pg_terminate_backend(pid, 10000) from pg_stat_activity where datname = %s", [TEMPLATE]
            )
        yield url
    finally:
        stack.stop_part("ledger-db")


@pytest.fixture
def ledger_url(ledger_server: str) -> Generator[str]:
    """An empty ledger of one's own."""
    name = f"ledger_{secrets.token_hex(4)}"
    with psycopg.connect(ledger_server, autocommit=True) as admin:
        admin.execute(sql.SQL("create database {} template {}").format(*map(sql.Identifier, (name, TEMPLATE))))
    yield urlsplit(ledger_server)._replace(path=f"/{name}").geturl()
    with psycopg.connect(ledger_server, autocommit=True) as admin:
        admin.execute(sql.SQL("drop database {} with (force)").format(sql.Identifier(name)))
