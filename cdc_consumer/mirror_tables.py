"""The mirrors' tables in the ledger: made, altered and dropped as a revision wants them."""

from __future__ import annotations

from typing import Any

import psycopg
from psycopg import sql

from cdc_consumer import columns
from cdc_consumer.plan import Plan
from cdc_consumer.tables import MASK_KEY, TablePlan
from wakestream import reshaping, topics
from wakestream.capture import CapturedTable, Revision
from wakestream.ledger import settings

_KEPT = ("mirror_state", "missing_value", "snapshot_row")
"""What else the ledger keeps of a mirrored table."""


def prepare(connection: psycopg.Connection[Any], compiled: Plan, previous: Revision | None = None) -> None:
    """Make the mirrors that a plan needs, after those of the revision that was in force.

    What a mirror may no longer tell is gone with this transaction: columns are dropped or masked where they stand. A
    mirror that must have what it never had is made anew, empty and incomplete, until a snapshot has read its table.
    """
    revision = compiled.revision
    for label, fate in reshaping.compare(previous, revision.catalogue, revision.capture).items():
        if previous is None or (table := previous.catalogue.table(label)) is None:
            continue
        if fate == "narrower":
            _narrow(connection, compiled.tables[label], previous.capture.tables[label])
        else:
            schema = topics.mirror_schema(revision.source, table.schema)
            _drop(connection, revision.source, label, sql.Identifier(schema, table.name))
    reader = settings.read(connection, settings.LOOKUPS_ROLE)
    for plan in compiled.tables.values():
        if plan.settings.mirror:
            _make(connection, plan, reader)
    for index in (index for entity in compiled.entities for index in entity.indexes):
        connection.execute(index)


def _make(connection: psycopg.Connection[Any], plan: TablePlan, reader: str | None) -> None:
    schema = sql.Identifier(topics.mirror_schema(plan.source, plan.table.schema))
    connection.execute(sql.SQL("create schema if not exists {}").format(schema))
    if _columns(connection, plan) != {column.name: plan.mirror_type(column) for column in plan.shown}:
        _drop(connection, plan.source, plan.label, plan.mirror)
    connection.execute(plan.create)
    if reader is not None:
        role = sql.Identifier(reader)
        connection.execute(sql.SQL("grant usage on schema {} to {}").format(schema, role))
        connection.execute(sql.SQL("grant select on {} to {}").format(plan.mirror, role))


def _narrow(connection: psycopg.Connection[Any], plan: TablePlan, before: CapturedTable) -> None:
    """Drop the columns that are no longer shown, and mask those that no longer may be told."""
    found, shown = _columns(connection, plan), {column.name for column in plan.shown}
    gone = sorted(found.keys() - shown)
    parts = [sql.SQL("drop column {}").format(sql.Identifier(name)) for name in gone]
    for name, kind in sorted(plan.settings.mask.items()):
        if name in found and before.mask.get(name) != kind:
            masked = columns.masked(kind, sql.Identifier(name), MASK_KEY)
            parts.append(sql.SQL("alter column {} type text using {}").format(sql.Identifier(name), masked))
    if parts:
        connection.execute(sql.SQL("alter table {} {}").format(plan.mirror, sql.SQL(", ").join(parts)))
    for name in gone:
        connection.execute(
            'update wake.missing_value set columns = array_remove(columns, %s) where source = %s and "table" = %s',
            (name, plan.source, plan.label),
        )
    connection.execute(
        "delete from wake.missing_value where source = %s and \"table\" = %s and columns = '{}'",
        (plan.source, plan.label),
    )


def _drop(connection: psycopg.Connection[Any], source: str, label: str, mirror: sql.Identifier) -> None:
    connection.execute(sql.SQL("drop table if exists {}").format(mirror))
    for table in _KEPT:
        connection.execute(
            sql.SQL('delete from {} where source = %s and "table" = %s').format(sql.Identifier("wake", table)),
            (source, label),
        )


def _columns(connection: psycopg.Connection[Any], plan: TablePlan) -> dict[str, str]:
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
