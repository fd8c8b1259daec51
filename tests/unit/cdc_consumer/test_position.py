from __future__ import annotations

from collections.abc import Generator

import msgspec
import psycopg
import pytest

from cdc_consumer import position
from cdc_consumer.position import Ownership, Position
from tests.harness.source import Connection
from tests.unit.cdc_consumer.tables import SOURCE
from wakestream import ledger
from wakestream.errors import FatalError

START = Position(1, "topic", "1", 1, -1, None, 0, 1, 1)


@pytest.fixture
def other(ledger_url: str, connection: Connection) -> Generator[Connection]:
    """The session of another consumer."""
    session = ledger.connect(ledger_url, name=f"consume {SOURCE}")
    yield session
    session.close()


@pytest.fixture
def created(connection: Connection) -> Position:
    connection.execute("set application_name = 'wake consume unit'")
    connection.execute(
        "insert into wake.revision (source, digest, catalogue, capture) values (%s, '', '{}', '{}')", (SOURCE,)
    )
    position.create(connection, SOURCE, START)
    connection.commit()
    return START


def row(connection: Connection) -> tuple[int, int, int]:
    found = connection.execute(
        'select epoch, "offset", backend_pid from wake.source_position where source = %s', (SOURCE,)
    ).fetchone()
    assert found is not None
    return found


def test_a_source_without_a_position(connection: Connection) -> None:
    held = Ownership()
    assert position.take_over(connection, SOURCE, held) is None
    assert held.epoch is None


def test_taking_over_raises_the_epoch(connection: Connection, created: Position) -> None:
    held = Ownership()
    found = position.take_over(connection, SOURCE, held)
    assert found == msgspec.structs.replace(created, epoch=2)
    assert held.epoch == 2
    assert row(connection) == (2, -1, connection.info.backend_pid)


def test_taking_over_ends_the_old_owners_transaction(
    connection: Connection, other: Connection, created: Position
) -> None:
    position.claim(connection, SOURCE, created.epoch)
    position.move(connection, SOURCE, offset=5, commit=9, read_from=6, clock=None)
    assert position.take_over(other, SOURCE, Ownership()) is not None
    with pytest.raises(psycopg.OperationalError):
        connection.commit()
    assert row(other)[:2] == (2, -1)


def test_the_old_owner_may_not_claim(connection: Connection, other: Connection, created: Position) -> None:
    with other.transaction():
        other.execute("update wake.source_position set epoch = epoch + 1 where source = %s", (SOURCE,))
    with pytest.raises(FatalError, match="another consumer has taken over unit"):
        position.claim(connection, SOURCE, created.epoch)


def test_who_owned_a_source_once_does_not_take_it_back(
    connection: Connection, other: Connection, created: Position
) -> None:
    held = Ownership(created.epoch)
    newer = position.take_over(other, SOURCE, Ownership())
    assert newer is not None
    with (
        psycopg.connect(connection.info.dsn, password=connection.info.password) as again,
        pytest.raises(FatalError, match="another consumer has taken over unit"),
    ):
        position.take_over(again, SOURCE, held)
    assert row(other) == (newer.epoch, -1, other.info.backend_pid)


def test_who_still_owns_it_takes_it_over_again(connection: Connection, created: Position) -> None:
    held = Ownership(created.epoch)
    for epoch in (2, 3):
        found = position.take_over(connection, SOURCE, held)
        assert found is not None
        assert (found.epoch, held.epoch) == (epoch, epoch)


def test_taking_over_survives_a_crash_of_the_ledger(connection: Connection, created: Position) -> None:
    assert connection.execute("show synchronous_commit").fetchone() == ("off",)
    position.make_durable(connection)
    assert connection.execute("show synchronous_commit").fetchone() == ("on",)
    connection.commit()
    assert connection.execute("show synchronous_commit").fetchone() == ("off",)
