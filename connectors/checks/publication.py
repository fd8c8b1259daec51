"""The publication: ours, whether it fits; those of others, where they stop the application's own writes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from connectors import publication
from connectors.checks.finding import Finding, finding
from connectors.checks.remedies import literal, quoted
from connectors.checks.subject import Subject
from connectors.publication import COLUMN_LISTS_SINCE, PUBLISHED, Columns
from wakestream.capture import Capture


def examine(subject: Subject, *, connector: bool) -> Iterator[Finding]:
    """Ours is looked at once it exists or should (there is a connector): before that, `wake plan` makes it."""
    if subject.source:
        yield from _ours(subject, connector=connector)
    yield from _others(subject)


def wanted(subject: Subject) -> dict[str, Columns]:
    """What should be published of the tables that exist."""
    tables = {label: settings for label, (_, settings) in subject.existing().items()}
    return publication.wanted(subject.catalogue, Capture(tables))


def _ours(subject: Subject, *, connector: bool) -> Iterator[Finding]:
    row = _one(
        subject,
        "select puballtables, pubinsert and pubupdate and pubdelete and pubtruncate, pubviaroot"
        " from pg_publication where pubname = %s",
        (subject.slot,),
    )
    name, of = quoted(subject.slot), subject.of(f"publication {subject.slot}")
    if row is None:
        if connector:
            listed = ", ".join(_clause(label, columns) for label, columns in wanted(subject).items())
            remedy = (
                f"create publication {name} for table {listed} with (publish = {literal(', '.join(PUBLISHED))},"
                " publish_via_partition_root = true);"
            )
            evidence = f"there is a connector and no publication {subject.slot}: it fails or delivers nothing"
            yield finding("publication.missing", of, evidence, remedy)
        return
    all_tables, operations, via_root = row
    if all_tables:
        evidence = (
            f"{subject.slot} is FOR ALL TABLES, which we never make: it publishes every table,"
            " and those without a key refuse UPDATE and DELETE"
        )
        yield finding("publication.all_tables", of, evidence, f"drop publication {name};")
        return
    if not operations:
        evidence = f"{subject.slot} does not publish all of {', '.join(PUBLISHED)}: the others never arrive"
        remedy = f"alter publication {name} set (publish = {literal(', '.join(PUBLISHED))});"
        yield finding("publication.operations", of, evidence, remedy)
    partitioned = [label for label, (table, _) in subject.existing().items() if table.kind == "partitioned"]
    if partitioned and not via_root:
        evidence = f"changes of {', '.join(partitioned)} come under their partitions' names and are dropped silently"
        remedy = f"alter publication {name} set (publish_via_partition_root = true);"
        yield finding("publication.via_root", of, evidence, remedy)
    yield from _tables(subject)


def _tables(subject: Subject) -> Iterator[Finding]:
    newer = subject.version >= COLUMN_LISTS_SINCE
    # Column lists and row filters are there since 15.
    columns = (
        '(select array_agg(a.attname::text order by a.attname::text collate "C") from pg_attribute a'
        " where a.attrelid = r.prrelid and a.attnum = any(r.prattrs::int2[]))"
        if newer
        else "null::text[]"
    )
    filtered = "r.prqual is not null" if newer else "false"
    rows = subject.reader.execute(
        f"select n.nspname || '.' || c.relname, {columns}, {filtered} from pg_publication_rel r"  # noqa: S608 - ours
        " join pg_publication p on p.oid = r.prpubid join pg_class c on c.oid = r.prrelid"
        " join pg_namespace n on n.oid = c.relnamespace where p.pubname = %s order by 1",
        (subject.slot,),
    ).fetchall()
    found: dict[str, tuple[Columns, bool]] = {row[0]: (tuple(row[1]) if row[1] else None, row[2]) for row in rows}
    tables, name = wanted(subject), quoted(subject.slot)
    for label in sorted(tables.keys() - found.keys()):
        evidence = f"{label} is not in {subject.slot}: its snapshot arrives, and no change ever does"
        remedy = f"alter publication {name} add table {_clause(label, tables[label])};"
        yield finding("publication.table_missing", subject.of(label), evidence, remedy)
    for label in sorted(found.keys() - tables.keys() - subject.tables.keys()):
        evidence = f"{label} is in {subject.slot} and not in the file: the server sends its changes for nothing"
        remedy = f"alter publication {name} drop table {_clause(label, None)};"
        yield finding("publication.table_surplus", subject.of(label), evidence, remedy)
    for label in sorted(tables.keys() & found.keys()):
        yield from _table(subject, label, tables[label], *found[label])


def _table(subject: Subject, label: str, columns: Columns, found: Columns, filtered: bool) -> Iterator[Finding]:
    name = quoted(subject.slot)
    again = (
        f"alter publication {name} drop table {_clause(label, None)};\n"
        f"alter publication {name} add table {_clause(label, columns)};"
    )
    if filtered:
        evidence = f"{subject.slot} has a row filter on {label}: its snapshot has rows whose changes never come"
        yield finding("publication.row_filter", subject.of(label), evidence, again)
    table = subject.catalogue.tables[label]
    everything = tuple(sorted(column.name for column in table.columns if not column.generated))
    has, should = set(found or everything), set(columns or everything)
    if should - has:
        without = sorted(should - has)
        evidence = (
            f"{subject.slot} leaves {', '.join(without)} of {label} out: changes lack it,"
            " and a snapshot puts it into Kafka all the same"
        )
        yield finding("publication.column_list", subject.of(label), evidence, subject.exclude(label, without))
    if has - should:
        more = ", ".join(sorted(has - should))
        evidence = (
            f"{subject.slot} publishes {more} of {label}, which the file excludes: the server sends it for nothing"
        )
        yield finding("publication.excluded_column", subject.of(label), evidence, again)


def _clause(label: str, columns: Columns) -> str:
    name = quoted(*label.split(".", 1))
    return name if columns is None else f"{name} ({', '.join(map(quoted, columns))})"


def _others(subject: Subject) -> Iterator[Finding]:
    rows = subject.reader.execute(
        "select p.pubname::text, p.puballtables, r.rolname::text,"
        " (select array_agg(array[n.nspname::text, c.relname::text] order by 1)"
        "  from pg_get_publication_tables(p.pubname) g join pg_class c on c.oid = g.relid"
        "  join pg_namespace n on n.oid = c.relnamespace where c.relkind = 'r' and (c.relreplident = 'n'"
        "  or c.relreplident = 'd' and not exists (select from pg_index where indrelid = c.oid and indisprimary)))"
        " from pg_publication p join pg_roles r on r.oid = p.pubowner"
        " where p.pubname <> %s and (p.pubupdate or p.pubdelete) order by 1",
        (subject.slot,),
    ).fetchall()
    for name, all_tables, owner, keyless in rows:
        of = subject.of(f"publication {name}")
        if keyless:
            listed = ", ".join(".".join(parts) for parts in keyless)
            evidence = (
                f"{name} (of {owner}{', FOR ALL TABLES' if all_tables else ''}) publishes {listed} without a key:"
                " the application's own UPDATE and DELETE there fail"
            )
            remedy = "\n".join(f"alter table {quoted(*parts)} replica identity full;" for parts in keyless)
            yield finding("publication.breaks_writes", of, evidence, remedy)
        if all_tables:
            evidence = f"{name} of {owner} is FOR ALL TABLES: each new table without a key refuses UPDATE and DELETE"
            remedy = f"none: it is not ours; ask {owner} to name its tables"
            yield finding("publication.all_tables_elsewhere", of, evidence, remedy)


def _one(subject: Subject, query: str, values: Any) -> Any:
    return subject.reader.execute(query.encode(), values).fetchone()
