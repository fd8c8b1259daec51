"""The real stack as pytest fixtures: one for the whole run, and a fresh database on it for each test that asks."""

from __future__ import annotations

import fcntl
import os
import secrets
import shutil
import tempfile
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import psycopg
import pytest
from psycopg import sql

from localstack import Stack

REPOSITORY = Path(__file__).parents[2]
TERMINATION = 10_000  # milliseconds for a backend to end


@dataclass(frozen=True)
class SourceDatabase:
    """A database on the cluster for sources, which lives as long as one test."""

    name: str
    """Its name."""
    url: str
    """Its URL, as superuser."""


@pytest.fixture(scope="session")
def stack() -> Generator[Stack]:
    """The stack of this run, fresh and up. What a test kills in it, it repairs (`stack.up()`)."""
    with _own_home() as home:
        stack = Stack(home)
        stack.down(wipe=True)
        stack.up()
        yield stack
        stack.down()  # its logs stay for who wants to look


@pytest.fixture(scope="session")
def env(stack: Stack) -> dict[str, str]:
    """The addresses of the stack, as `wake stack env` gives them."""
    return stack.env()


@pytest.fixture
def source_database(env: dict[str, str]) -> Generator[SourceDatabase]:
    """A new database on the cluster for sources; dropped afterwards, with its replication slots."""
    name = f"test_{secrets.token_hex(6)}"
    with psycopg.connect(env["POSTGRES_URL"], autocommit=True) as admin:
        admin.execute(sql.SQL("create database {}").format(sql.Identifier(name)))
    yield SourceDatabase(name, urlsplit(env["POSTGRES_URL"])._replace(path=f"/{name}").geturl())
    with psycopg.connect(env["POSTGRES_URL"], autocommit=True) as admin:
        drop_database(admin, name)


def drop_database(admin: psycopg.Connection, name: str) -> None:
    """Drop a database, whoever is connected to it and whatever slots read it."""
    database = sql.Identifier(name)
    admin.execute(sql.SQL("alter database {} with allow_connections false").format(database))
    admin.execute(
        "select pg_terminate_backend(pid, %s) from pg_stat_activity where datname = %s",
        [TERMINATION, name],
    )
    admin.execute("select pg_drop_replication_slot(slot_name) from pg_replication_slots where database = %s", [name])
    admin.execute(sql.SQL("drop database {} with (force)").format(database))


@contextmanager
def _own_home() -> Generator[Path]:
    """Choose a state directory that no other run of the tests uses at this moment."""
    chosen = os.environ.get("WAKE_TEST_HOME")
    first = Path(chosen) if chosen else REPOSITORY / ".wake" / "test"
    first.parent.mkdir(parents=True, exist_ok=True)
    for number in range(1, 100):
        home = first if number == 1 else first.with_name(f"{first.name}-{number}")
        with home.with_name(f"{home.name}.lock").open("w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                continue
            yield home
            return
    pytest.fail(f"a hundred runs of the tests use {first} and its neighbours")


@contextmanager
def own_home() -> Generator[Path]:
    """A state directory that is gone afterwards.

    Not below pytest's own: another run that starts closes that to everybody else, the databases' user included.
    """
    home = Path(tempfile.mkdtemp(prefix="wake-test-"))
    try:
        yield home
    finally:
        shutil.rmtree(home, ignore_errors=True)
