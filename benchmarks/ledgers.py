"""Ledgers of a benchmark's own, and what is asked of them to see how far consumer and agent have come."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from typing import Any, cast
from urllib.parse import quote, urlsplit

import psycopg
from psycopg import sql

from benchmarks import traffic
from localstack import Stack


@contextmanager
def database(admin_url: str, name: str, owner: str | None = None, template: str = "template1") -> Generator[str]:
    """A database that is dropped in the end, with whatever slots read it; gives its URL under the same role."""
    with traffic.connect(admin_url) as admin:
        create = sql.SQL("create database {} owner {} template {}").format(
            sql.Identifier(name),
            sql.Identifier(owner) if owner else sql.SQL("default"),
            sql.Identifier(template),
        )
        admin.execute(create)
    try:
        yield urlsplit(admin_url)._replace(path=f"/{name}").geturl()
    finally:
        with traffic.connect(admin_url) as admin:
            admin.execute("select pg_terminate_backend(pid, 10000) from pg_stat_activity where datname = %s", (name,))
            admin.execute(
                "select pg_drop_replication_slot(slot_name) from pg_replication_slots where database = %s", (name,)
            )
            admin.execute(sql.SQL("drop database {} with (force)").format(sql.Identifier(name)))


@contextmanager
def ledger(stack: Stack, name: str, template: str = "template1") -> Generator[str]:
    """A new ledger beside the stack's own, empty or as the template is; gives its owner's URL."""
    url = urlsplit(stack.env()["LEDGER_URL"])
    password = quote(stack.home.password("postgres"), safe="")
    admin = url._replace(netloc=f"postgres:{password}@{url.hostname}:{url.port}", path="/postgres").geturl()
    with database(admin, name, owner=url.username, template=template):
        yield url._replace(path=f"/{name}").geturl()


class Looks:
    """A session with a ledger that only looks."""

    def __init__(self, connection: psycopg.Connection[Any]) -> None:
        self._connection = connection

    def offset(self, source: str) -> int:
        """The last record of a source's change log that is applied; -1 before the first."""
        return self._number('select "offset" from wake.source_position where source = %s', (source,))

    def has_applied(self, source: str, lsn: int) -> bool:
        """Whether everything that a source has committed up to there is in a complete context store."""
        commit = self._number('select "commit" from wake.source_position where source = %s', (source,))
        incomplete = "select count(*) from wake.mirror_state where source = %s and not complete"
        return commit >= lsn and self._number(incomplete, (source,)) == 0

    def agent_position(self, topic: str) -> int:
        """How many messages of the context topic the agent has passed, over all partitions."""
        return self._number("select sum(kafka_offset) from wake.partition_position where topic = %s", (topic,))

    def agent_epoch(self, topic: str) -> int:
        """How many agents have owned every partition of the context topic."""
        return self._number("select min(epoch) from wake.partition_position where topic = %s", (topic,), absent=0)

    def runs(self) -> int:
        """How many runs have succeeded."""
        return self._number("select count(*) from wake.run where state = 'succeeded'", ())

    def activated(self, marks: range) -> dict[int, float]:
        """When the activation that each marked row led to was written, in seconds of `time.time`."""
        mark = "(event #>> '{data,after,mark}')::bigint"
        rows = self._connection.execute(
            f"select {mark}, extract(epoch from created_at)::float8 from wake.activation"
            f" where {mark} between %s and %s",
            (marks.start, marks.stop - 1),
        ).fetchall()
        return {int(number): float(at) for number, at in rows}

    def _number(self, query: str, values: tuple[str, ...], absent: int = -1) -> int:
        row = self._connection.execute(query.encode(), values).fetchone()
        return absent if row is None or row[0] is None else int(cast("int", row[0]))


@contextmanager
def looks(url: str) -> Generator[Looks]:
    """Look into a ledger."""
    with traffic.connect(url) as connection:
        yield Looks(connection)
