"""The replication slot of a source: looked at by everyone, made by Debezium, dropped by us."""

from __future__ import annotations

import time

import msgspec
import psycopg

from connectors.connect import Clock, StillWaiting
from connectors.databases import Connection
from wakestream import topics

PATIENCE = 30.0  # seconds for a walsender to end
PAUSE = 0.2  # seconds between attempts


class Slot(msgspec.Struct, frozen=True):
    """What PostgreSQL says of the slot."""

    active: bool
    """Whether somebody reads from it now."""
    wal_status: str
    """`reserved`, `extended`, `unreserved` or `lost`."""
    behind_bytes: int
    """WAL that is not confirmed as read yet."""
    retained_bytes: int
    """WAL that the server keeps for it."""


def find(connection: Connection, source: str) -> Slot | None:
    """The source's slot; None where there is none."""
    row = connection.execute(
        "select active, coalesce(wal_status, 'unknown'),"
        " coalesce(pg_wal_lsn_diff(pg_current_wal_lsn(), confirmed_flush_lsn), 0)::bigint,"
        " coalesce(pg_wal_lsn_diff(pg_current_wal_lsn(), restart_lsn), 0)::bigint"
        " from pg_replication_slots where slot_name = %s",
        (topics.slot(source),),
    ).fetchone()
    return None if row is None else Slot(*row)


def drop(connection: Connection, source: str, clock: Clock = time) -> bool:
    """Drop the slot, ending the walsender that may be left from a dead worker. False where there was none."""
    name, deadline = topics.slot(source), clock.monotonic() + PATIENCE
    while True:
        row = connection.execute("select active_pid from pg_replication_slots where slot_name = %s", (name,)).fetchone()
        if row is None:
            return False
        try:
            if row[0] is not None:
                connection.execute("select pg_terminate_backend(%s)", (row[0],))
            connection.execute("select pg_drop_replication_slot(%s)", (name,))
            return True
        except psycopg.errors.UndefinedObject:
            return False
        except psycopg.errors.ObjectInUse:
            if clock.monotonic() >= deadline:
                raise StillWaiting(f"slot {name} is still in use after {PATIENCE:g} s; who reads from it?") from None
            clock.sleep(PAUSE)
