"""The publication of a source: exactly the captured tables, without their excluded columns where that is possible."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

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
Tables = Mapping[str, Columns]

COLUMN_LISTS_SINCE = 150000
LOCK_ATTEMPTS = 6
LOCK_PAUSE = 2.0  # seconds between attempts, so that those who waited behind us get through
PUBLISHED = ("insert", "update", "delete", "truncate")
EFFECT = "milliseconds; reads and writes go on, VACUUM and DDL on these tables wait meanwhile"


@dataclass(frozen=True, slots=True)
class Published:
    """A publication as it is."""

    tables: dict[str, Columns]
    ours: bool = True
    """Whether it publishes what we need of them, partitions under their root's name."""


def wanted(catalogue: Catalogue, capture: Capture) -> dict[str, Columns]:
    """The tables to publish; with a list of columns where some are excluded and PostgreSQL can leave them out."""
    return {label: _columns(catalogue, capture, label) for label in sorted(capture.tables)}


def _columns(catalogue: Catalogue, capture: Capture, label: str) -> Columns:
    table, excluded = catalogue.tables[label], capture.tables[label].unsent
    # Under REPLICA IDENTITY FULL a list that leaves a column out makes the application's own updates fail.
    if not excluded or catalogue.server_version < COLUMN_LISTS_SINCE or table.replica_identity == "full":
        return None
    return tuple(sorted(c.name for c in table.columns if c.name not in excluded and not c.generated))


def widened(found: Tables, tables: Tables) -> dict[str, Columns]:
    """Everything of both, for while a connector changes from the one to the other."""
    together = {**found, **tables}
    return {
        label: _either(found[label], tables[label]) if label in found and label in tables else columns
        for label, columns in sorted(together.items())
    }


def _either(one: Columns, other: Columns) -> Columns:
    return None if one is None or other is None else tuple(sorted({*one, *other}))


def find(connection: Connection, source: str) -> Published | None:
    """What the publication has now; None where there is none.

    Raises `RefusedError` for one FOR ALL TABLES, which is not ours and cannot be altered.
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
    return Published({label: tuple(columns) if columns else None for label, columns in tables}, bool(row[0]))


def statements(source: str, found: Published | None, tables: Tables) -> list[sql.Composed]:
    """The SQL that brings a publication to these tables, touching only those that differ; nothing where it fits."""
    if found is None:
        text = "create publication {} for table {} with (publish = {}, publish_via_partition_root = true)"
        return [sql.SQL(text).format(_name(source), _listed(tables), sql.Literal(", ".join(PUBLISHED)))]
    made: list[sql.Composed] = []
    if not found.ours:
        text = "alter publication {} set (publish = {}, publish_via_partition_root = true)"
        made.append(sql.SQL(text).format(_name(source), sql.Literal(", ".join(PUBLISHED))))
    gone, new = _differing(found.tables, tables), _differing(tables, found.tables)
    if gone:
        names = sql.SQL(", ").join(map(identifier, gone))
        made.append(sql.SQL("alter publication {} drop table {}").format(_name(source), names))
    if new:
        made.append(sql.SQL("alter publication {} add table {}").format(_name(source), _listed(new)))
    return made


def step(admin: Connection | None, source: str, found: Published | None, tables: Tables) -> Step | None:
    """What has to be done so that the publication has these tables; None where it has.

    Without `admin` it is for somebody else to do.
    """
    made = statements(source, found, tables)
    if not made:
        return None
    before = found.tables if found else {}
    touched = sorted({**_differing(before, tables), **_differing(tables, before)})
    verb = "make" if found is None else "alter"
    told = (
        f"for {', '.join(_told(label, columns) for label, columns in tables.items())}"
        if found is None
        else "; ".join(_alterations(found, tables))
    )
    return Step(
        f"{verb} publication {topics.slot(source)} {told}",
        lambda: execute(admin, f"publication {topics.slot(source)}", made),
        object=f"publication {topics.slot(source)}",
        command=script(made),
        lock=f"SHARE UPDATE EXCLUSIVE on {', '.join(touched)}" if touched else "none",
        effect=EFFECT if touched else "none",
    )


def script(made: Sequence[sql.Composed]) -> str:
    """Statements as text, each ended by a semicolon and on a line of its own."""
    return "\n".join(f"{statement.as_string()};" for statement in made)


def drop(connection: Connection, source: str) -> None:
    """Drop the publication; nothing where there is none."""
    made = [sql.SQL("drop publication if exists {}").format(_name(source))]
    execute(connection, f"publication {topics.slot(source)}", made)


def identifier(label: str) -> sql.Identifier:
    """A table's qualified name; neither part has a dot in it."""
    return sql.Identifier(*label.split(".", 1))


def _name(source: str) -> sql.Identifier:
    return sql.Identifier(topics.slot(source))


def _differing(some: Tables, others: Tables) -> dict[str, Columns]:
    """Those of the first that the others do not have in the same way."""
    return {
        label: columns for label, columns in sorted(some.items()) if label not in others or others[label] != columns
    }


def _alterations(found: Published, tables: Tables) -> list[str]:
    added = [label for label in tables if label not in found.tables]
    dropped = [label for label in found.tables if label not in tables]
    changed = [label for label in _differing(tables, found.tables) if label in found.tables]
    told = [f"set what it publishes to {', '.join(PUBLISHED)}"] if not found.ours else []
    told += [f"add {', '.join(_told(label, tables[label]) for label in added)}"] if added else []
    told += [f"drop {', '.join(sorted(dropped))}"] if dropped else []
    return told + ([f"now with {', '.join(_told(label, tables[label]) for label in changed)}"] if changed else [])


def _told(label: str, columns: Columns) -> str:
    return label if columns is None else f"{label} ({', '.join(columns)})"


def _listed(tables: Tables) -> sql.Composed:
    return sql.SQL(", ").join(
        identifier(label)
        if columns is None
        else sql.SQL("{} ({})").format(identifier(label), sql.SQL(", ").join(map(sql.Identifier, columns)))
        for label, columns in tables.items()
    )


def execute(connection: Connection | None, what: str, made: Sequence[sql.Composed]) -> None:
    """Run DDL in one transaction, giving way to applications that hold the tables.

    Raises `RefusedError` without a connection: then a DBA has to run it.
    """
    if connection is None:
        raise RefusedError(f"{what}: have its owner run\n{script(made)}")
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
                for statement in made:
                    connection.execute(statement)
    except psycopg.Error as error:
        raise databases.convert(error, what) from error
