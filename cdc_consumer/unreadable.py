"""What PostgreSQL cannot read or work out: a value, a key in two spellings, a document. The rest goes on.

Statements take many rows. When one fails for what a row holds, its batch is rolled back and applied once more in
careful mode: each row, and each document, by itself behind a savepoint, so that what is at fault is found.
"""

from __future__ import annotations

import contextlib
from typing import Any

import psycopg

from cdc_consumer.tables import TablePlan
from wakestream.ledger import Connection

# A value that no index takes is a limit of the program's to PostgreSQL, and psycopg counts those as the world's faults.
UNREADABLE = (
    psycopg.DataError,
    psycopg.IntegrityError,
    psycopg.errors.CardinalityViolation,
    psycopg.errors.ProgramLimitExceeded,
    psycopg.errors.StatementTooComplex,
)


def kind(error: psycopg.Error) -> str:
    """What went wrong, without PostgreSQL's words: they quote the value, which may be one that is masked."""
    return f"{type(error).__name__}, {error.sqlstate}"


def reason(plan: TablePlan, error: psycopg.Error) -> str:
    """Why a row cannot be read, in PostgreSQL's words where nothing of the table is masked."""
    if plan.settings.mask:
        return f"a value that PostgreSQL does not read ({kind(error)})"
    return str(error).splitlines()[0]


def savepoint(connection: Connection, *, wanted: bool) -> contextlib.AbstractContextManager[Any]:
    """A savepoint, or nothing when rows are not applied one by one."""
    return connection.transaction() if wanted else contextlib.nullcontext()
