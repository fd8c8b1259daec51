"""Databases with the table whose rows change, each a source of its own."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass

from benchmarks import ledgers, traffic
from wakestream import topics


@dataclass(frozen=True)
class Source:
    """One database, under the name that it has as a source, too."""

    name: str
    url: str

    @property
    def changes(self) -> str:
        """Its change log."""
        return topics.changes(self.name)

    @property
    def context(self) -> str:
        """The topic of its context events."""
        return topics.context(self.name)


@contextmanager
def source(admin_url: str, name: str) -> Generator[Source]:
    """A new database with empty tables, which is dropped in the end."""
    with ledgers.database(admin_url, name) as url:
        with traffic.connect(url) as connection:
            connection.execute(traffic.SCHEMA)
        yield Source(name, url)
