"""The database's part of a plan as a script for a DBA: grants and publication, with their locks and effects."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from psycopg import sql

from connectors import databases
from connectors.databases import Connection
from connectors.publication import identifier
from connectors.source_plan import Attached
from connectors.steps import Step

_MISSING = """
    select w.label, has_schema_privilege(n.oid, 'usage'), bool_and(has_column_privilege(c.oid, a.attnum, 'select'))
    from unnest(%s::text[], %s::text[], %s::text[]) as w(label, schema, name)
    join pg_namespace n on n.nspname = w.schema
    join pg_class c on c.relnamespace = n.oid and c.relname = w.name
    join pg_attribute a on a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped
    where w.label || '.' || a.attname <> all(%s::text[])
    group by w.label, n.oid order by 1
"""


def of(source: Attached, before: Sequence[Step], after: Sequence[Step]) -> str:
    """The script, to be run with psql as the owner of the tables; empty where there is nothing to do."""
    with databases.asking(f"source {source.name}, reading its privileges"):
        grants = list(_grants(source))
    parts = [
        _part("Before `wake apply`", [*grants, *map(_statement, before)]),
        _part("After it", map(_statement, after)),
    ]
    text = "\n".join(filter(None, parts))
    return (
        text
        and f"-- Source {source.name}: run in database {source.reader.info.dbname} as the owner of the tables.\n{text}"
    )


def _part(title: str, statements: Sequence[str] | Iterator[str]) -> str:
    listed = list(statements)
    timeout = f"set lock_timeout = '{databases.LOCK_TIMEOUT}ms';"
    return "\n".join([f"-- {title}:", timeout, *listed]) + "\n" if listed else ""


def _statement(step: Step) -> str:
    return f"-- {step.what}\n-- lock: {step.lock}; {step.effect}\n{step.command}"


def _grants(source: Attached) -> Iterator[str]:
    """What the capture role lacks for its snapshot."""
    reader, role = source.reader, sql.Identifier(source.reader.info.user)
    row = reader.execute("select rolreplication or rolsuper from pg_roles where rolname = current_user").fetchone()
    if row is not None and not row[0]:
        yield (
            "-- the capture role must be able to replicate; on a managed service by its own means (`wake roles`)\n"
            f"{_text(reader, sql.SQL('alter role {} replication').format(role))}"
        )
    yield from unreadable(source)


def unreadable(source: Attached) -> Iterator[str]:
    """The grants without which the capture role cannot read every captured table."""
    reader, role = source.reader, sql.Identifier(source.reader.info.user)
    schemas: set[str] = set()
    for label, enters, reads in _privileges(source):
        schema = source.catalogue.tables[label].schema
        if not enters and schema not in schemas:
            schemas.add(schema)
            yield _text(reader, sql.SQL("grant usage on schema {} to {}").format(sql.Identifier(schema), role))
        if not reads:
            columns = _readable(source, label)
            yield _text(reader, sql.SQL("grant select{} on {} to {}").format(columns, identifier(label), role))


def _privileges(source: Attached) -> list[tuple[str, bool, bool]]:
    tables = [source.catalogue.tables[label] for label in source.capture.tables]
    excluded = [f"{label}.{column}" for label, settings in source.capture.tables.items() for column in settings.unsent]
    columns = ([t.label for t in tables], [t.schema for t in tables], [t.name for t in tables])
    return source.reader.execute(_MISSING, (*columns, excluded)).fetchall()


def _readable(source: Attached, label: str) -> sql.Composable:
    """The columns to grant where some are excluded; nothing for all of them."""
    excluded = source.capture.tables[label].unsent
    if not excluded:
        return sql.SQL("")
    names = [c.name for c in source.catalogue.tables[label].columns if c.name not in excluded]
    return sql.SQL(" ({})").format(sql.SQL(", ").join(map(sql.Identifier, names)))


def _text(connection: Connection, statement: sql.Composed) -> str:
    return f"{statement.as_string(connection)};"
