"""The ledger: away from the sources, new enough, and at this version's schema."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from connectors import databases
from connectors.checks.finding import Finding, finding
from connectors.checks.remedies import own_role, quoted
from connectors.checks.subject import Subject
from connectors.databases import Connection
from wakestream import ledger
from wakestream.config import Loaded, reveal
from wakestream.errors import ConfigurationError, WakeError
from wakestream.ledger import database

_VECTORS = ("vector", "halfvec", "sparsevec")


def examine(loaded: Loaded, connection: Connection) -> Iterator[Finding]:
    """The ledger for itself."""
    row: Any = connection.execute(
        "select current_setting('server_version_num')::int, to_regclass('wake.alembic_version') is not null"
    ).fetchone()
    version, has_schema = row
    if version < database.MINIMUM_VERSION:
        evidence = (
            f"the ledger is PostgreSQL {version // 10000}; {database.MINIMUM_VERSION // 10000} or newer is needed"
        )
        remedy = "none: give `ledger.url` another server; the sources may be older"
        yield finding("ledger.version", "ledger", evidence, remedy)
    if has_schema:
        try:
            ledger.require_current(reveal(loaded.config.ledger.url))
        except ConfigurationError as error:
            yield finding("ledger.schema", "ledger", str(error).partition(";")[0], "run: wake apply")
    yield from _lookups(loaded)


def _lookups(loaded: Loaded) -> Iterator[Finding]:
    url = loaded.config.ledger.lookups
    if url is None:
        return
    try:
        session = databases.reader(url, "ledger.lookups", purpose="doctor")
    except WakeError as error:
        remedy = "none: check ledger.lookups: its role and password, and that its server runs"
        yield finding("ledger.lookups", "ledger.lookups", " ".join(str(error).split()), remedy)
        return
    with session as reader:
        row: Any = reader.execute(
            "select current_user, rolsuper, rolcreaterole, rolcreatedb, rolreplication,"
            " exists (select from pg_namespace where nspname = 'wake' and has_schema_privilege(oid, 'create')),"
            " oid = 10 or rolname = 'postgres' from pg_roles where rolname = current_user"
        ).fetchone()
    user, *powers, owns, bootstrap = row
    names = ("superuser", "createrole", "createdb", "replication")
    has = [name for name, power in zip(names, powers, strict=True) if power]
    if has:
        evidence = f"{user}, as which lookups run, has {', '.join(has)}; it only reads the context store"
        remedy = f"alter role {quoted(user)} {' '.join(f'no{name}' for name in has)};"
        remedy = own_role(user, "ledger.lookups") if bootstrap else remedy
        yield finding("ledger.lookups_powers", "ledger.lookups", evidence, remedy)
    elif owns:
        evidence = f"{user}, as which lookups run, may change the ledger's own tables"
        yield finding("ledger.lookups_powers", "ledger.lookups", evidence, "none: name a role of its own there")


def beside(subject: Subject, connection: Connection) -> Iterator[Finding]:
    """The ledger beside this source: what we write must not come back as changes, nor fill the source's disk."""
    query = (
        "select (select system_identifier::text from pg_control_system()), current_database(),"
        " exists (select from pg_type where typname = 'vector')"
    )
    theirs: Any = connection.execute(query.encode()).fetchone()
    ours: Any = subject.reader.execute(query.encode()).fetchone()
    if ours[:2] == theirs[:2]:
        evidence = (
            f"the ledger is in the database of {subject.source}: what we write there would be decoded again and again"
        )
        remedy = "none: make a database on another server and name it in `ledger.url`"
        yield finding("ledger.same_database", "ledger", evidence, remedy)
    elif ours[0] == theirs[0]:
        evidence = f"the ledger is on the server of {subject.source}: its WAL goes through that source's slot too"
        remedy = "none: name a database on another server in `ledger.url`"
        yield finding("ledger.same_cluster", "ledger", evidence, remedy)
    vectors = [
        f"{label}.{column.name}"
        for label, (table, settings) in subject.existing().items()
        for column in table.columns
        if column.base in _VECTORS and column.name not in settings.exclude
    ]
    if vectors and not theirs[2]:
        evidence = f"{', '.join(vectors)} is a vector, and the ledger does not have that type"
        yield finding("ledger.pgvector", "ledger", evidence, "create extension vector;  -- in the ledger's database")
