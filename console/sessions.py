"""The ledger as the console opens it: ORM sessions with exact numbers, and SQLAlchemy's errors turned into ours."""

from __future__ import annotations

import json
from collections.abc import Generator
from contextlib import contextmanager
from decimal import Decimal
from typing import Any, cast

import psycopg
from sqlalchemy import Engine, exc
from sqlalchemy.orm import Session
from sqlalchemy.pool import NullPool

from wakestream import exact_json, ledger
from wakestream.errors import ConfigurationError, FatalError, TransientError, WakeError

# What waiting cannot help: a wrong password or role, and rights that are missing.
_FATAL_SQLSTATES = ("28", "42501", "3D000")


def open_ledger(url: str) -> Engine:
    """An engine on a ledger whose schema is this version's.

    Raises `ConfigurationError` for another schema and `TransientError` while the ledger is away.
    """
    try:
        ledger.require_current(url)
        return ledger.engine(url, poolclass=NullPool, json_serializer=exact_json.dump, json_deserializer=read_json)
    except exc.SQLAlchemyError as error:
        raise convert(error) from error


@contextmanager
def transaction(engine: Engine) -> Generator[Session]:
    """One transaction: committed at the end, rolled back by any error."""
    try:
        with Session(engine, expire_on_commit=False) as session, session.begin():
            yield session
    except (exc.SQLAlchemyError, psycopg.Error) as error:
        raise convert(error) from error


def driver(session: Session) -> psycopg.Connection[Any]:
    """The session's connection as psycopg has it, for statements that agent and console share."""
    return cast("psycopg.Connection[Any]", session.connection().connection.driver_connection)


def convert(error: exc.SQLAlchemyError | psycopg.Error) -> WakeError:
    """Our error for any of SQLAlchemy's, and of the driver's below it."""
    if isinstance(error, exc.ArgumentError):
        # Its text may hold the password.
        return ConfigurationError("ledger.url: not a database URL; write postgresql://user:password@host:port/database")
    driver = error.orig if isinstance(error, exc.DBAPIError) else error
    first_line = str(driver).strip().partition("\n")[0]
    sqlstate = str(getattr(driver, "sqlstate", None) or "")
    if "password authentication failed" in first_line or sqlstate.startswith(_FATAL_SQLSTATES):
        return FatalError(f"the ledger refuses: {first_line}; check ledger.url")
    if isinstance(driver, psycopg.OperationalError | psycopg.InterfaceError):
        return TransientError(f"the ledger cannot be reached: {first_line}")
    if isinstance(error, exc.TimeoutError):
        return TransientError(f"the ledger: {first_line}")
    return FatalError(f"the ledger: {first_line}")


def read_json(text: str | bytes) -> Any:
    """JSON with every digit: numerics stay decimal."""
    return json.loads(text, parse_float=Decimal)
