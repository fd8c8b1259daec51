"""Tables: what each is, how its rows are known again, and what of them would never come or come wrong."""

from __future__ import annotations

from collections.abc import Iterator

from connectors.checks.finding import Finding, finding, size, span
from connectors.checks.remedies import quoted
from connectors.checks.subject import Subject, sql_name
from wakestream.catalogue import Column, Table
from wakestream.config.loading import nearest
from wakestream.mirroring import is_lost, null_for_toast

ROWS_PER_SECOND = 20_000  # of a snapshot
BYTES_PER_SECOND = 15 * 1024**2
LONG_SNAPSHOT = 1800.0  # seconds

# Arrays whose unchanged out-of-line value Debezium marks; that of others, and of bytea, it sends as null.


def examine(subject: Subject, existing: list[str]) -> Iterator[Finding]:
    """Every table; `existing` names all of the database, for those that are misspelt."""
    for label in sorted(subject.tables):
        if subject.catalogue.table(label) is None:
            evidence = f"no table {label} in the database{nearest(label, existing)}"
            yield finding("tables.missing", subject.of(label), evidence, _not_captured(label))
    for label, (table, _) in subject.existing().items():
        found = list(_kind(subject, table))
        yield from found
        if not found:
            yield from _identity(subject, table)
            yield from _columns(subject, table)
        yield from _row_security(subject, label, table)
    yield from _related(subject)
    yield from _leaves(subject)
    yield from _size(subject)


def _not_captured(label: str) -> str:
    return f"none: remove {label} from `tables`, or name the right one there"


def _kind(subject: Subject, table: Table) -> Iterator[Finding]:
    label = table.label
    if any(mark in table.schema + table.name for mark in ".,"):
        evidence = f"{label} has a dot or a comma in its name or its schema's, at which Debezium cuts names apart"
        yield finding("tables.name", subject.of(label), evidence, f"none: rename {label}, or remove it from `tables`")
    if table.kind in ("view", "materialized view"):
        evidence = f"{label} is a {table.kind}, which has no changes of its own"
        yield finding("tables.view", subject.of(label), evidence, f"none: capture the tables below {label} instead")
    elif table.kind == "foreign":
        evidence = f"{label} is a foreign table: its changes are in another server's WAL"
        yield finding("tables.foreign", subject.of(label), evidence, "none: attach the server where the table is")
    elif table.kind == "unlogged":
        yield _unlogged(subject, label, sql_name(table))


def _unlogged(subject: Subject, label: str, name: str) -> Finding:
    evidence = f"{label} is unlogged: a snapshot would show its rows, and no change would ever come"
    remedy = f"alter table {name} set logged;  -- ACCESS EXCLUSIVE while it is rewritten"
    return finding("tables.unlogged", subject.of(label), evidence, remedy)


def _identity(subject: Subject, table: Table) -> Iterator[Finding]:
    label, name = table.label, sql_name(table)
    if not table.key and (table.replica_identity != "full" or table.kind == "partitioned"):
        index = _unique_index(subject, table)
        remedy = (
            f"alter table {name} add primary key using index {quoted(index)};"
            if index
            else f"none: {_without_key(table)}"
        )
        evidence = f"{label} has no primary key, and its old rows are not whole in the WAL: what became of one is lost"
        yield finding("tables.no_key", subject.of(label), evidence, remedy)
    if table.replica_identity == "nothing":
        yield _nothing(subject, label, name)
    elif table.replica_identity == "index":
        evidence = f"{label} has an index as its replica identity: changes of its primary key would be lost"
        remedy = f"alter table {name} replica identity default;"
        yield finding("tables.identity_index", subject.of(label), evidence, remedy)


def _without_key(table: Table) -> str:
    label = table.label
    if table.kind == "partitioned":
        return f"add a primary key to {label}, or remove it from `tables`: each partition has an identity of its own"
    return f"add a primary key to {label}, or `replica_identity: full`, and `wake apply --allow replica-identity`"


def _nothing(subject: Subject, label: str, name: str) -> Finding:
    evidence = (
        f"{label} has replica identity nothing: once it is published,"
        " the application's own UPDATE and DELETE on it fail"
    )
    return finding(
        "tables.identity_nothing", subject.of(label), evidence, f"alter table {name} replica identity default;"
    )


def _unique_index(subject: Subject, table: Table) -> str | None:
    """A unique index over columns that are never null, which can become the primary key as it is."""
    row = subject.reader.execute(
        "select x.relname::text from pg_index i join pg_class x on x.oid = i.indexrelid"
        " join pg_class c on c.oid = i.indrelid join pg_namespace n on n.oid = c.relnamespace"
        " join pg_am m on m.oid = x.relam"
        " where n.nspname = %s and c.relname = %s and c.relkind = 'r' and i.indisunique and i.indisvalid"
        " and i.indimmediate and i.indpred is null and i.indexprs is null and m.amname = 'btree'"
        " and not exists (select from pg_constraint where conindid = i.indexrelid and conrelid = i.indrelid)"
        " and not exists (select from unnest(i.indkey::int2[]) k(n) join pg_attribute a"
        "                 on a.attrelid = c.oid and a.attnum = k.n where not a.attnotnull)"
        " order by i.indnatts, 1 limit 1",
        (table.schema, table.name),
    ).fetchone()
    return row[0] if row else None


