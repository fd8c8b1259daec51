"""Types: columns whose values Debezium loses, always or for some values."""

from __future__ import annotations

from collections.abc import Iterator

from connectors.checks.finding import Finding, finding
from connectors.checks.subject import Subject
from wakestream.catalogue import Column, Table
from wakestream.mirroring import can_be_key, is_lost

_WHY = {
    "time": "cut to milliseconds",
    "timetz": "without its zone",
    "varbit": "without the zeros before the first one",
    "numeric": "a scale below zero gives a number with thousands of zeros",
}
_MOMENTS = ("date", "timestamp", "timestamptz")


def examine(subject: Subject) -> Iterator[Finding]:
    """Every captured column."""
    for label, (table, settings) in subject.existing().items():
        columns = [c for c in table.columns if c.name not in settings.exclude and not c.generated]
        lost = [column for column in columns if is_lost(column)]
        in_key = [column for column in columns if column.name in table.key and not can_be_key(column)]
        others = [column for column in lost if column.name not in table.key]
        if in_key:
            evidence = f"the key of {label} has {_listed(in_key)}, whose values do not arrive whole"
            remedy = f"none: remove {label} from `tables`, or give it a key of other types"
            yield finding("types.key", subject.of(label), evidence, remedy)
        if others:
            evidence = f"values never arrive whole: {_listed(others)}; `missing` names them"
            yield finding("types.lost", subject.of(label), evidence, subject.exclude(label, [c.name for c in others]))
        yield from _dimensions(subject, table, columns)
        yield from _infinity(subject, table, columns)


def _listed(columns: list[Column]) -> str:
    return ", ".join(f"{c.name} {c.type} ({_WHY.get(c.base, 'unreadable or absent')})" for c in columns)


def _dimensions(subject: Subject, table: Table, columns: list[Column]) -> Iterator[Finding]:
    """PostgreSQL does not hold a column to the dimensions it was declared with, so this sees intent only."""
    arrays = [column.name for column in columns if column.array and not is_lost(column)]
    rows = subject.reader.execute(
        "select a.attname::text from pg_attribute a join pg_class c on c.oid = a.attrelid"
        " join pg_namespace n on n.oid = c.relnamespace"
        " where n.nspname = %s and c.relname = %s and a.attname = any(%s) and a.attndims > 1 order by a.attnum",
        (table.schema, table.name, arrays),
    ).fetchall()
    if rows:
        names = [row[0] for row in rows]
        evidence = f"{', '.join(names)} of {table.label} is an array of arrays, which does not arrive"
        yield finding("types.dimensions", subject.of(table.label), evidence, subject.exclude(table.label, names))


def _infinity(subject: Subject, table: Table, columns: list[Column]) -> Iterator[Finding]:
    """Dates that Debezium tells wrongly, where the statistics have seen some."""
    names = [column.name for column in columns if column.base in _MOMENTS and not column.array]
    rows = subject.reader.execute(
        "select attname::text from pg_stats where schemaname = %s and tablename = %s and attname = any(%s)"
        " and (most_common_vals::text ~ 'infinity| BC' or histogram_bounds::text ~ 'infinity| BC') order by 1",
        (table.schema, table.name, names),
    ).fetchall()
    if rows:
        found = [row[0] for row in rows]
        evidence = (
            f"{', '.join(found)} of {table.label} has infinite or BC values, which arrive wrong; `missing` names them"
        )
        remedy = subject.exclude(table.label, found)
        yield finding("types.infinity", subject.of(table.label), evidence, remedy)
