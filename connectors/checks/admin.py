"""The roles besides the one that reads: the owner's, for the publication, and those that actions run as."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import psycopg

from connectors.checks.finding import Finding, finding
from connectors.checks.remedies import own_role, quoted
from connectors.checks.subject import Subject
from connectors.databases import Connection
from wakestream.config.actions import SqlAction
from wakestream.config.models import Config
from wakestream.program_sql import placeholders, to_psycopg

_PUBLISHABLE = ("table", "partitioned", "unlogged")
_POWERS = ("superuser", "replication", "createrole", "createdb", "bypassrls")


def examine(subject: Subject, admin: Connection) -> Iterator[Finding]:
    """What the plan needs of `admin`: only what has still to be made or altered."""
    row: Any = admin.execute(
        "select current_user, r.rolsuper, has_database_privilege(current_database(), 'create'),"
        " o.rolname, o.oid is null or pg_has_role(o.oid, 'usage')"
        " from pg_roles r left join pg_publication p on p.pubname = %s and not p.puballtables"
        " left join pg_roles o on o.oid = p.pubowner"
        " where r.rolname = current_user",
        (subject.slot,),
    ).fetchone()
    user, superuser, creates, owner, owns = row
    if superuser:
        return
    if owner is None and not creates:
        database = quoted(admin.info.dbname)
        evidence = f"{user} may not make the publication in database {admin.info.dbname}"
        remedy = f"grant create on database {database} to {quoted(user)};"
        yield finding("roles.admin_create", subject.of("admin"), evidence, remedy)
    if not owns:
        evidence = f"publication {subject.slot} is {owner}'s, so {user} can neither alter nor drop it"
        remedy = f"alter publication {quoted(subject.slot)} owner to {quoted(user)};"
        yield finding("roles.admin_publication", subject.of("admin"), evidence, remedy)
    yield from _tables(subject, admin, user)


def _tables(subject: Subject, admin: Connection, user: str) -> Iterator[Finding]:
    published = {
        row[0]
        for row in admin.execute(
            "select n.nspname || '.' || c.relname from pg_publication_rel r join pg_publication p on p.oid = r.prpubid"
            " join pg_class c on c.oid = r.prrelid join pg_namespace n on n.oid = c.relnamespace where p.pubname = %s",
            (subject.slot,),
        ).fetchall()
    }
    for label, (table, _) in subject.existing().items():
        if table.kind not in _PUBLISHABLE or label in published:
            continue
        row: Any = admin.execute(
            "select o.rolname::text, pg_has_role(o.oid, 'usage') from pg_class c"
            " join pg_namespace n on n.oid = c.relnamespace join pg_roles o on o.oid = c.relowner"
            " where n.nspname = %s and c.relname = %s",
            (table.schema, table.name),
        ).fetchone()
        if row and not row[1]:
            evidence = f"{label} is {row[0]}'s, so {user} cannot put it into the publication"
            remedy = f"grant {quoted(row[0])} to {quoted(user)};"
            yield finding("roles.admin_owner", subject.of(label), evidence, remedy)


def connection(config: Config, name: str, session: Connection) -> Iterator[Finding]:
    """A role that actions run as: what it may too much, and whether it may what its statements do."""
    of = f"connections.{name}"
    row: Any = session.execute(
        "select current_user, rolsuper, rolreplication, rolcreaterole, rolcreatedb, rolbypassrls,"
        " oid = 10 or rolname = 'postgres' from pg_roles where rolname = current_user"
    ).fetchone()
    user, *has, bootstrap = row
    powers = [power for power, given in zip(_POWERS, has, strict=True) if given]
    if powers:
        evidence = f"actions run as {user}, which has {', '.join(powers)}; what its statements do is enough"
        remedy = f"alter role {quoted(user)} {' '.join(f'no{power}' for power in powers)};"
        remedy = own_role(user, of) if bootstrap else remedy
        yield finding("roles.connection_powers", of, evidence, remedy)
    for action_name, action in config.actions.items():
        if isinstance(action, SqlAction) and action.connection == name:
            yield from _statement(session, user, action_name, action)


def _statement(session: Connection, user: str, name: str, action: SqlAction) -> Iterator[Finding]:
    """Plan the statement without running it: PostgreSQL checks the role's privileges then."""
    nothing = dict.fromkeys(placeholders(action.statement))
    try:
        with session.transaction():
            session.execute("explain " + to_psycopg(action.statement), nothing)
    except psycopg.errors.InsufficientPrivilege as error:
        denied = (error.diag.message_primary or "").partition(" for ")[2]
        evidence = f"{user} may not do what action {name} does: {error.diag.message_primary}"
        yield finding("roles.connection_denied", f"actions.{name}", evidence, _grant(session, user, denied, action))
    except psycopg.Error:
        pass  # Whether a statement is right, `wake plan` says.


def _grant(session: Connection, user: str, denied: str, action: SqlAction) -> str:
    kind, _, name = denied.partition(" ")
    if kind == "schema":
        return f"grant usage on schema {quoted(name)} to {quoted(user)};"
    verb = action.statement.split(maxsplit=1)[0].lower()
    row: Any = session.execute(
        "select n.nspname::text, c.relname::text from pg_class c join pg_namespace n on n.oid = c.relnamespace"
        " where c.oid = to_regclass(quote_ident(%s))",
        (name,),
    ).fetchone()
    if kind != "table" or row is None or verb not in ("insert", "update", "delete", "select"):
        return f"none: grant {user} what the statement needs"
    verbs = dict.fromkeys(("select", verb))
    return f"grant {', '.join(verbs)} on {quoted(*row)} to {quoted(user)};"
