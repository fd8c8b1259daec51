"""The least-privilege roles of a source, as SQL that somebody who may make roles runs with psql."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from psycopg import conninfo, sql

from connectors import databases, services
from connectors.databases import Connection
from connectors.services import Service
from wakestream import inspection
from wakestream.catalogue import Catalogue
from wakestream.config import Loaded, reveal
from wakestream.errors import ConfigurationError


@dataclass(frozen=True, slots=True)
class Owner:
    """Who owns captured tables."""

    name: str
    powerful: bool
    """A superuser, or what a managed service has in its place: being a member of it would be far too much."""


@dataclass(frozen=True)
class Roles:
    """What the script is made of."""

    source: str
    database: str
    service: Service
    wal_level: str
    capture: str
    admin: str
    existing: frozenset[str]
    """Which of the two exist already."""
    catalogue: Catalogue
    excluded: Mapping[str, Sequence[str]]
    """The captured tables, with their excluded columns."""
    owners: tuple[Owner, ...]
    row_security: tuple[str, ...]
    """Captured tables whose rows a role may see only in part."""

    @property
    def has_admin(self) -> bool:
        """Whether there can be a role for the publication that may do less than everything."""
        return not any(owner.powerful for owner in self.owners)


def propose(
    connection: Connection,
    source: str,
    excluded: Mapping[str, Sequence[str]],
    *,
    capture: str | None = None,
    admin: str | None = None,
) -> Roles:
    """What the source needs, read from its catalogue; `excluded` has the captured tables with their excluded columns.

    `capture` and `admin` are the roles' names, by default `<source>_capture` and `<source>_admin`.
    Raises `ConfigurationError` for a table that does not exist.
    """
    names = capture or f"{source}_capture", admin or f"{source}_admin"
    service = services.recognise(connection)
    catalogue = inspection.read_catalogue(connection, source, excluded)
    missing = sorted(set(excluded) - set(catalogue.tables))
    if missing:
        raise ConfigurationError(*(f"no table `{label}` in the database of `{source}`" for label in missing))
    return Roles(
        source=source,
        database=connection.info.dbname,
        service=service,
        wal_level=_wal_level(connection),
        capture=names[0],
        admin=names[1],
        existing=_existing(connection, names),
        catalogue=catalogue,
        excluded=excluded,
        owners=_owners(connection, sorted(excluded), service),
        row_security=_row_security(connection, sorted(excluded)),
    )


def script(roles: Roles) -> str:
    """The SQL for psql. No password is in it: psql asks for them."""
    lines = [*_head(roles), *_capture(roles), *_admin(roles), *_operations(roles), "commit;"]
    return "\n".join(lines) + "\n"


def configured(loaded: Loaded, source: str) -> str:
    """The SQL for a source as the configuration names it; the database is only read.

    Raises `ConfigurationError` for a source that the file does not have, `RefusedError` for an adopted one, whose
    `capture` needs nothing but SELECT.
    """
    databases.require_own(loaded, source, "role to make: SELECT is enough")
    settings = loaded.config.sources[source]
    excluded = {label: table.exclude for label, table in settings.tables.items()}
    # The capture role may be the one that is still to be made.
    what, url = ("admin", settings.admin) if settings.admin is not None else ("capture", settings.capture)
    place = f"{loaded.document.place(('sources', source, what))}: sources.{source}.{what}"
    with (
        databases.reader(url, place, purpose="roles") as connection,
        databases.asking(f"source {source}, reading its catalogue"),
    ):
        capture = _own_role(connection, reveal(settings.capture))
        admin = _own_role(connection, reveal(settings.admin)) if settings.admin is not None else None
        wanted = propose(connection, source, excluded, capture=capture, admin=None if admin == capture else admin)
    return script(wanted)


def _own_role(connection: Connection, url: str) -> str | None:
    """The role of a URL, unless it is one that may do anything: that one was only borrowed for a first try."""
    user = str(conninfo.conninfo_to_dict(url).get("user") or "")
    row = connection.execute("select rolsuper from pg_roles where rolname = %s", (user,)).fetchone()
    return None if not user or (row is not None and row[0]) else user


def _wal_level(connection: Connection) -> str:
    row = connection.execute("select current_setting('wal_level')").fetchone()
    return str(row[0]) if row else "unknown"


def _existing(connection: Connection, names: Sequence[str]) -> frozenset[str]:
    rows = connection.execute("select rolname::text from pg_roles where rolname = any(%s)", (list(names),)).fetchall()
    return frozenset(row[0] for row in rows)


def _owners(connection: Connection, labels: Sequence[str], service: Service) -> tuple[Owner, ...]:
    rows = connection.execute(
        "select distinct r.rolname::text, r.rolsuper or r.rolname = %s from pg_class c"
        " join pg_namespace n on n.oid = c.relnamespace join pg_roles r on r.oid = c.relowner"
        " where n.nspname || '.' || c.relname = any(%s) order by 1",
        (service.superior, list(labels)),
    ).fetchall()
    return tuple(Owner(name, bool(powerful)) for name, powerful in rows)


def _row_security(connection: Connection, labels: Sequence[str]) -> tuple[str, ...]:
    rows = connection.execute(
        "select n.nspname || '.' || c.relname from pg_class c join pg_namespace n on n.oid = c.relnamespace"
        " where c.relrowsecurity and n.nspname || '.' || c.relname = any(%s) order by 1",
        (list(labels),),
    ).fetchall()
    return tuple(row[0] for row in rows)


def _head(roles: Roles) -> Iterator[str]:
    version, superior = roles.catalogue.server_version // 10000, roles.service.superior or "a superuser"
    yield _comment(f"Least-privilege roles for the source {roles.source} in the database {roles.database}.")
    yield f"-- Recognised: {roles.service.name} {version}, wal_level {roles.wal_level}."
    if roles.wal_level != "logical":
        yield f"-- Before anything else: {roles.service.switch}."
    if roles.service.note:
        yield f"-- Mind: {roles.service.note}."
    yield f"-- Run it in that database as {superior}: psql URL -f FILE"
    yield "-- psql asks for each password and sends only its hash."
    yield "\\set ON_ERROR_STOP on"
    yield "begin;"
    yield ""


def _capture(roles: Roles) -> Iterator[str]:
    role, group = _name(roles.capture), roles.service.replication_role
    yield "-- capture: reads the WAL and the captured tables, for Debezium and for the read-only sessions of `wake`."
    yield from _login(roles, roles.capture, "" if group else " replication")
    if group:
        yield f"grant {_name(group)} to {role};"
    yield f"grant connect on database {_name(roles.database)} to {role};"
    for schema in _schemas(roles):
        yield f"grant usage on schema {_name(schema)} to {role};"
    for label in sorted(roles.excluded):
        yield f"grant select{_columns(roles, label)} on {_table(roles, label)} to {role};"
    for label in roles.row_security:
        yield _comment(f"{label} has row-level security; for all of its rows: alter role {role} bypassrls;")
    yield ""


def _columns(roles: Roles, label: str) -> str:
    """The columns that may be read, where some may not."""
    excluded = roles.excluded[label]
    if not excluded:
        return ""
    columns = [each.name for each in roles.catalogue.tables[label].columns if each.name not in excluded]
    return f" ({', '.join(map(_name, columns))})"


def _admin(roles: Roles) -> Iterator[str]:
    yield "-- admin: makes and alters the publication, which takes CREATE on the database and the tables' ownership."
    if not roles.has_admin:
        who = ", ".join(owner.name for owner in roles.owners if owner.powerful)
        yield _comment(f"There is none: tables belong to {who}, and whoever owned them too could do everything.")
        yield f"-- Leave sources.{roles.source}.admin empty: `wake apply` prints what {_inline(who)} must run once."
        yield ""
        return
    yield "-- It can do what the owner can. To avoid that leave it out: `wake apply` prints the SQL for the owner."
    yield from _login(roles, roles.admin, "")
    yield f"grant create on database {_name(roles.database)} to {_name(roles.admin)};"
    for schema in _schemas(roles):
        yield f"grant usage on schema {_name(schema)} to {_name(roles.admin)};"
    for owner in roles.owners:
        yield f"grant {_name(owner.name)} to {_name(roles.admin)};"
    yield ""


def _login(roles: Roles, name: str, attributes: str) -> Iterator[str]:
    if name in roles.existing:
        verb = f"alter role {_name(name)} login{attributes};" if attributes else ""
        yield f"-- {_inline(name)} exists and keeps its password."
        if verb:
            yield verb
        return
    yield f"create role {_name(name)} login{attributes};"
    yield f"\\password {_psql(name)}"


def _operations(roles: Roles) -> Iterator[str]:
    """A role for actions of kind sql; nobody but its reader knows what they shall do."""
    role = _name(f"{roles.source}_ops")
    yield "-- operations: only for actions of kind sql (connections.NAME). What it may do is all that an action can do:"
    yield _comment(f"create role {role} login;")
    yield f"-- \\password {_psql(f'{roles.source}_ops')}"
    for schema in _schemas(roles):
        yield _comment(f"grant usage on schema {_name(schema)} to {role};")
    yield "-- grant select, update (COLUMN) on TABLE to " + _inline(role) + ";"
    yield ""


def _name(name: str) -> str:
    return sql.Identifier(name).as_string()


def _schemas(roles: Roles) -> list[str]:
    return sorted({roles.catalogue.tables[label].schema for label in roles.excluded})


def _table(roles: Roles, label: str) -> str:
    table = roles.catalogue.tables[label]
    return sql.Identifier(table.schema, table.name).as_string()


def _psql(name: str) -> str:
    """A name as psql's own commands take it: in double quotes, on one line."""
    return _name(name)


def _comment(text: str) -> str:
    return f"-- {_inline(text)}"


def _inline(text: str) -> str:
    """Text that stays within its line, whatever names are in it."""
    return " ".join(text.split())
