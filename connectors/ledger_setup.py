"""The ledger as `apply` needs it: one at a time, its schema up to date, its keys made."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
from alembic.util import CommandError
from psycopg import conninfo

from connectors import databases
from connectors.steps import Report, Step
from wakestream import capture, ledger
from wakestream.capture import Revision
from wakestream.config import Loaded, reveal
from wakestream.errors import ConfigurationError, FatalError
from wakestream.ledger import database, settings

_LOCK = "hashtext('wake apply')"


@contextmanager
def locked(url: str, report: Report) -> Generator[psycopg.Connection]:
    """A connection in autocommit that holds the lock of all who attach and detach."""
    with database.connect(url, name="apply", autocommit=True) as connection:
        with databases.asking("the ledger"):
            row = connection.execute(f"select pg_try_advisory_lock({_LOCK})").fetchone()
            if row is not None and not row[0]:
                report("another `wake apply` or `wake detach` is at work on this ledger; waiting for it")
                connection.execute(f"select pg_advisory_lock({_LOCK})")
        yield connection


def session(loaded: Loaded, purpose: str) -> psycopg.Connection[Any]:
    """A session with a ledger that has this version's schema, in autocommit.

    Raises `ConfigurationError` when it has another.
    """
    url = reveal(loaded.config.ledger.url)
    ledger.require_current(url)
    return ledger.connect(url, name=purpose, autocommit=True)


@contextmanager
def locked_now(connection: psycopg.Connection[Any]) -> Generator[bool]:
    """Hold the same lock on a connection in autocommit where nobody has it; whether it is held."""
    row = connection.execute(f"select pg_try_advisory_lock({_LOCK})").fetchone()
    held = row is not None and bool(row[0])
    try:
        yield held
    finally:
        if held:
            connection.execute(f"select pg_advisory_unlock({_LOCK})")


def steps(loaded: Loaded, connection: psycopg.Connection) -> Iterator[Step]:
    """What has to be done so that schema, keys and settings are there."""
    url = reveal(loaded.config.ledger.url)
    role = _lookups_role(loaded)
    with databases.asking("the ledger"):
        current = _is_current(url)
        if not current:
            yield _step("bring the ledger's schema up to date", lambda: _migrate(url, connection))
        elif (
            settings.read(connection, settings.MARK_KEY) is None or settings.read(connection, settings.MASK_KEY) is None
        ):
            yield _step("make the ledger's keys", lambda: settings.ensure_keys(connection))
        if role is not None and (not current or settings.read(connection, settings.LOOKUPS_ROLE) != role):
            what = f"remember that lookups run as {role}"
            yield _step(what, lambda: settings.write(connection, settings.LOOKUPS_ROLE, role))


def _step(what: str, do: Callable[[], object]) -> Step:
    return Step(what, do, object="ledger", effect="none; it is our own database")


def newest_revision(connection: psycopg.Connection, source: str) -> Revision | None:
    """What was captured of the source so far; None for a new source or a new ledger."""
    with databases.asking("the ledger"):
        row = connection.execute("select to_regclass('wake.revision') is not null").fetchone()
        return capture.load(connection, source) if row is not None and row[0] else None


def _is_current(url: str) -> bool:
    try:
        ledger.require_current(url)
    except ConfigurationError:
        return False
    return True


def _migrate(url: str, connection: psycopg.Connection) -> None:
    try:
        ledger.migrate(url)
    except CommandError as error:
        raise FatalError(f"the ledger cannot be brought to this version ({error}); run a newer wakestream") from error
    settings.ensure_keys(connection)


def _lookups_role(loaded: Loaded) -> str | None:
    """The role of `ledger.lookups`, which must not be the one that owns everything."""
    secret = loaded.config.ledger.lookups
    if secret is None:
        return None
    place = loaded.document.place(("ledger", "lookups"))
    try:
        owner, role = (conninfo.conninfo_to_dict(reveal(url)).get("user") for url in (loaded.config.ledger.url, secret))
    except psycopg.ProgrammingError:
        raise ConfigurationError(f"{place}: ledger.lookups is no PostgreSQL URL; write postgresql://…") from None
    if not role or role == owner:
        raise ConfigurationError(
            f"{place}: ledger.lookups must name a role of its own, which may only read the context store"
        )
    return str(role)
