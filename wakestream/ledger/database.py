"""Opening the ledger: connections, the schema's age, and bringing it up to date."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

import psycopg
import sqlalchemy
from alembic import command
from alembic.config import Config as AlembicConfig
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy.exc import OperationalError
from sqlalchemy.pool import NullPool

import migrations
from wakestream.errors import ConfigurationError, TransientError
from wakestream.ledger.connection import Connection
from wakestream.ledger.models import SCHEMA

MINIMUM_VERSION = 180000

_Kind = TypeVar("_Kind", bound=Connection)


def engine(url: str, **options: Any) -> sqlalchemy.Engine:
    """A SQLAlchemy engine for a `postgresql://` URL."""
    return sqlalchemy.create_engine(sqlalchemy.make_url(url).set(drivername="postgresql+psycopg"), **options)


def connect(
    url: str, *, name: str, kind: type[_Kind] = Connection, session: Mapping[str, str] | None = None, **options: Any
) -> _Kind:
    """A connection that shows its purpose in `pg_stat_activity`; `session` has settings that hold from its beginning.

    Raises `TransientError` while the ledger cannot be reached.
    """
    if session:
        options["options"] = " ".join(f"-c {setting}={value}" for setting, value in session.items())
    try:
        return kind.connect(url, application_name=f"wake {name}", connect_timeout=10, **options)
    except psycopg.OperationalError as error:
        raise TransientError(f"the ledger cannot be reached: {first_line(error)}") from error


def migrate(url: str) -> None:
    """Bring the ledger's schema up to date; two at once wait for each other.

    Raises `ConfigurationError` when the server is older than PostgreSQL 18.
    """
    with engine(url, poolclass=NullPool).connect() as connection:
        version = int(connection.scalar(sqlalchemy.text("show server_version_num")) or 0)
        if version < MINIMUM_VERSION:
            raise ConfigurationError(
                f"ledger.url: PostgreSQL {version // 10000} is too old; the ledger needs 18, the sources may be older"
            )
        # A role called like our schema would have it on its search path and confuse Alembic's comparison.
        connection.execute(sqlalchemy.text("set search_path = pg_catalog"))
        connection.execute(sqlalchemy.text("select pg_advisory_lock(hashtext('wake migrate'))"))
        connection.execute(sqlalchemy.text(f"create schema if not exists {SCHEMA}"))
        connection.commit()
        config = _alembic()
        config.attributes["connection"] = connection
        command.upgrade(config, "head")
        connection.commit()
        connection.execute(sqlalchemy.text("select pg_advisory_unlock_all()"))


def require_current(url: str) -> None:
    """Refuse to work with a ledger whose schema is not this version's.

    Raises `ConfigurationError` with what to do.
    """
    try:
        with engine(url, poolclass=NullPool).connect() as connection:
            options = {"version_table_schema": SCHEMA}
            found = MigrationContext.configure(connection, opts=options).get_current_revision()
    except OperationalError as error:
        raise TransientError(f"the ledger cannot be reached: {first_line(error.orig)}") from error
    wanted = head()
    if found != wanted:
        state = "has no schema yet" if found is None else f"is at revision {found}, this version needs {wanted}"
        raise ConfigurationError(f"the ledger {state}; run `wake apply`")


def first_line(error: object) -> str:
    """What a driver says, without its advice on the lines below."""
    return str(error).strip().partition("\n")[0]


@functools.cache
def head() -> str:
    """The newest revision that this version knows."""
    return ScriptDirectory.from_config(_alembic()).get_current_head() or ""


def _alembic() -> AlembicConfig:
    config = AlembicConfig()
    config.set_main_option("script_location", str(Path(migrations.__file__).parent))
    return config
