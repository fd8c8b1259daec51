"""The mirrors' tables in the ledger: made, altered and dropped as a revision wants them."""

from __future__ import annotations

from psycopg import sql

from cdc_consumer import masks
from cdc_consumer.plan import Plan
from cdc_consumer.tables import TablePlan
from wakestream import mirroring, remembered, reshaping, topics
from wakestream.capture import CapturedTable, Revision
from wakestream.catalogue import Column, Table
from wakestream.ledger import Connection, settings

_KEPT = ("mirror_state", "missing_value", "snapshot_row")
"""What else the ledger keeps of a mirrored table."""


def prepare(connection: Connection, compiled: Plan, previous: Revision | None = None) -> None:
    """Make the mirrors that a plan needs, after those of the revision that was in force.

    What a mirror may no longer tell is gone with this transaction: columns are dropped or masked where they stand. A
    mirror that must have what it never had is made anew, empty and incomplete, until a snapshot has read its table.
    """
    revision = compiled.revision
    for label, fate in reshaping.compare(previous, revision.catalogue, revision.capture).items():
        if previous is None or (table := previous.catalogue.table(label)) is None:
            continue
        if fate in ("narrower", "wider"):
            _alter(connection, compiled.tables[label], table, previous.capture.tables[label])
        else:
            schema = topics.mirror_schema(revision.source, table.schema)
            _drop(connection, revision.source, label, sql.Identifier(schema, table.name))
    reader = settings.read(connection, settings.LOOKUPS_ROLE)
    for plan in compiled.tables.values():
        for column in plan.shown:
            _make_type(connection, column)
        if plan.settings.mirror:
            _make(connection, plan, reader)
    for index in (index for entity in compiled.entities for index in entity.indexes):
        connection.execute(index)


def _make_type(connection: Connection, column: Column) -> None:
    """The ledger's own type for a composite one, so that its text can be read; it is never altered."""
    if column.base != "composite":
        return
    for field in column.fields:
        _make_type(connection, field)
    name = mirroring.composite_name(column)
    connection.execute(sql.SQL("create schema if not exists {}").format(sql.Identifier(mirroring.TYPES)))
    found = connection.execute("select to_regtype(%s)", (f"{mirroring.TYPES}.{name}",)).fetchone()
    if found is not None and found[0] is None:
        fields = sql.SQL(", ").join(
            sql.SQL("{} {}").format(sql.Identifier(field.name), _raw(mirroring.field_type(field)))
            for field in column.fields
        )
        connection.execute(sql.SQL("create type {} as ({})").format(sql.Identifier(mirroring.TYPES, name), fields))


def _make(connection: Connection, plan: TablePlan, reader: str | None) -> None:
    schema = sql.Identifier(topics.mirror_schema(plan.source, plan.table.schema))
    connection.execute(sql.SQL("create schema if not exists {}").format(schema))
    if _columns(connection, plan) != {column.name: plan.mirror_type(column) for column in plan.shown}:
        _drop(connection, plan.source, plan.label, plan.mirror)
    connection.execute(plan.create)
    if reader is not None:
        role = sql.Identifier(reader)
        connection.execute(sql.SQL("grant usage on schema {} to {}").format(schema, role))
        connection.execute(sql.SQL("grant select on {} to {}").format(plan.mirror, role))


def _alter(connection: Connection, plan: TablePlan, old: Table, before: CapturedTable) -> None:
    """Drop the columns that are no longer shown, mask those that may no longer be told, widen types, add new ones."""
    found, shown = _columns(connection, plan), {column.name: plan.mirror_type(column) for column in plan.shown}
    if not found:
        return  # made as it should be
    fresh = reshaping.new_columns(old, plan.table)
    gone = sorted(name for name in found if name not in shown or name in fresh)
    kept = found.keys() - set(gone)
    parts = [sql.SQL("drop column {}").format(sql.Identifier(name)) for name in gone]
    masked_now = {name: kind for name, kind in sorted(plan.settings.mask.items()) if before.mask.get(name) != kind}
    for name in sorted(kept):
        if name in masked_now:
            masked = masks.masked(masked_now[name], sql.Identifier(name))
            parts.append(sql.SQL("alter column {} type text using {}").format(sql.Identifier(name), masked))
        elif found[name] != shown[name]:
            parts.append(sql.SQL("alter column {} type {}").format(sql.Identifier(name), _raw(shown[name])))
    if parts:
        connection.execute(sql.SQL("alter table {} {}").format(plan.mirror, sql.SQL(", ").join(parts)))
    _forget_missing(connection, plan, gone)
    _add(connection, plan, old, [name for name in shown if name not in kept])


def _add(connection: Connection, plan: TablePlan, old: Table, added: list[str]) -> None:
    """Add columns, whose values nobody knows yet; nor those of a column that PostgreSQL has rewritten."""
    kinds = {column.name: plan.mirror_type(column) for column in plan.shown}
    parts = [sql.SQL("add column {} {}").format(sql.Identifier(name), _raw(kinds[name])) for name in added]
    if parts:
        connection.execute(sql.SQL("alter table {} {}").format(plan.mirror, sql.SQL(", ").join(parts)))
    unknown = [
        column.name
        for column in plan.shown
        if column.name in added
        or ((known := old.column(column.name)) is not None and reshaping.widening(known, column) == "rewritten")
        and known.type != column.type
    ]
    if unknown:
        connection.execute(
            sql.SQL(
                'insert into wake.missing_value as v (source, "table", subject, columns)'
                " select %s, %s, {}, %s from {} m"
                ' on conflict (source, "table", subject) do update set columns ='
                " array(select distinct unnest(v.columns || excluded.columns) order by 1)"
            ).format(remembered.subject_sql(plan.stored_key), plan.mirror),
            (plan.source, plan.label, sorted(unknown)),
        )


def _forget_missing(connection: Connection, plan: TablePlan, gone: list[str]) -> None:
    for name in gone:
        connection.execute(
            'update wake.missing_value set columns = array_remove(columns, %s) where source = %s and "table" = %s',
            (name, plan.source, plan.label),
        )
    connection.execute(
        "delete from wake.missing_value where source = %s and \"table\" = %s and columns = '{}'",
        (plan.source, plan.label),
    )


def _drop(connection: Connection, source: str, label: str, mirror: sql.Identifier) -> None:
    connection.execute(sql.SQL("drop table if exists {}").format(mirror))
    for table in _KEPT:
        connection.execute(
            sql.SQL('delete from {} where source = %s and "table" = %s').format(sql.Identifier("wake", table)),
            (source, label),
        )


def _raw(type_name: str) -> sql.SQL:
    """A type's name as `format_type` printed it, which quotes what needs quoting."""
    return sql.SQL(type_name)  # pyright: ignore[reportArgumentType]


def _columns(connection: Connection, plan: TablePlan) -> dict[str, str]:
    """The columns and types of the mirror that exists; none where there is no mirror."""
    schema = topics.mirror_schema(plan.source, plan.table.schema)
    rows = connection.execute(
        "select a.attname::text, format_type(a.atttypid, a.atttypmod)"
        " from pg_attribute a join pg_class c on c.oid = a.attrelid"
        " join pg_namespace n on n.oid = c.relnamespace"
        " where n.nspname = %s and c.relname = %s and a.attnum > 0 and not a.attisdropped",
        (schema, plan.table.name),
    ).fetchall()
    return dict(rows)
