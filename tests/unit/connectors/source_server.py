"""One PostgreSQL as a source would be, for the run of a module; and new databases on it."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Generator
from urllib.parse import urlsplit

import psycopg
import pytest
from psycopg import sql

from localstack import Stack
from tests.harness.stack import drop_database, own_home

MakeDatabase = Callable[[str], str]
"""Makes a database with this schema and returns its URL, as superuser."""


@pytest.fixture(scope="session")
def source_server() -> Generator[str]:
    """The URL of its superuser."""
    with own_home() as home:
        stack = Stack(home)
        stack.home.prepare()
        stack.home.assign_ports(set())
        stack.start_part("source-db")
        try:
            yield stack.env()["POSTGRES_URL"]
        finally:
            stack.stop_part("source-db")


@pytest.fixture
def make_database(source_server: str) -> Generator[MakeDatabase]:
    made: list[str] = []

    def make(ddl: str) -> str:
        name = f"d{secrets.token_hex(5)}"
        with psycopg.connect(source_server, autocommit=True) as admin:
            admin.execute(sql.SQL("create database {}").format(sql.Identifier(name)))
        made.append(name)
        url = urlsplit(source_server)._replace(path=f"/{name}").geturl()
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute(ddl.encode())
        return url

    yield make
    with psycopg.connect(source_server, autocommit=True) as admin:
        for name in made:
            drop_database(admin, name)
