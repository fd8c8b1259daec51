"""A real ledger: one PostgreSQL for the run, emptied for each test."""

from __future__ import annotations

import socket
from collections.abc import Generator

import psycopg
import pytest
from psycopg import sql

from console import operators, sessions
from console.insights import Insights
from console.operations import Operations
from localstack import Stack
from tests.harness.stack import own_home
from tests.unit.console.seeds import Seed
from wakestream import ledger
from wakestream.ledger.models import Base


@pytest.fixture(scope="session")
def ledger_server() -> Generator[str]:
    """The URL of a ledger with the newest schema."""
    with own_home() as home:
        stack = Stack(home)
        stack.home.prepare()
        stack.home.assign_ports(set())
        stack.start_part("ledger-db")
        try:
            url = stack.env()["LEDGER_URL"]
            ledger.migrate(url)
            yield url
        finally:
            stack.stop_part("ledger-db")


@pytest.fixture
def ledger_url(ledger_server: str) -> str:
    """The ledger, empty."""
    with psycopg.connect(ledger_server) as connection:
        for table in reversed(Base.metadata.sorted_tables):
            connection.execute(sql.SQL("delete from wake.{}").format(sql.Identifier(table.name)))
    return ledger_server


@pytest.fixture
def seed(ledger_url: str) -> Seed:
    return Seed(ledger_url)


@pytest.fixture
def token(seed: Seed) -> str:
    """The token of the operator `alice`."""
    with sessions.transaction(seed.engine) as session:
        return operators.add(session, "alice", by="test")


@pytest.fixture
def operations(seed: Seed, token: str) -> Operations:
    """What alice may do."""
    return Operations(seed.engine, token)


@pytest.fixture
def insights(seed: Seed) -> Insights:
    return Insights(seed.engine)


@pytest.fixture
def unused_port() -> int:
    """A port at which nobody listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
