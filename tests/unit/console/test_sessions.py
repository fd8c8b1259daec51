from __future__ import annotations

import inspect
from typing import Any

import psycopg
import pytest
from sqlalchemy import exc, text

from console import sessions
from wakestream.errors import ConfigurationError, FatalError, TransientError, WakeError


def every_class(module: Any, root: type[Exception]) -> list[type[Exception]]:
    return [each for _, each in inspect.getmembers(module, inspect.isclass) if issubclass(each, root)]


def made(kind: type[Exception]) -> Any:
    """An exception of this class, whatever its constructor wants."""
    error = kind.__new__(kind)
    Exception.__init__(error, "it broke")
    if isinstance(error, exc.StatementError):
        error.detail = []
    if isinstance(error, exc.DBAPIError):
        error.orig, error.connection_invalidated = psycopg.OperationalError("gone"), False
    return error


@pytest.mark.parametrize("kind", every_class(exc, exc.SQLAlchemyError) + every_class(psycopg.errors, psycopg.Error))
def test_every_error_of_the_driver_and_sqlalchemy_has_a_home(kind: type[Exception]) -> None:
    converted = sessions.convert(made(kind))
    assert isinstance(converted, ConfigurationError | FatalError | TransientError)
    assert str(converted)


@pytest.mark.parametrize(
    ("error", "family"),
    [
        (psycopg.OperationalError("connection refused"), TransientError),
        (psycopg.errors.AdminShutdown("terminating connection"), TransientError),
        (psycopg.errors.InvalidPassword("password authentication failed"), FatalError),
        (psycopg.OperationalError('FATAL:  password authentication failed for user "x"'), FatalError),
        (psycopg.errors.InsufficientPrivilege("permission denied"), FatalError),
        (psycopg.errors.UndefinedTable("no such table"), FatalError),
        (exc.ArgumentError("postgresql://u:secret@h"), ConfigurationError),
    ],
)
def test_the_family_says_whether_waiting_helps(error: Any, family: type[WakeError]) -> None:
    converted = sessions.convert(error)
    assert type(converted) is family
    assert "secret" not in str(converted)


def test_a_ledger_that_is_away_is_worth_waiting_for(unused_port: int) -> None:
    with pytest.raises(TransientError, match="cannot be reached"):
        sessions.open_ledger(f"postgresql://wake:x@127.0.0.1:{unused_port}/ledger")


def test_a_url_that_is_none_is_not_repeated() -> None:
    with pytest.raises(ConfigurationError, match=r"ledger\.url: not a database URL") as caught:
        sessions.open_ledger("hunter2 at home")
    assert "hunter2" not in str(caught.value)


def test_an_error_rolls_back(ledger_url: str) -> None:
    engine = sessions.open_ledger(ledger_url)
    insert = text("insert into wake.setting (name, value) values ('a', 'b')")
    with pytest.raises(FatalError, match="duplicate key"), sessions.transaction(engine) as session:
        session.execute(insert)
        session.execute(insert)
    with sessions.transaction(engine) as session:
        assert session.scalar(text("select count(*) from wake.setting")) == 0
