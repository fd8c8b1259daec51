"""The two sides of a comparison, the source's table and its mirror, asked the same questions in SQL.

Rows are compared by digests of what `to_jsonb` prints, masks applied, so no value leaves either server.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import psycopg
from psycopg import sql

from cdc_consumer import masks
from cdc_consumer.tables import TablePlan
from wakestream import mirroring
from wakestream.catalogue import Column

# Types that have the same order everywhere and the same name; keys of all others are ordered by their text.
_ORDERED = {
    *("bool", "int2", "int4", "int8", "oid", "float4", "float8", "numeric", "uuid", "bytea"),
    *("date", "time", "timestamp", "timestamptz", "interval"),
}
# Of these the text is the value, so that an index on them serves a comparison for equality.
_TEXTS = {"text", "varchar", "bpchar"}

_VERSION = sql.Identifier("wake__version")


class Digest(NamedTuple):
    """A stretch of rows in one number."""

    rows: int
    digest: bytes | None


class Found(NamedTuple):
    """One row: a digest of each column's value, and what changes with every change of it."""

    columns: Mapping[str, str]
    version: str


class Side:
    """One table at one of the two places."""

    def __init__(
        self, connection: psycopg.Connection[Any], plan: TablePlan, relation: sql.Composable, *, of_source: bool
    ) -> None:
        self.connection = connection
        self._plan = plan
        self._relation = relation
        self._shown = sql.SQL(", ").join(
            sql.SQL("{} as {}").format(_shown(plan, column, masked=of_source), sql.Identifier(column.name))
            for column in plan.shown
        )
        self._version = sql.SQL("t.xmin::text" if of_source else "''")

    @classmethod
    def of_source(cls, connection: psycopg.Connection[Any], plan: TablePlan) -> Side:
        """The source's own table; the session carries the key of the masks."""
        name = sql.Identifier(plan.table.schema, plan.table.name)
        only = sql.SQL("only {}" if plan.table.kind == "table" else "{}").format(name)
        return cls(connection, plan, only, of_source=True)

    @classmethod
    def of_store(cls, connection: psycopg.Connection[Any], plan: TablePlan) -> Side:
        """The mirror in the ledger, where masks are applied already."""
        return cls(connection, plan, plan.mirror, of_source=False)

    def bound(self, after: str | None, rows: int) -> str | None:
        """The key of the row that stands so many behind another in the order of keys; None where there are fewer."""
        query = sql.SQL("select {} from (select {} from {} t where {} order by {} offset {} limit 1) m").format(
            self._plan.stored_key,
            self._key_columns,
            self._relation,
            self._between(after, None),
            self._order,
            sql.Literal(rows - 1),
        )
        row = self.connection.execute(query, prepare=False).fetchone()
        return None if row is None else row[0]

    def digest(self, after: str | None, upto: str | None) -> Digest:
        """All rows behind one key, up to and with another."""
        query = sql.SQL("select count(*), sha256(string_agg(d, ''::bytea order by d)) from ({}) q").format(
            self._digests(after, upto)
        )
        row = self.connection.execute(query, prepare=False).fetchone()
        return Digest(*row) if row else Digest(0, None)

    def rows(self, after: str | None, upto: str | None) -> dict[str, bytes]:
        """The same rows one by one: digests by key."""
        return dict(self.connection.execute(self._digests(after, upto), prepare=False).fetchall())

    def find(self, keys: Sequence[str]) -> dict[str, Found]:
        """The rows of these keys, by key; those that are not there are absent."""
        names = sql.SQL(", ").join(sql.SQL("{} text").format(sql.Identifier(c.name)) for c in self._plan.key_columns)
        same = sql.SQL(" and ").join(_same(column) for column in self._plan.key_columns)
        query = sql.SQL(
            "select {key}, m.wake__version, (select json_object_agg(e.key, encode(sha256(convert_to(e.value::text,"
            " 'UTF8')), 'hex')) from jsonb_each(to_jsonb(m.*) - 'wake__version') e)"
            " from (select {shown}, {version} as {name} from {relation} t"
            " join json_to_recordset(%s::json) as x({names}) on {same}) m"
        ).format(
            key=self._plan.stored_key,
            shown=self._shown,
            version=self._version,
            name=_VERSION,
            relation=self._relation,
            names=names,
            same=same,
        )
        rows = self.connection.execute(query, (f"[{','.join(keys)}]",), prepare=False).fetchall()
        return {key: Found(columns, version) for key, version, columns in rows}

    @property
    def _key_columns(self) -> sql.Composed:
        return sql.SQL(", ").join(sql.SQL("t.{0}").format(sql.Identifier(c.name)) for c in self._plan.key_columns)

    @property
    def _order(self) -> sql.Composed:
        return sql.SQL(", ").join(_ordered("t", column) for column in self._plan.key_columns)

    def _digests(self, after: str | None, upto: str | None) -> sql.Composed:
        return sql.SQL(
            "select {} as k, sha256(convert_to(to_jsonb(m.*)::text, 'UTF8')) as d from (select {} from {} t where {}) m"
        ).format(self._plan.stored_key, self._shown, self._relation, self._between(after, upto))

    def _between(self, after: str | None, upto: str | None) -> sql.Composable:
        bounds = [self._bound(operator, key) for operator, key in ((">", after), ("<=", upto)) if key is not None]
        return sql.SQL(" and ").join(bounds) if bounds else sql.SQL("true")

    def _bound(self, operator: str, key: str) -> sql.Composed:
        columns = self._plan.key_columns
        given = sql.SQL(", ").join(_ordered("x", column, given=True) for column in columns)
        names = sql.SQL(", ").join(sql.SQL("{} text").format(sql.Identifier(c.name)) for c in columns)
        comparison = sql.SQL(" > " if operator == ">" else " <= ")
        return sql.SQL("({}){}(select {} from json_to_record({}::json) as x({}))").format(
            self._order, comparison, given, sql.Literal(key), names
        )


def _shown(plan: TablePlan, column: Column, *, masked: bool) -> sql.Composable:
    name: sql.Composable = sql.Identifier("t", column.name)
    kind = plan.settings.mask.get(column.name)
    if kind is not None and column.base in mirroring.AS_JSON:
        name = sql.SQL("to_jsonb({})").format(name)  # as it stands in the mirror before it is masked
    return masks.masked(kind, name) if masked and kind is not None else sql.Identifier("t", column.name)


def _ordered(alias: str, column: Column, *, given: bool = False) -> sql.Composed:
    """A key's column in an order that both sides have; one that is `given` comes as text."""
    name = sql.Identifier(alias, column.name)
    if column.array or column.base not in _ORDERED:
        return sql.SQL('{}::text collate "C"').format(name)
    return sql.SQL("{}::{}").format(name, _type(column)) if given else sql.SQL("{}").format(name)


def _same(column: Column) -> sql.Composed:
    name, given = sql.Identifier("t", column.name), sql.Identifier("x", column.name)
    if column.array or column.base not in _ORDERED | _TEXTS:
        return sql.SQL("{}::text = {}").format(name, given)
    return sql.SQL("{} = {}::{}").format(name, given, _type(column))


def _type(column: Column) -> sql.SQL:
    """A type of PostgreSQL's own, as `format_type` printed it."""
    return sql.SQL(column.type)  # pyright: ignore[reportArgumentType]
