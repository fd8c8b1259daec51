"""What must be true of a source before a connector is made, and would otherwise show as a FAILED task or as silence."""

from __future__ import annotations

from collections.abc import Iterator

from psycopg import sql

from connectors.databases import Connection
from wakestream import topics
from wakestream.capture import Capture
from wakestream.catalogue import Catalogue
from wakestream.errors import RefusedError

_CLOUD_ROLES = ("rds_replication", "rds_superuser", "rdsadmin", "cloudsqlsuperuser", "azure_pg_admin")


def check(reader: Connection, source: str, catalogue: Catalogue, capture: Capture) -> None:
    """Check what Debezium needs for its slot and its snapshot.

    Raises `RefusedError` with one line for each thing that is missing, and what to do.
    """
    found = problems(reader, source, catalogue, capture)
    if found:
        raise RefusedError("\n".join(found))


def problems(reader: Connection, source: str, catalogue: Catalogue, capture: Capture) -> list[str]:
    """One line for each thing that is missing, and what to do."""
    return [f"source {source}: {problem}" for problem in _problems(reader, source, catalogue, capture)]


def _problems(reader: Connection, source: str, catalogue: Catalogue, capture: Capture) -> Iterator[str]:
    row = reader.execute(
        "select current_setting('wal_level'), current_user, rolreplication or rolsuper"
        " or exists (select from pg_roles r where r.rolname = any(%s) and pg_has_role(current_user, r.oid, 'member')),"
        " pg_is_in_recovery(), current_setting('server_version_num')::int"
        " from pg_roles where rolname = current_user",
        (list(_CLOUD_ROLES),),
    ).fetchone()
    level, user, may_replicate, standby, version = row or ("?", "?", False, False, 0)
    if level != "logical":
        yield f"wal_level is {level}; set wal_level = logical and restart the server"
    if version < 140000:
        yield f"PostgreSQL {version // 10000} is too old; 14 or newer is needed"
    if standby:
        yield "the server is a standby, where no clock can be written; name the primary in `capture`"
    if not may_replicate:
        yield f"the role {user} may not replicate; `alter role {user} replication`"
    if _slot_exists(reader, source):
        yield (
            f"there is a replication slot {topics.slot(source)} but no connector {topics.connector(source)}:"
            f" a snapshot beside an old slot would not be consistent; `wake detach {source}` removes what is left"
        )
    yield from _unreadable(reader, user, catalogue, capture)


def _slot_exists(reader: Connection, source: str) -> bool:
    query = "select from pg_replication_slots where slot_name = %s"
    return reader.execute(query, (topics.slot(source),)).fetchone() is not None


def _unreadable(reader: Connection, user: str, catalogue: Catalogue, capture: Capture) -> Iterator[str]:
    for label, settings in sorted(capture.tables.items()):
        table = catalogue.tables[label]
        schema, name = sql.Identifier(table.schema), sql.Identifier(table.schema, table.name)
        row = reader.execute(
            "select has_schema_privilege(%s, 'usage'), bool_and(has_column_privilege(c.oid, a.attname, 'select'))"
            " from pg_class c join pg_namespace n on n.oid = c.relnamespace join pg_attribute a on a.attrelid = c.oid"
            " where n.nspname = %s and c.relname = %s and a.attname = any(%s)",
            (table.schema, table.schema, table.name, [c.name for c in table.columns if c.name not in settings.exclude]),
        ).fetchone()
        enters, reads = row or (False, False)
        role = sql.Identifier(user)
        if not enters:
            grant = sql.SQL("grant usage on schema {} to {}").format(schema, role).as_string(reader)
            yield f"the role {user} may not use schema {table.schema}; `{grant}`"
        if not reads:
            grant = sql.SQL("grant select on {} to {}").format(name, role).as_string(reader)
            yield f"the role {user} may not read {label}; `{grant}`"
