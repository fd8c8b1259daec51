"""What we know of a source's tables: read once from its catalogue, kept in the ledger as revisions."""

from __future__ import annotations

import msgspec


class Column(msgspec.Struct, frozen=True):
    """One column as PostgreSQL describes it."""

    name: str
    type: str
    """`format_type`, for people and for DDL: `timestamp with time zone`, `character varying(20)`."""
    base: str
    """The type's own name, domains resolved: `int4`, `timestamptz`; of an array its element's, or `enum` …"""
    array: bool = False
    not_null: bool = False
    generated: bool = False
    toastable: bool = False
    """Its values may be stored out of line, so an update may not carry them."""
    domain: bool = False
    """Whether its own type is a domain over this one."""
    number: int = 0
    """PostgreSQL's `attnum`, which outlives a new name and is never given twice; 0 in revisions that lack it."""
    labels: tuple[str, ...] = ()
    """Of an enum its values, in order."""
    fields: tuple[Column, ...] = ()
    """Of a composite type its attributes, in order."""


class ForeignKey(msgspec.Struct, frozen=True):
    """A reference from a table's columns to those of another, in matching order."""

    name: str
    columns: tuple[str, ...]
    table: str
    """`schema.table` of the referenced table."""
    references: tuple[str, ...]


class Table(msgspec.Struct, frozen=True):
    """One captured table."""

    schema: str
    name: str
    columns: tuple[Column, ...]
    key: tuple[str, ...] = ()
    """The primary key's columns in index order; empty without one."""
    replica_identity: str = "default"
    """`default`, `full`, `nothing` or `index`."""
    foreign_keys: tuple[ForeignKey, ...] = ()
    kind: str = "table"
    """`table`, `partitioned`, `view`, `foreign`, `unlogged` …"""
    oid: int = 0
    """Another for a table that was dropped and made again; 0 in revisions that lack it."""

    @property
    def label(self) -> str:
        """`schema.table`."""
        return f"{self.schema}.{self.name}"

    def column(self, name: str) -> Column | None:
        """The column of that name, or None."""
        return next((column for column in self.columns if column.name == name), None)


class Catalogue(msgspec.Struct, frozen=True):
    """The tables of one source at one moment."""

    source: str
    system_identifier: str
    """PostgreSQL's own, as text: it exceeds what a float holds."""
    timeline: int
    server_version: int
    """`server_version_num`, as in 180006."""
    tables: dict[str, Table]
    """By `schema.table`."""

    def table(self, label: str) -> Table | None:
        """The table called `schema.table`, or None."""
        return self.tables.get(label)
