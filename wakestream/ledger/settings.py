"""What the ledger remembers for itself: the key of its marks, the key of its masks, the role of the lookups."""

from __future__ import annotations

import hashlib
import secrets
from typing import Any

import psycopg

from wakestream.errors import FatalError
from wakestream.ledger import database

MARK_KEY = "mark_key"
MASK_KEY = "mask_key"
LOOKUPS_ROLE = "lookups_role"


def ensure_keys(connection: psycopg.Connection[Any]) -> None:
    """Make the keys of a new ledger; those of an old one stay."""
    with connection.cursor() as cursor:
        for name in (MARK_KEY, MASK_KEY):
            cursor.execute(
                "insert into wake.setting (name, value) values (%s, %s) on conflict do nothing",
                (name, secrets.token_hex(32)),
            )


def read(connection: psycopg.Connection[Any], name: str) -> str | None:
    """One setting, or None."""
    row = connection.execute("select value from wake.setting where name = %s", (name,)).fetchone()
    return None if row is None else str(row[0])


def write(connection: psycopg.Connection[Any], name: str, value: str) -> None:
    """Set one setting."""
    connection.execute(
        "insert into wake.setting (name, value) values (%s, %s)"
        " on conflict (name) do update set value = excluded.value",
        (name, value),
    )


def key(connection: psycopg.Connection[Any], name: str) -> bytes:
    """A key's bytes; the ledger has it since `apply`."""
    value = read(connection, name)
    if value is None:
        raise LookupError(f"the ledger has no {name}; run `wake apply`")
    return bytes.fromhex(value)


def group(url: str, work: str) -> str:
    """The name of the consumer group whose members share a kind of work for this ledger, and for no other.

    Raises `FatalError` when the ledger has no keys yet.
    """
    with database.connect(url, name=f"{work} group") as connection:
        try:
            own = hashlib.sha256(key(connection, MARK_KEY)).hexdigest()
        except LookupError as error:
            raise FatalError(str(error)) from error
    return f"wake-{work}-{own[:8]}"
