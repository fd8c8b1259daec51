"""What a database has: its tables with their size and traffic, and why some of them cannot be captured."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from psycopg.rows import dict_row

from connectors.databases import Connection
from wakestream import inspection, resolving_tables, topics
from wakestream.catalogue import Catalogue, Table

NAME_BYTES = 63  # PostgreSQL's longest name

# Counters that were never reset began with the cluster's own. A partitioned table is what its partitions are.
_TABLES = """
    select n.nspname::text as schema, c.relname::text as name, c.relispartition as partition,
           c.relkind = 'r' and exists (select from pg_inherits i where i.inhparent = c.oid) as inherited,
           c.relrowsecurity as row_security, s.rows, s.writes / nullif(p.hours, 0) as writes, s.updates
    from pg_class c
    join pg_namespace n on n.oid = c.relnamespace
    cross join (select extract(epoch from now() - coalesce(d.stats_reset, b.stats_reset))::float8 / 3600 as hours
                from pg_stat_database d, pg_stat_bgwriter b where d.datname = current_database()) p
    cross join lateral (
        select sum(case when l.reltuples < 0 then pg_stat_get_live_tuples(l.oid) else l.reltuples end)::float8 as rows,
               sum(pg_stat_get_tuples_inserted(l.oid) + pg_stat_get_tuples_updated(l.oid)
                   + pg_stat_get_tuples_deleted(l.oid))::float8 as writes,
               sum(pg_stat_get_tuples_updated(l.oid))::float8 as updates
        from (select c.oid as relid union select t.relid from pg_partition_tree(c.oid) t) m
        join pg_class l on l.oid = m.relid and l.relkind = 'r'
    ) s
    where c.relkind in ('r', 'p', 'v', 'm', 'f') and n.nspname <> 'information_schema' and n.nspname !~ '^pg_'
      and not exists (select from pg_depend d
                      where d.classid = 'pg_class'::regclass and d.objid = c.oid and d.deptype = 'e')
    order by 1, 2
"""

_ENUMS = """
    select n.nspname || '.' || c.relname as label, a.attname::text as column,
           array_agg(e.enumlabel::text order by e.enumsortorder) as values
    from pg_attribute a
    join pg_class c on c.oid = a.attrelid and c.relkind in ('r', 'p') and not c.relispartition
    join pg_namespace n on n.oid = c.relnamespace
    join pg_enum e on e.enumtypid = a.atttypid
    where a.attnum > 0 and not a.attisdropped
    group by 1, 2
"""

_CHECKS = """
    select n.nspname || '.' || c.relname as label, a.attname::text as column, pg_get_constraintdef(k.oid) as definition
    from pg_constraint k
    join pg_class c on c.oid = k.conrelid join pg_namespace n on n.oid = c.relnamespace
    join pg_attribute a on a.attrelid = c.oid and a.attnum = k.conkey[1]
    where k.contype = 'c' and cardinality(k.conkey) = 1
"""
_LISTED = re.compile(r"= ANY \(+ARRAY\[(.*?)\]")
_LITERAL = re.compile(r"'((?:[^']|'')*)'")


@dataclass(frozen=True, slots=True)
class FoundTable:
    """One table, view or the like."""

    table: Table
    rows: float | None
    """As the statistics estimate it; None where there are none."""
    writes_per_hour: float | None
    """Inserts, updates and deletes since the statistics began."""
    updates: float
    """Since the statistics began."""
    refusal: str | None
    """Why it cannot be captured."""
    row_security: bool
    values: Mapping[str, tuple[str, ...]]
    """What the schema itself says that a column may hold: an enum's labels, a CHECK's list."""

    @property
    def label(self) -> str:
        """`schema.table`."""
        return self.table.label


@dataclass(frozen=True, slots=True)
class Survey:
    """A database as its catalogue and its statistics show it; no row was read."""

    database: str
    catalogue: Catalogue
    tables: tuple[FoundTable, ...]

    @property
    def capturable(self) -> tuple[FoundTable, ...]:
        """The tables to choose from."""
        return tuple(each for each in self.tables if each.refusal is None)

    def find(self, label: str) -> FoundTable | None:
        """The table called `schema.table`."""
        return next((each for each in self.tables if each.label == label), None)


def survey(connection: Connection, source: str) -> Survey:
    """Look at the catalogue and the statistics; `source` is what the file will call the database."""
    with connection.cursor(row_factory=dict_row) as cursor:
        rows = cursor.execute(_TABLES).fetchall()
        values = _values(cursor.execute(_ENUMS).fetchall(), cursor.execute(_CHECKS).fetchall())
    catalogue = inspection.read_catalogue(connection, source, [f"{row['schema']}.{row['name']}" for row in rows])
    return Survey(
        database=connection.info.dbname,
        catalogue=catalogue,
        tables=tuple(_found(row, catalogue, source, values) for row in rows),
    )


def _found(
    row: dict[str, Any], catalogue: Catalogue, source: str, values: Mapping[tuple[str, str], tuple[str, ...]]
) -> FoundTable:
    label = f"{row['schema']}.{row['name']}"
    # One that is gone by now has no key either, so it is refused.
    table = catalogue.table(label) or Table(row["schema"], row["name"], ())
    return FoundTable(
        table=table,
        rows=row["rows"] if row["rows"] is not None and row["rows"] >= 0 else None,
        writes_per_hour=row["writes"],
        updates=row["updates"] or 0.0,
        refusal=_refusal(row, table, source),
        row_security=row["row_security"],
        values={column: listed for (owner, column), listed in values.items() if owner == label},
    )


def _refusal(row: dict[str, Any], table: Table, source: str) -> str | None:
    if row["partition"]:
        return "a partition, which is captured with the partitioned table above it"
    if any(mark in name for name in (row["schema"], row["name"]) for mark in ".,"):
        return "its name has a dot or a comma, which the list of tables cannot have"
    if len(topics.mirror_schema(source, row["schema"]).encode()) > NAME_BYTES:
        return "the name of its schema is too long together with the source's; --source takes a shorter one"
    if row["inherited"]:
        return "other tables inherit from it, and their rows would come under their own names"
    reason = resolving_tables.refusal(table)
    if reason is None and not table.key:
        return f"{table.label} has no primary key, so there is no entity of it; it can be named in the file by hand"
    return None if reason is None else reason.partition(";")[0]


def _values(enums: list[dict[str, Any]], checks: list[dict[str, Any]]) -> dict[tuple[str, str], tuple[str, ...]]:
    found = {(row["label"], row["column"]): tuple(row["values"]) for row in enums}
    for row in checks:
        listed = _LISTED.search(row["definition"])
        texts = tuple(text.replace("''", "'") for text in _LITERAL.findall(listed[1])) if listed else ()
        if texts:
            found.setdefault((row["label"], row["column"]), texts)
    return found
