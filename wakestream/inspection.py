"""Reads a source's catalogue over a read-only connection."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import psycopg
from psycopg.rows import dict_row

from wakestream.catalogue import Catalogue, Column, ForeignKey, Table

_IDENTITY = {"d": "default", "f": "full", "n": "nothing", "i": "index"}
_KIND = {"r": "table", "p": "partitioned", "v": "view", "m": "materialized view", "f": "foreign"}

_TABLES = """
    select c.oid, n.nspname as schema, c.relname as name, c.relkind, c.relpersistence, c.relreplident,
           coalesce((select array_agg(a.attname::text order by k.n)
                     from pg_index i, unnest(i.indkey::int2[]) with ordinality k(attnum, n)
                     join pg_attribute a on a.attrelid = c.oid and a.attnum = k.attnum
                     where i.indrelid = c.oid and i.indisprimary and k.n <= i.indnkeyatts), '{}') as key
    from pg_class c join pg_namespace n on n.oid = c.relnamespace
    where n.nspname || '.' || c.relname = any(%s) and c.relkind in ('r', 'p', 'v', 'm', 'f')
"""

# Domains are resolved to what they stand on; an array's `base` is its element's type.
_COLUMNS = """
    with recursive base as (
        select a.attrelid, a.attnum, a.attname, a.attnotnull, a.attgenerated, a.attstorage,
               a.atttypid as typ, a.atttypmod as typmod, false as domain
        from pg_attribute a where a.attrelid = any(%s) and a.attnum > 0 and not a.attisdropped
        union all
        select b.attrelid, b.attnum, b.attname, b.attnotnull or t.typnotnull, b.attgenerated, b.attstorage,
               t.typbasetype, case when t.typtypmod >= 0 then t.typtypmod else b.typmod end, true
        from base b join pg_type t on t.oid = b.typ where t.typtype = 'd'
    )
    select b.attrelid, b.attnum as number, b.attname::text as name, format_type(b.typ, b.typmod) as type,
           b.attnotnull as not_null, b.attgenerated <> '' as generated,
           b.attstorage <> 'p' as toastable, b.domain, t.typcategory = 'A' as is_array,
           case when coalesce(e.typtype, t.typtype) = 'e' then 'enum'
                when e.typtype = 'd' then 'domain'
                when coalesce(e.typtype, t.typtype) = 'c' then 'composite'
                when r.rngtypid is not null then case when r.rngsubtype = 'timestamptz'::regtype then 'tz' else '' end
                                                 || 'range'
                else coalesce(e.typname, t.typname)::text end as base,
           coalesce((select array_agg(l.enumlabel::text order by l.enumsortorder) from pg_enum l
                     where l.enumtypid = coalesce(e.oid, t.oid)), '{}') as labels,
           case when coalesce(e.typtype, t.typtype) = 'c' then coalesce(e.typrelid, t.typrelid) end as composite
    from base b join pg_type t on t.oid = b.typ
    left join pg_type e on e.oid = t.typelem and t.typcategory = 'A'
    left join pg_range r on coalesce(e.oid, t.oid) in (r.rngtypid, r.rngmultitypid)
                        and coalesce(e.typnamespace, t.typnamespace) <> 'pg_catalog'::regnamespace
    where t.typtype <> 'd'
    order by b.attrelid, b.attnum
"""

_FOREIGN_KEYS = """
    select f.conrelid, f.conname::text as name, n.nspname || '.' || r.relname as target,
           (select array_agg(a.attname::text order by k.n) from unnest(f.conkey) with ordinality k(attnum, n)
            join pg_attribute a on a.attrelid = f.conrelid and a.attnum = k.attnum) as columns,
           (select array_agg(a.attname::text order by k.n) from unnest(f.confkey) with ordinality k(attnum, n)
            join pg_attribute a on a.attrelid = f.confrelid and a.attnum = k.attnum) as references
    from pg_constraint f join pg_class r on r.oid = f.confrelid join pg_namespace n on n.oid = r.relnamespace
    where f.contype = 'f' and f.conrelid = any(%s)
    order by f.conrelid, f.conname