def _columns(subject: Subject, table: Table) -> Iterator[Finding]:
    label, settings = table.label, subject.tables[table.label]
    captured = [column for column in table.columns if column.name not in settings.exclude]
    generated = [column.name for column in captured if column.generated]
    if generated:
        evidence = f"{', '.join(generated)} of {label} is generated: it comes with a snapshot and never with a change"
        remedy = subject.exclude(label, generated)
        yield finding("tables.generated", subject.of(label), evidence, remedy)
    unsent = [
        f"{column.name} {column.type}"
        for column in captured
        if table.replica_identity != "full" and not is_lost(column) and _may_be_unsent(column, mirror=settings.mirror)
    ]
    if unsent:
        evidence = (
            f"an update that leaves a long value of {', '.join(unsent)} as it is does not send it:"
            " `missing` names it then, and where null may stand for it"
        )
        remedy = f"alter table {sql_name(table)} replica identity full;  -- ACCESS EXCLUSIVE for a moment; more WAL"
        yield finding("tables.toast", subject.of(label), evidence, remedy)


def _may_be_unsent(column: Column, *, mirror: bool) -> bool:
    """Whether an unchanged long value cannot be known: text is filled in from the mirror, where there is one."""
    if not column.toastable or column.base == "numeric" and not column.array:
        return False
    if not mirror:
        return True
    return null_for_toast(column)


def _row_security(subject: Subject, label: str, table: Table) -> Iterator[Finding]:
    row = subject.reader.execute(
        "select c.relrowsecurity and not r.rolsuper and not r.rolbypassrls"
        " and (c.relforcerowsecurity or not pg_has_role(r.oid, c.relowner, 'usage'))"
        " from pg_class c join pg_namespace n on n.oid = c.relnamespace, pg_roles r"
        " where r.rolname = current_user and n.nspname = %s and c.relname = %s",
        (table.schema, table.name),
    ).fetchone()
    if row and row[0]:
        evidence = f"row-level security of {label} hides rows from {subject.user}: a snapshot would lack them silently"
        remedy = f"alter role {subject.role} bypassrls;"
        yield finding("tables.row_security", subject.of(label), evidence, remedy)


def _related(subject: Subject) -> Iterator[Finding]:
    """Children by inheritance, and partitions that are captured beside the table they are part of."""
    rows = subject.reader.execute(
        "select pn.nspname || '.' || p.relname, cn.nspname || '.' || c.relname, c.relispartition"
        " from pg_inherits i join pg_class p on p.oid = i.inhparent join pg_namespace pn on pn.oid = p.relnamespace"
        " join pg_class c on c.oid = i.inhrelid join pg_namespace cn on cn.oid = c.relnamespace"
        " where pn.nspname || '.' || p.relname = any(%s) order by 1, 2",
        (list(subject.existing()),),
    ).fetchall()
    children: dict[str, list[str]] = {}
    for parent, child, partition in rows:
        if not partition:
            children.setdefault(parent, []).append(child)
        elif child in subject.tables:
            evidence = f"{child} is a partition of {parent}, which is captured too: its changes come as {parent}'s only"
            yield finding("tables.partition", subject.of(child), evidence, f"none: remove {child} from `tables`")
    for parent, below in children.items():
        evidence = (
            f"{', '.join(below)} inherits from {parent}: a snapshot of {parent} has its rows,"
            " and their changes come under its own name or not at all"
        )
        remedy = f"none: capture the tables that inherit from {parent} instead of {parent}"
        yield finding("tables.inheritance", subject.of(parent), evidence, remedy)


def _leaves(subject: Subject) -> Iterator[Finding]:
    """Partitions at any depth with a persistence or an identity of their own."""
    roots = [label for label, (table, _) in subject.existing().items() if table.kind == "partitioned"]
    rows = subject.reader.execute(
        "select distinct n.nspname::text, c.relname::text, c.relpersistence = 'u', c.relreplident = 'n'"
        " from pg_class r join pg_namespace rn on rn.oid = r.relnamespace, pg_partition_tree(r.oid) t"
        " join pg_class c on c.oid = t.relid join pg_namespace n on n.oid = c.relnamespace"
        " where rn.nspname || '.' || r.relname = any(%s) and t.isleaf and c.relkind = 'r' order by 1, 2",
        (roots,),
    ).fetchall()
    for schema, name, unlogged, nothing in rows:
        label = f"{schema}.{name}"
        if unlogged:
            yield _unlogged(subject, label, quoted(schema, name))
        if nothing:
            yield _nothing(subject, label, quoted(schema, name))


def _size(subject: Subject) -> Iterator[Finding]:
    """How long the first snapshot will take, by what the statistics know."""
    rows = subject.reader.execute(
        "select n.nspname || '.' || c.relname, coalesce(sum(greatest(l.reltuples, 0)), 0)::float8,"
        " coalesce(sum(pg_table_size(l.oid)), 0)::float8"
        " from pg_class c join pg_namespace n on n.oid = c.relnamespace"
        " join pg_class l on l.oid = c.oid and c.relkind = 'r'"
        "  or c.relkind = 'p' and l.relkind = 'r' and l.oid in (select relid from pg_partition_tree(c.oid))"
        " where n.nspname || '.' || c.relname = any(%s) group by 1",
        (list(subject.existing()),),
    ).fetchall()
    estimates = {label: max(count / ROWS_PER_SECOND, stored / BYTES_PER_SECOND) for label, count, stored in rows}
    total = sum(estimates.values())
    if total >= LONG_SNAPSHOT:
        largest = max(rows, key=lambda row: estimates[row[0]])
        evidence = (
            f"the first snapshot takes about {span(total)}, in one transaction that keeps vacuum waiting;"
            f" most of it for {largest[0]} ({largest[1]:.0f} rows, {size(largest[2])})"
        )
        remedy = "none: choose a quiet time, or capture fewer tables at first"
        yield finding("tables.large", subject.whole, evidence, remedy)
