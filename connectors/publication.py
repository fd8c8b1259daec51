"""The publication of a source: exactly the captured tables, without their excluded columns where that is possible."""

from __future__ import annotations

import psycopg
import stamina
from psycopg import sql

from connectors import databases
from connectors.databases import Connection
from connectors.steps import Step
from wakestream import topics
from wakestream.capture import Capture
from wakestream.catalogue import Catalogue
from wakestream.errors import RefusedError

Columns = tuple[str, ...] | None
"""The published columns, sorted; None for all of them."""

COLUMN_LISTS_SINCE = 150000
LOCK_ATTEMPTS = 6
LOCK_PAUSE = 2.0  # seconds between attempts, so that those who waited behind us get through
PUBLISHED = ("insert", "update", "delete", "truncate")


def wanted(catalogue: Catalogue, capture: Capture) -> dict[str, Columns]:
    """The tables to publish; with a list of columns where some are excluded and PostgreSQL can leave them out."""
    return {label: _columns(catalogue, capture, label) for label in sorted(capture.tables)}


def _columns(catalogue: Catalogue, capture: Capture, label: str) -> Columns:
    table, excluded = catalogue.tables[label], capture.tables[label].exclude
    # Under REPLICA IDENTITY FULL a list that leaves a column out makes the application's own updates fail.
    if not excluded or catalogue.server_version < COLUMN_LISTS_SINCE or table.replica_identity == "full":
        return None
    return tuple(sorted(c.name for c in table.columns if c.name not in excluded and not c.generated))


def find(connection: Connection, source: str) -> dict[str, Columns] | None:
    """What the publication has now; None where there is none.

    A publication with other settings than ours counts as one without tables, so that it is altered.
    """
    row = connection.execute(
        "select pubinsert and pubupdate and pubdelete and pubtruncate and pubviaroot, puballtables,"
        " current_setting('server_version_num')::int from pg_publication where pubname = %s",
        (topics.slot(source),),
    ).fetchone()
    if row is None:
        return None
    if row[1]:
        raise RefusedError(
            f"publication {topics.slot(source)} in the database of `{source}` is FOR ALL TABLES and was not made by us:"
            " drop it, or name the source otherwise"
        )
    listed = "null::text[]"
    if row[2] >= COLUMN_LISTS_SINCE:
        listed = (
            '(select array_agg(a.attname::text order by a.attname::text collate "C") from pg_attribute a'
            " where a.attrelid = r.prrelid and a.attnum = any(r.prattrs::int2[]))"
        )
    tables = connection.execute(
        f"select n.nspname || '.' || c.relname, {listed} from pg_publication_rel r"  # noqa: S608 - one of two texts
        " join pg_publication p on p.oid = r.prpubid join pg_class c on c.oid = r.prrelid"
        " join pg_namespace n on n.oid = c.relnamespace where p.pubname = %s",
        (topics.slot(source),),
    ).fetchall()
    return {label: tuple(columns) if columns else None for label, columns in tables} if row[0] else {}


def steps(
    reader: Connection, admin: Connection | None, source: str, catalogue: Catalogue, capture: Capture
) -> list[Step]:
    """What has to be done so that the publication fits.

    Raises `RefusedError` with the SQL for a DBA where it does not fit and the file names no `admin`.
    """
    tables = wanted(catalogue, capture)
    found = find(reader, source)
    if found == tables:
        return []
    statements = _create(source, tables) if found is None else _alter(source, tables)
    if admin is None:
        text = "\n".join(f"  {statement.as_string(reader)};" for statement in statements)
        verb = "does not exist" if found is None else "does not have the tables and settings it needs"
        raise RefusedError(
            f"publication {topics.slot(source)} {verb}, and sources.{source}.admin is not set."
            f" Set it, or have the owner of the tables run this in the database and apply again:\n{text}"
        )
    what = "make" if found is None else "alter"
    listed = ", ".join(
        label if columns is None else f"{label} ({', '.join(columns)})" for label, columns in tables.items()
    )
    return [Step(f"{what} publication {topics.slot(source)} for {listed}", lambda: _execute(admin, source, statements))]


def drop(connection: Connection, source: str) -> None:
    """Drop the publication; nothing where there is none."""
    _execute(connection, source, [sql.SQL("drop publication if exists {}").format(_name(source))])


def _name(source: str) -> sql.Identifier:
    return sql.Identifier(topics.slot(source))


def _create(source: str, tables: dict[str, Columns]) -> list[sql.Composed]:
    text = "create publication {} for table {} with (publish = {}, publish_via_partition_root = true)"
    return [sql.SQL(text).format(_name(source), _listed(tables), sql.Literal(", ".join(PUBLISHED)))]


def _alter(source: str, tables: dict[str, Columns]) -> list[sql.Composed]:
    settings = "alter publication {} set (publish = {}, publish_via_partition_root = true)"
    return [
        sql.SQL(settings).format(_name(source), sql.Literal(", ".join(PUBLISHED))),
        sql.SQL("alter publication {} set table {}").format(_name(source), _listed(tables)),
    ]


def _listed(tables: dict[str, Columns]) -> sql.Composed:
    return sql.SQL(", ").join(
        sql.Identifier(*label.split(".", 1))
        if columns is None
        else sql.SQL("{} ({})").format(
            sql.Identifier(*label.split(".", 1)), sql.SQL(", ").join(map(sql.Identifier, columns))
        )
        for label, columns in tables.items()
    )


def _execute(connection: Connection, source: str, statements: list[sql.Composed]) -> None:
    """Run DDL in one transaction, giving way to applications that hold the tables."""
    what = f"publication {topics.slot(source)}"
    attempts = stamina.retry_context(
        on=psycopg.errors.LockNotAvailable,
        attempts=LOCK_ATTEMPTS,
        timeout=None,
        wait_initial=LOCK_PAUSE,
        wait_max=LOCK_PAUSE,
        wait_jitter=0,
    )
    try:
        for attempt in attempts:
            with attempt, connection.transaction():
                for statement in statements:
                    connection.execute(statement)
    except psycopg.Error as error:
        raise databases.convert(error, what) from error