"""

_SERVER = """
    select (select system_identifier::text from pg_control_system()) as system_identifier,
           (select timeline_id from pg_control_checkpoint()) as timeline,
           current_setting('server_version_num')::int as version
"""


def read_catalogue(connection: psycopg.Connection[Any], source: str, labels: Iterable[str]) -> Catalogue:
    """The catalogue of the named tables; those that do not exist are absent from it."""
    with connection.cursor(row_factory=dict_row) as cursor:
        server = cursor.execute(_SERVER).fetchone() or {}
        tables = cursor.execute(_TABLES, (sorted(labels),)).fetchall()
        oids = [row["oid"] for row in tables]
        columns = cursor.execute(_COLUMNS, (oids,)).fetchall()
        fields = _read_fields(cursor, columns)
        foreign_keys = cursor.execute(_FOREIGN_KEYS, (oids,)).fetchall()
    columns_of, keys_of = _by_table(columns, "attrelid"), _by_table(foreign_keys, "conrelid")
    found = [_table(row, columns_of[row["oid"]], keys_of[row["oid"]], fields) for row in tables]
    return Catalogue(
        source=source,
        system_identifier=server["system_identifier"],
        timeline=server["timeline"],
        server_version=server["version"],
        tables={table.label: table for table in sorted(found, key=lambda table: table.label)},
    )


def table_names(connection: psycopg.Connection[Any]) -> list[str]:
    """Every table of the database as `schema.table`, the system's own left out."""
    rows = connection.execute(
        "select schemaname || '.' || tablename from pg_tables"
        " where schemaname not in ('pg_catalog', 'information_schema') order by 1"
    ).fetchall()
    return [row[0] for row in rows]


_Fields = Mapping[int, Sequence[dict[str, Any]]]
"""The attributes of composite types by their `typrelid`."""


def _read_fields(cursor: psycopg.Cursor[dict[str, Any]], columns: list[dict[str, Any]]) -> _Fields:
    """The attributes of the columns' composite types, and of the composite types in those."""
    found: dict[int, list[dict[str, Any]]] = {}
    wanted = {row["composite"] for row in columns} - {None}
    while wanted:
        rows = cursor.execute(_COLUMNS, (sorted(wanted),)).fetchall()
        found |= {oid: [row for row in rows if row["attrelid"] == oid] for oid in wanted}
        wanted = {row["composite"] for row in rows} - {None} - found.keys()
    return found


def _by_table(rows: list[dict[str, Any]], name: str) -> defaultdict[int, list[dict[str, Any]]]:
    found: defaultdict[int, list[dict[str, Any]]] = defaultdict(list)
    for row in rows:
        found[row[name]].append(row)
    return found


def _table(
    row: dict[str, Any], columns: list[dict[str, Any]], foreign_keys: list[dict[str, Any]], fields: _Fields
) -> Table:
    kind = "unlogged" if row["relpersistence"] == "u" else _KIND[row["relkind"]]
    return Table(
        schema=row["schema"],
        name=row["name"],
        columns=tuple(_column(each, fields) for each in columns),
        key=tuple(row["key"]),
        replica_identity=_IDENTITY[row["relreplident"]],
        foreign_keys=tuple(
            ForeignKey(each["name"], tuple(each["columns"]), each["target"], tuple(each["references"]))
            for each in foreign_keys
        ),
        kind=kind,
        oid=row["oid"],
    )


def _column(row: dict[str, Any], fields: _Fields) -> Column:
    return Column(
        name=row["name"],
        type=row["type"],
        base=row["base"],
        array=row["is_array"],
        not_null=row["not_null"],
        generated=row["generated"],
        toastable=row["toastable"],
        domain=row["domain"],
        number=row["number"],
        labels=tuple(row["labels"]),
        fields=tuple(_column(each, fields) for each in fields.get(row["composite"] or 0, ())),
    )
