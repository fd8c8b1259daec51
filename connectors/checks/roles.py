"""Roles: that each may do what it must, and no more."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

from connectors.checks import remedies
from connectors.checks.finding import Finding, finding, span
from connectors.checks.remedies import quoted
from connectors.checks.subject import Subject, sql_name
from connectors.services import PLAIN
from wakestream.catalogue import Table

SNAPSHOT_PATIENCE = 3_600_000  # milliseconds that a snapshot's statement or transaction may take
SOON = 30 * 86400  # seconds
SESSIONS = 4  # of Debezium and of ours at the same time
WRITES = ("INSERT", "UPDATE", "DELETE", "TRUNCATE")


class _Role(NamedTuple):
    superuser: bool
    replication: bool
    createrole: bool
    createdb: bool
    limit: int
    expires: float | None
    """Seconds until its password is no longer valid."""
    member: bool
    """Of a role that may replicate in its place."""
    bootstrap: bool
    """Whether it came with the server."""


def examine(subject: Subject) -> Iterator[Finding]:
    """The reading role: for the slot, for the snapshot, and beyond what it needs."""
    role = _Role(
        *_row(
            subject,
            "select rolsuper, rolreplication, rolcreaterole, rolcreatedb, rolconnlimit,"
            " extract(epoch from rolvaliduntil - clock_timestamp())::float8,"
            " exists (select from pg_roles r where r.rolname = any(%s) and pg_has_role(current_user, r.oid, 'member')),"
            " oid = 10 or rolname = 'postgres' from pg_roles where rolname = current_user",
            ([subject.service.replication_role],),
        )
    )
    yield from replication(subject, role.superuser or role.replication or role.member)
    yield from reading(subject)
    if role.superuser:
        evidence = f"{subject.user} is a superuser; REPLICATION and SELECT are enough"
        remedy = _own(subject, role) or f"alter role {subject.role} nosuperuser;"
        yield finding("roles.superuser", subject.of("capture"), evidence, remedy)
    else:
        yield from _too_much(subject, role)
    yield from _sessions(subject, role)


def replication(subject: Subject, may: bool) -> Iterator[Finding]:
    """REPLICATION, or what a managed service has in its place."""
    if not may:
        where = "" if subject.service is PLAIN else f" (this is {subject.service.name})"
        evidence = f"{subject.user} may not replicate{where}"
        remedy = remedies.replication(subject.service, subject.user)
        yield finding("roles.replication", subject.of("capture"), evidence, remedy)


def reading(subject: Subject) -> Iterator[Finding]:
    """USAGE on the schemas and SELECT on the columns that a snapshot reads."""
    closed = _closed_schemas(subject)
    for schema in closed:
        evidence = f"{subject.user} may not use schema {schema}"
        remedy = f"grant usage on schema {quoted(schema)} to {subject.role};"
        yield finding("roles.usage", subject.of(schema), evidence, remedy)
    for label, (table, settings) in subject.existing().items():
        wanted = [column.name for column in table.columns if column.name not in settings.exclude]
        unreadable = _unreadable(subject, table, wanted)
        if unreadable and len(unreadable) == len(wanted) and not settings.exclude:
            remedy = f"grant select on {sql_name(table)} to {subject.role};"
            yield finding("roles.select", subject.of(label), f"{subject.user} may not read {label}", remedy)
        elif unreadable:
            listed = ", ".join(map(quoted, unreadable))
            evidence = (
                f"{subject.user} may not read {', '.join(unreadable)} of {label}, which the file does not exclude"
            )
            remedy = f"grant select ({listed}) on {sql_name(table)} to {subject.role};"
            yield finding("roles.select_columns", subject.of(label), evidence, remedy)


def _closed_schemas(subject: Subject) -> list[str]:
    schemas = sorted({table.schema for table, _ in subject.existing().values()})
    query = "select s from unnest(%s::text[]) s where not has_schema_privilege(quote_ident(s)::regnamespace, 'usage')"
    return [row[0] for row in subject.reader.execute(query, (schemas,)).fetchall()]


def _unreadable(subject: Subject, table: Table, columns: list[str]) -> list[str]:
    rows = subject.reader.execute(
        "select a.attname::text from pg_class c join pg_namespace n on n.oid = c.relnamespace"
        " join pg_attribute a on a.attrelid = c.oid and a.attnum > 0"
        " where n.nspname = %s and c.relname = %s and a.attname = any(%s)"
        " and not has_column_privilege(c.oid, a.attnum, 'select') order by a.attnum",
        (table.schema, table.name, columns),
    ).fetchall()
    return [row[0] for row in rows]


def _too_much(subject: Subject, role: _Role) -> Iterator[Finding]:
    powers = [word for word, has in (("createrole", role.createrole), ("createdb", role.createdb)) if has]
    if powers:
        evidence = f"{subject.user} has {' and '.join(powers)}, which reading never needs"
        remedy = _own(subject, role) or f"alter role {subject.role} {' '.join(f'no{word}' for word in powers)};"
        yield finding("roles.powers", subject.of("capture"), evidence, remedy)
    for label, (table, _) in subject.existing().items():
        grants = _write_grants(subject, table)
        if grants:
            verbs = sorted({verb for _, verb in grants})
            yield finding(
                "roles.writes",
                subject.of(label),
                f"{subject.user} may {', '.join(verbs)} {label}, and only ever reads it",
                _own(subject, role) or _revocation(table, grants),
            )


def _write_grants(subject: Subject, table: Table) -> list[tuple[str, str]]:
    """Who was granted what of it; the owner's grants are its own."""
    rows = subject.reader.execute(
        "select coalesce(g.rolname::text, ''), lower(x.privilege_type) from pg_class c"
        " join pg_namespace n on n.oid = c.relnamespace,"
        " aclexplode(coalesce(c.relacl, acldefault('r', c.relowner))) x left join pg_roles g on g.oid = x.grantee"
        " where n.nspname = %s and c.relname = %s and x.privilege_type = any(%s)"
        " and (x.grantee = 0 or pg_has_role(current_user, x.grantee, 'usage')) order by 1, 2",
        (table.schema, table.name, list(WRITES)),
    ).fetchall()
    return [(row[0], row[1]) for row in rows]


