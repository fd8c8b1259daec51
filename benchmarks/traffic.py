"""The table whose rows change, and the ways in which they do; each runs in a process of its own."""

from __future__ import annotations

import time
from typing import Any

import psycopg

from benchmarks.children import Ready
from benchmarks.counts import ROWS_PER_TRANSACTION, Rate

TABLE, KINDS = "public.item", "public.kind"
SCHEMA = """
    create table item (
        id bigint primary key, mark bigint not null, kind text not null, name text, code text, quantity int,
        price numeric(12, 2), changed_at timestamptz
    );
    create table kind (kind text primary key, label text);
    insert into kind values ('idle', 'nobody waits'), ('waking', 'somebody is woken')
"""
"""`mark` is another one with every change, by which readers tell them apart."""

IDLE, WAKING = "idle", "waking"
_VALUES = "'item ' || g, left(md5(g::text), 8), (g %% 1000)::int, g %% 100000 / 7.0, now()"
_INSERT_MANY = f"insert into item select g, g, '{IDLE}', {_VALUES} from generate_series(%s::bigint, %s::bigint) g"
_INSERT_ONE = f"insert into item select g, g, %s, {_VALUES} from cast(%s as bigint) g"
_UPDATE_ONE = "update item set mark = %s, kind = %s where id = %s"
_WAKE_MANY = "update item set kind = %s where id between %s and %s"
_UPDATE_MANY = "update item set mark = %s + id where id between %s and %s"


def connect(url: str) -> psycopg.Connection[Any]:
    """A session in autocommit: a statement is a transaction."""
    return psycopg.connect(url, autocommit=True)


def fill(url: str, marks: range) -> None:
    """Rows in one transaction, which nothing is measured of."""
    with connect(url) as connection:
        connection.execute(_INSERT_MANY, (marks.start, marks.stop - 1))


def load(ready: Ready, url: str, marks: range) -> tuple[float, float]:
    """A row for each mark, a hundred in a transaction, as fast as it goes; returns when it began and ended."""
    with connect(url) as connection:
        ready()
        began = time.perf_counter()
        for start in range(marks.start, marks.stop, ROWS_PER_TRANSACTION):
            connection.execute(_INSERT_MANY, (start, min(start + ROWS_PER_TRANSACTION, marks.stop) - 1))
        return began, time.perf_counter()


def pace(ready: Ready, url: str, rate: Rate, marks: range, pool: range) -> dict[int, float]:
    """One-row transactions at a steady pace; returns when each was about to be sent.

    Those that fire the trigger are inserts and updates in turn, and so are the others; every update takes an idle row
    of the pool that it has not touched yet.
    """
    sent: dict[int, float] = {}
    with connect(url) as connection:
        ready()
        began = time.perf_counter()
        for number, mark in enumerate(marks):
            kind = WAKING if number % rate.activates == 0 else IDLE
            inserts = number // rate.activates % 2 == 0
            statement, values = (
                (_INSERT_ONE, (kind, mark)) if inserts else (_UPDATE_ONE, (mark, kind, pool.start + number))
            )
            time.sleep(max(0.0, began + number / rate.per_second - time.perf_counter()))
            sent[mark] = time.perf_counter()
            connection.execute(statement, values)
    return sent


def wake(url: str, pool: range) -> None:
    """Let every row of the pool fire the trigger once, a hundred in a transaction."""
    with connect(url) as connection:
        for start in range(pool.start, pool.stop, ROWS_PER_TRANSACTION):
            connection.execute(_WAKE_MANY, (WAKING, start, min(start + ROWS_PER_TRANSACTION, pool.stop) - 1))


def touch(url: str, marks: range, pool: range) -> None:
    """Change nothing but `mark`, a hundred rows of the pool in a transaction, until there were as many as marks."""
    with connect(url) as connection:
        for number, first in enumerate(range(marks.start, marks.stop, ROWS_PER_TRANSACTION)):
            offset = number * ROWS_PER_TRANSACTION % len(pool)
            start = pool.start + offset
            connection.execute(_UPDATE_MANY, (first - start, start, start + ROWS_PER_TRANSACTION - 1))
