"""The agent's connections to the ledger; psycopg's exceptions end here."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Generator, Iterable, Mapping, Sequence
from typing import Any, LiteralString

import psycopg
from psycopg import sql

from wakestream import ledger
from wakestream.errors import FatalError, TransientError, WakeError
from wakestream.ledger.connection import Answer

Cursor = Answer
AnyConnection = psycopg.Connection[Any]
"""One that may be ours or the console's."""

# Every statement here looks up a few rows by an index. A plan is made once, perhaps while the tables are empty, and
# kept until somebody analyses them: one that reads a table whole, or sorts it, must not be what a burst meets.
_SESSION = {"synchronous_commit": "off", "enable_seqscan": "off", "enable_sort": "off", "jit": "off"}
LONGEST = 20  # seconds of a transaction: whoever is frozen in one keeps nobody waiting for longer

_FATAL_CLASSES = {
    "28",  # the role or its password
    "3D",  # no such database
    "3F",  # no such schema
    "42",  # a statement of ours does not fit the schema, or the role may not
}


def convert(error: psycopg.Error, doing: str) -> WakeError:
    """Our error for one of psycopg's, saying what was being done."""
    state, text = error.sqlstate or "", str(error).strip()
    if state[:2] in _FATAL_CLASSES or isinstance(error, psycopg.ProgrammingError | psycopg.NotSupportedError):
        return FatalError(f"the ledger, {doing}: {text}")
    return TransientError(f"the ledger, {doing}: {text}", family="ledger")


class Connection(ledger.Connection):
    """A connection on which every statement is asked: it is sent where rows are fetched or the transaction ends.

    So statements travel together, with BEGIN and COMMIT beside them. What one has touched is asked by `returning`.
    """

    def execute(  # pyright: ignore[reportIncompatibleMethodOverride] - an answer has what is used of a cursor
        self, query: str | sql.Composable, params: Sequence[Any] | Mapping[str, Any] = ()
    ) -> Answer:
        """Ask for a statement to be executed."""
        return self.ask(query.as_bytes(self) if isinstance(query, sql.Composable) else query, params)


class Ledger:
    """One thread's connection to the ledger, opened when first needed and again after it was lost.

    What ends the transaction of a process that is frozen in it is `transaction_timeout`.
    """

    def __init__(self, url: str, name: str) -> None:
        self._url = url
        self._name = name
        self._connection: Connection | None = None
        self._lock = threading.Lock()
        self.backend: int | None = None
        """The server's number of the session that was opened last."""

    @contextlib.contextmanager
    def transaction(self, doing: str, *, durable: bool = True) -> Generator[Connection]:
        """A transaction; raises `TransientError` or `FatalError` for what psycopg raises in it.

        `durable=False` is for what a crash of the ledger may take back without harm.
        """
        with self._lock:
            try:
                connection = self._open()
                with _ended(connection):
                    if durable:
                        connection.execute("set local synchronous_commit = on")
                    yield connection
            except psycopg.Error as error:
                self._drop_if_broken()
                raise convert(error, doing) from error

    def close(self) -> None:
        """Close the connection; the next transaction opens another."""
        with self._lock:
            self._drop()

    def _open(self) -> Connection:
        if self._connection is None or self._connection.closed:
            session = {**_SESSION, "transaction_timeout": f"{LONGEST}s"}
            self._connection = ledger.connect(self._url, name=self._name, kind=Connection, session=session)
            self.backend = self._connection.info.backend_pid
        return self._connection

    def _drop_if_broken(self) -> None:
        if self._connection is not None and (self._connection.closed or self._connection.broken):
            self._drop()

    def _drop(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            with contextlib.suppress(psycopg.Error):
                connection.close()


def execute_each(
    connection: Connection, query: LiteralString, rows: Iterable[Sequence[Any] | Mapping[str, Any]]
) -> None:
    """Execute a statement for each row; all travel together."""
    for row in rows:
        connection.execute(query, row)


@contextlib.contextmanager
def _ended(connection: Connection) -> Generator[None]:
    """Commit what is done inside, or roll it back."""
    try:
        yield
        connection.commit()
    except BaseException:
        with contextlib.suppress(psycopg.Error):
            connection.rollback()
        raise