def _revocation(table: Table, grants: list[tuple[str, str]]) -> str:
    by_grantee: dict[str, list[str]] = {}
    for grantee, verb in grants:
        by_grantee.setdefault(grantee, []).append(verb)
    return "\n".join(
        f"revoke {', '.join(verbs)} on {sql_name(table)} from {quoted(grantee) if grantee else 'public'};"
        for grantee, verbs in by_grantee.items()
    )


def _sessions(subject: Subject, role: _Role) -> Iterator[Finding]:
    short = {name: value for name, value in subject.timeouts.items() if 0 < int(value) < SNAPSHOT_PATIENCE}
    if short:
        listed = ", ".join(f"{name} = {value} ms" for name, value in sorted(short.items()))
        evidence = f"sessions of {subject.user} have {listed}, which would end a longer snapshot or an idle session"
        remedy = _own(subject, role) or "\n".join(
            f"alter role {subject.role} set {name} = 0;" for name in sorted(short)
        )
        yield finding("roles.timeouts", subject.of("capture"), evidence, remedy)
    if role.expires is not None and role.expires < SOON:
        evidence = f"the password of {subject.user} expires in {span(max(0.0, role.expires))}"
        remedy = _own(subject, role) or f"alter role {subject.role} valid until 'infinity';"
        yield finding("roles.expires", subject.of("capture"), evidence, remedy)
    if 0 <= role.limit < SESSIONS:
        evidence = f"{subject.user} may have {role.limit} sessions at a time; {SESSIONS} are needed"
        remedy = _own(subject, role) or f"alter role {subject.role} connection limit -1;"
        yield finding("roles.connection_limit", subject.of("capture"), evidence, remedy)


def _own(subject: Subject, role: _Role) -> str | None:
    """The remedy for a role that was only lent: one given on the command line, or one that came with the server."""
    if subject.source and not role.bootstrap:
        return None
    return remedies.own_role(subject.user, f"sources.{subject.source or '<source>'}.capture")


def _row(subject: Subject, query: str, values: Any = None) -> Any:
    return subject.reader.execute(query.encode(), values).fetchone()
