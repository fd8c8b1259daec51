"""A real ledger: one PostgreSQL for the run, without anything of the tests' source at the start of each."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Generator
from functools import partial
from pathlib import Path
from urllib.parse import urlsplit

import psycopg
import pytest

from localstack import Stack
from localstack.postgres import Cluster
from tests.harness import replay
from tests.harness.source import Connection, forget
from tests.unit.cdc_consumer.tables import SOURCE, NewLedger


@pytest.fixture(scope="session")
def cluster() -> Generator[str]:
    """The URL of a PostgreSQL cluster, as superuser."""
    # Not below pytest's own directory: another run that starts closes that to the server's user.
    home = Path(tempfile.mkdtemp(prefix="wake-consumer-"))
    stack = Stack(home)
    stack.home.prepare()
    stack.home.assign_ports(set())
    stack.start_part("ledger-db")
    try:
        yield Cluster("ledger-db", stack.home).url("postgres", "postgres")
    finally:
        stack.stop_part("ledger-db")
        shutil.rmtree(home)


@pytest.fixture(scope="session")
def ledger_url(cluster: str) -> Generator[str]:
    """A ledger with the newest schema."""
    with replay.scratch_ledger(cluster) as url:
        yield url


@pytest.fixture(scope="session")
def new_ledger(cluster: str) -> Generator[NewLedger]:
    """Makes ledgers with the newest schema and nothing else, quickly: each is a copy of one."""
    with replay.scratch_ledger(cluster) as url:
        yield partial(replay.scratch_ledger, cluster, urlsplit(url).path[1:])


@pytest.fixture
def connection(ledger_url: str) -> Generator[Connection]:
    """A session with the ledger as the consumer has it."""
    with psycopg.connect(ledger_url, autocommit=True) as cleaner:
        forget(cleaner, SOURCE)
        cleaner.execute("delete from wake.dead_letter")
    connection = replay.ledger_session(ledger_url)
    yield connection
    connection.close()
