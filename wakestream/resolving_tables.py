"""Captured tables: that they exist, can be captured, and have the columns that the file names."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Literal

from wakestream import capture, reshaping
from wakestream.capture import Revision
from wakestream.catalogue import Catalogue, Table
from wakestream.config import Config
from wakestream.config.document import KeyPath
from wakestream.config.loading import nearest
from wakestream.config.models import CapturedTable
from wakestream.mirroring import can_be_key
from wakestream.program_problems import Problems

CAPTURABLE = ("table", "partitioned")


def resolve_tables(
    config: Config,
    source: str,
    catalogue: Catalogue,
    existing: Sequence[str],
    problems: Problems,
    previous: Revision | None = None,
) -> dict[str, capture.CapturedTable]:
    """The captured tables that exist and can be captured; `previous` tells which of their columns are new."""
    found: dict[str, capture.CapturedTable] = {}
    for label, settings in config.sources[source].tables.items():
        path: KeyPath = ("sources", source, "tables", label)
        table = catalogue.table(label)
        if table is None:
            problems.add(path, f"no table `{label}` in the database of `{source}`{nearest(label, existing)}")
            continue
        reason = refusal(table)
        if reason is not None:
            problems.add(path, reason)
            continue
        for where, message in _keyless_problems(table, settings, adopts=config.sources[source].adopt is not None):
            problems.add((*path, *where), message)
        for where, message in _column_problems(table, settings):
            problems.add((*path, *where), message)
        found[label] = capture.CapturedTable(
            exclude=settings.exclude,
            mask=dict(settings.mask),
            untrusted=settings.untrusted,
            mirror=settings.mirror and bool(table.key),
            withheld=withheld_columns(config.sources[source].new_columns, settings, table, previous),
        )
    return found


def withheld_columns(
    policy: Literal["withhold", "include"] | None, settings: CapturedTable, table: Table, previous: Revision | None
) -> tuple[str, ...]:
    """The columns that came or were renamed after the table was attached, and that the file does not name."""
    if policy is None:
        policy = "withhold" if settings.mask or settings.exclude else "include"
    known = previous.catalogue.table(table.label) if previous else None
    captured = previous.capture.tables.get(table.label) if previous else None
    if policy == "include" or known is None or captured is None:
        return ()
    named = {*settings.exclude, *settings.mask, *settings.untrusted, *settings.include, *table.key}
    new = reshaping.new_columns(known, table) | set(captured.withheld)
    return tuple(sorted(c.name for c in table.columns if c.name in new - named))


def refusal(table: Table) -> str | None:
    """Why a table cannot be captured, and behind a semicolon what to do; None where it can be."""
    label = table.label
    if any(mark in table.schema + table.name for mark in ".,"):
        return (
            f"{label} has a dot or a comma in its name or its schema's, at which Debezium cuts names apart;"
            " rename it, or remove it here"
        )
    if "%" in table.schema + table.name:
        return f"{label} has a `%` in its name or its schema's, which our statements cannot hold; rename it"
    if table.kind == "unlogged":
        return f"{label} is unlogged, so its changes are not in the WAL; `alter table {label} set logged`, or remove it"
    if table.kind not in CAPTURABLE:
        return f"{label} is a {table.kind}, which has no changes of its own; name the tables below it"
    if not table.key:
        return _keyless_refusal(table)
    if table.replica_identity == "nothing":
        return (
            f"{label} has replica identity nothing, so updates and deletes cannot be published;"
            f" `alter table {label} replica identity default`"
        )
    if table.replica_identity == "index":
        return (
            f"{label} has an index as its replica identity, so changes of its primary key would be lost;"
            f" `alter table {label} replica identity default`"
        )
    lost = [name for name in table.key if (column := table.column(name)) is not None and not can_be_key(column)]
    if lost:
        return f"the key column `{lost[0]}` of {label} has a type that does not arrive whole; remove the table here"
    return None


def _keyless_refusal(table: Table) -> str | None:
    """Why a table without primary key cannot be captured: only its old rows in the WAL tell what became of a row."""
    label = table.label
    if table.kind == "partitioned":
        return (
            f"{label} has no primary key, and each of its partitions has a replica identity of its own;"
            " add a key, or remove the table here"
        )
    if table.replica_identity != "full":
        return (
            f"{label} has no primary key, and its old rows are not whole in the WAL; add a primary key,"
            " or say `replica_identity: full` here and run `wake apply --allow replica-identity`"
        )
    return None


def _keyless_problems(table: Table, settings: CapturedTable, *, adopts: bool) -> Iterator[tuple[KeyPath, str]]:
    if table.key:
        return
    if adopts:
        yield (), f"{table.label} has no primary key, which a connector of somebody else's needs; remove it here"
    if settings.mirror and "mirror" in settings.model_fields_set:
        yield (
            ("mirror",),
            f"{table.label} has no primary key: its rows cannot be told apart, so none is mirrored; remove this",
        )


def _column_problems(table: Table, settings: CapturedTable) -> Iterator[tuple[KeyPath, str]]:
    names = [column.name for column in table.columns]
    for name in names:
        if "%" in name and name not in settings.exclude:
            yield (
                (),
                f"{table.label} has a column `{name}`, and our statements cannot hold a `%`; `exclude` or rename it",
            )
    parts = (
        ("exclude", settings.exclude),
        ("include", settings.include),
        ("mask", settings.mask),
        ("untrusted", settings.untrusted),
    )
    for part, columns in parts:
        for index, name in enumerate(columns):
            path: KeyPath = (part, name if part == "mask" else index)
            if name not in names:
                yield path, f"{table.label} has no column `{name}`{nearest(name, names)}"
            elif name in table.key and part in ("exclude", "mask"):
                verb = "excluded" if part == "exclude" else "masked"
                yield path, f"`{name}` is in the primary key of {table.label} and cannot be {verb}; remove it here"


def withheld(table: capture.CapturedTable) -> frozenset[str]:
    """Columns that nothing may be worked out from: excluded, withheld or masked."""
    return table.hidden | frozenset(table.mask)


def first_withheld(table: capture.CapturedTable, columns: Iterable[str]) -> str | None:
    """The first of these columns that is excluded or masked."""
    return next((name for name in columns if name in withheld(table)), None)
