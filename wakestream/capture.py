"""What is captured of a source, with all names resolved: the part of the configuration that the consumer works by.

`apply` stores it in the ledger together with the catalogue as a revision; consumer and agent read it from there.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from typing import Any, Literal

import msgspec
import psycopg

from wakestream.catalogue import Catalogue

Form = Literal["text", "unscaled", "days", "time_ms", "time_us", "timestamp_ms", "timestamp_us"]
"""How the values of a column come where somebody else's connector writes them; `text` is how ours does."""


class Adopted(msgspec.Struct, frozen=True):
    """A connector that somebody else runs, as far as reading what it writes needs."""

    connector: str
    """Its name in Kafka Connect."""
    topics: dict[str, str]
    """By `schema.table`."""


class CapturedTable(msgspec.Struct, frozen=True):
    """How one table is captured and shown."""

    exclude: tuple[str, ...] = ()
    mask: dict[str, str] = {}
    untrusted: tuple[str, ...] = ()
    mirror: bool = True
    withheld: tuple[str, ...] = ()
    """Columns that came or were renamed later, and that nobody has allowed to be shown."""
    lost: tuple[str, ...] = ()
    """Columns whose values an adopted connector does not give whole."""
    forms: dict[str, Form] = {}
    """Of an adopted connector: the columns whose form depends on its settings."""

    @property
    def hidden(self) -> frozenset[str]:
        """Columns that are in no image."""
        return frozenset((*self.exclude, *self.withheld))

    @property
    def unsent(self) -> tuple[str, ...]:
        """Columns that are kept out of Kafka: where some are excluded, those that are withheld too."""
        return tuple(sorted(self.hidden)) if self.exclude else ()


class Member(msgspec.Struct, frozen=True):
    """A resolved member of an entity, or of another member."""

    name: str
    table: str
    many: bool = False
    columns: tuple[str, ...] = ()
    """Columns of the row above it by which it is found; none where it is found by `where` alone."""
    references: tuple[str, ...] = ()
    """Its own columns that equal them, in the same order."""
    where: str | None = None
    order: str | None = None
    limit: int | None = None
    fields: tuple[str, ...] | None = None
    """The columns that are shown, the key's among them; all, where it is None."""
    watch: bool = True
    """Whether a change of it changes the document; never of one that is found by `where` alone."""
    fan_out: int = 10_000
    """How many documents one transaction may change through it."""
    key: tuple[str, ...] = ()
    """The primary key of its table, which orders what `order` leaves open."""
    pick: bool = False
    """Whether several rows may be found though one is shown: the first."""
    members: tuple[Member, ...] = ()


class Computed(msgspec.Struct, frozen=True):
    """A field worked out by SQL."""

    name: str
    sql: str
    type: str
    """Its PostgreSQL type, as the ledger inferred it: `int4`, `bool`, `timestamptz` …"""


class Entity(msgspec.Struct, frozen=True):
    """A resolved entity."""

    name: str
    root: str
    members: tuple[Member, ...] = ()
    computed: tuple[Computed, ...] = ()
    fields: tuple[str, ...] | None = None
    """The root's columns that are shown, the key's among them; all, where it is None."""
    max_size: int = 256 * 1024
    """Bytes that a document may have."""

    def chains(self) -> Iterator[tuple[Member, ...]]:
        """Every member at its end, with those above it before it; what is above stands first."""
        return _chains((), self.members)

    @property
    def tables(self) -> frozenset[str]:
        """Every table that a document shows."""
        return frozenset({self.root, *(chain[-1].table for chain in self.chains())})


def _chains(above: tuple[Member, ...], members: Iterable[Member]) -> Iterator[tuple[Member, ...]]:
    for member in members:
        yield (*above, member)
        yield from _chains((*above, member), member.members)


class Capture(msgspec.Struct, frozen=True):
    """Everything captured of one source."""

    tables: dict[str, CapturedTable]
    entities: dict[str, Entity] = {}
    placeholder: str = ""
    """What Debezium writes for an unchanged value that it was not sent."""
    placed: str = ""
    """The name of the control record in the change log from which on this is in force; empty: at once."""
    suspended: dict[str, str] = {}
    """Entities that the schema no longer allows, with the reason."""
    adopted: Adopted | None = None
    """Whose topics are read in the place of a change log of ours."""


class Revision(msgspec.Struct, frozen=True):
    """A catalogue and what is captured of it, as stored at one moment."""

    id: int
    source: str
    catalogue: Catalogue
    capture: Capture


def store(connection: psycopg.Connection[Any], catalogue: Catalogue, capture: Capture) -> int:
    """Store a revision unless the newest of the source says the same; returns its id."""
    texts = (
        msgspec.json.encode(catalogue, order="sorted").decode(),
        msgspec.json.encode(capture, order="sorted").decode(),
    )
    digest = hashlib.sha256("\n".join(texts).encode()).hexdigest()
    with connection.cursor() as cursor:
        cursor.execute(
            "select id, digest from wake.revision where source = %s order by id desc limit 1", (catalogue.source,)
        )
        newest = cursor.fetchone()
        if newest is not None and newest[1] == digest:
            return int(newest[0])
        cursor.execute(
            "insert into wake.revision (source, digest, catalogue, capture) values (%s, %s, %s, %s) returning id",
            (catalogue.source, digest, *texts),
        )
        row = cursor.fetchone()
    return int(row[0]) if row else 0


def newest_unplaced(connection: psycopg.Connection[Any], source: str) -> int | None:
    """The newest revision that is in force without a record in the log."""
    row = connection.execute(
        "select max(id) from wake.revision where source = %s and coalesce(capture ->> 'placed', '') = ''", (source,)
    ).fetchone()
    return None if row is None else row[0]


def find_placed(connection: psycopg.Connection[Any], source: str, name: str) -> Revision | None:
    """The revision that waits for the control record of this name; None where this ledger knows of none."""
    row = connection.execute(
        "select max(id) from wake.revision where source = %s and capture ->> 'placed' = %s", (source, name)
    ).fetchone()
    return None if row is None or row[0] is None else load(connection, source, row[0])


def load(connection: psycopg.Connection[Any], source: str, number: int | None = None) -> Revision | None:
    """One revision of a source, the newest without a number; None when there is none."""
    condition = "source = %s" if number is None else "source = %s and id = %s"
    parameters: tuple[Any, ...] = (source,) if number is None else (source, number)
    row = connection.execute(
        f"select id, catalogue::text, capture::text from wake.revision where {condition} order by id desc limit 1",  # noqa: S608
        parameters,
    ).fetchone()
    if row is None:
        return None
    catalogue = msgspec.json.decode(row[1], type=Catalogue)
    return Revision(int(row[0]), source, catalogue, msgspec.json.decode(row[2], type=Capture))
