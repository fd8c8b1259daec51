"""Sessions with a source: read-only ones of the capture role, and those of the role that makes the publication."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import psycopg
from psycopg import conninfo
from pydantic import SecretStr

from wakestream.config import Loaded, reveal
from wakestream.config.loading import nearest
from wakestream.errors import ConfigurationError, FatalError, RefusedError, TransientError, WakeError

CONNECT_TIMEOUT = 10  # seconds
STATEMENT_TIMEOUT = 30_000  # milliseconds
LOCK_TIMEOUT = 5_000  # milliseconds for a lock on a table that applications use

_SESSION = f"-c statement_timeout={STATEMENT_TIMEOUT} -c timezone=UTC"
READ_ONLY = f"{_SESSION} -c default_transaction_read_only=on"
# Keeps the timeouts that the role has, and reads text of a database without encoding too.
UNTIMED = "-c timezone=UTC -c default_transaction_read_only=on -c client_encoding=utf8"
DDL = f"{_SESSION} -c lock_timeout={LOCK_TIMEOUT}"
Connection = psycopg.Connection[Any]


@dataclass(frozen=True, slots=True)
class Address:
    """A source's database as its capture URL names it."""

    host: str
    port: str
    database: str
    user: str
    password: str
    """In clear; only for the file from which Connect reads it."""
    tls: dict[str, str]
    """`sslmode` and the like, where the URL has them."""

    def __repr__(self) -> str:
        return f"Address({self.user}@{self.host}:{self.port}/{self.database})"


def require_source(loaded: Loaded, source: str) -> None:
    """Raises `ConfigurationError` for a source that the file does not have."""
    sources = loaded.config.sources
    if source not in sources:
        raise ConfigurationError(f"no source `{source}` in {loaded.document.path}{nearest(source, sources)}")


def require_own(loaded: Loaded, source: str, what: str) -> None:
    """Raises `RefusedError` for a source whose connector, slot and publication are somebody else's."""
    require_source(loaded, source)
    adopted = loaded.config.sources[source].adopt
    if adopted is not None:
        raise RefusedError(
            f"source {source} adopts connector `{adopted}`, whose topics are read and nothing else: there is no {what}."
            f" `wake doctor {source}` says what is wrong with it, and which of its settings its owner can mend that by"
        )


def end_of_wal(connection: Connection) -> int:
    """An LSN behind everything that any session can see now, whether it is written to disk yet or not."""
    row = connection.execute("select (pg_current_wal_insert_lsn() - '0/0')::bigint").fetchone()
    return int(row[0]) if row else 0


def address(loaded: Loaded, source: str) -> Address:
    """Where Connect will find the source.

    Raises `ConfigurationError` for a URL that only a local client could use.
    """
    path = ("sources", source, "capture")
    place = loaded.document.place(path)
    try:
        parts = conninfo.conninfo_to_dict(reveal(loaded.config.sources[source].capture))
    except psycopg.ProgrammingError:  # Its message repeats the URL with the password.
        raise ConfigurationError(
            f"{place}: sources.{source}.capture is no PostgreSQL URL; write postgresql://user:password@host:5432/database"
        ) from None
    host, user = str(parts.get("host") or ""), str(parts.get("user") or "")
    if not host or not user or "," in host or host.startswith("/"):
        raise ConfigurationError(
            f"{place}: sources.{source}.capture must name one host and a user, for Kafka Connect uses it too;"
            " write postgresql://user:password@host:5432/database"
        )
    return Address(
        host=host,
        port=str(parts.get("port") or "5432"),
        database=str(parts.get("dbname") or user),
        user=user,
        password=str(parts.get("password") or ""),
        tls={name: str(parts[name]) for name in ("sslmode", "sslrootcert", "sslcert", "sslkey") if name in parts},
    )


def capture(loaded: Loaded, source: str, *, purpose: str = "apply") -> Connection:
    """A read-only session of the capture role, in autocommit."""
    return _open(loaded, source, "capture", loaded.config.sources[source].capture, READ_ONLY, purpose)


def admin(loaded: Loaded, source: str, *, purpose: str = "apply") -> Connection | None:
    """A session of the role that may make the publication; None where the file names none."""
    url = loaded.config.sources[source].admin
    return None if url is None else _open(loaded, source, "admin", url, DDL, purpose)


def reader(url: SecretStr, what: str, *, purpose: str, options: str = READ_ONLY) -> Connection:
    """A read-only session by URL alone, before there is a configuration; `what` names the database in errors."""
    return _connect(url, options, what, purpose)


def ledger_reader(loaded: Loaded, *, purpose: str = "apply") -> Connection:
    """A read-only session with the ledger, with the settings under which the consumer runs the SQL of entities."""
    url, options = loaded.config.ledger.url, f"{READ_ONLY} -c search_path=pg_catalog"
    return _connect(url, options, f"{loaded.document.place(('ledger', 'url'))}: the ledger", purpose)


def _open(loaded: Loaded, source: str, part: str, url: SecretStr, options: str, purpose: str) -> Connection:
    where = f"{loaded.document.place(('sources', source, part))}: sources.{source}.{part}"
    return _connect(url, options, where, purpose)


def _connect(url: SecretStr, options: str, what: str, purpose: str) -> Connection:
    try:
        return psycopg.connect(
            reveal(url),
            autocommit=True,
            application_name=f"wake {purpose}",
            connect_timeout=CONNECT_TIMEOUT,
            options=options,
        )
    except psycopg.OperationalError as error:
        raise convert(error, what) from error
    except psycopg.ProgrammingError:
        raise ConfigurationError(f"{what} is no PostgreSQL URL; write postgresql://user:password@host/name") from None


@contextmanager
def asking(what: str) -> Generator[None]:
    """Let PostgreSQL's errors out as ours; `what` says which database and what is being done."""
    try:
        yield
    except psycopg.Error as error:
        raise convert(error, what) from error


def convert(error: psycopg.Error, what: str) -> WakeError:
    """Our error for one of PostgreSQL's; `what` says which database and what was being done."""
    message = " ".join((error.diag.message_primary or str(error)).split())
    if error.diag.message_hint:
        message += f" ({error.diag.message_hint})"
    if isinstance(error, psycopg.errors.InsufficientPrivilege):
        return FatalError(f"{what}: {message}; grant that to the role, or name another role")
    state = error.sqlstate
    if isinstance(error, psycopg.OperationalError) and (state is None or state[:2] not in ("28", "3D")):
        denied = "authentication failed" in message or "does not exist" in message
        return FatalError(f"{what}: {message}") if denied else TransientError(f"{what}: {message}")
    return FatalError(f"{what}: {message}")
