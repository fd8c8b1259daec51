"""What has become of a source's tables since its newest revision."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

import msgspec

from wakestream.capture import Capture
from wakestream.catalogue import Catalogue, Column, Table
from wakestream.resolving_tables import refusal

Kind = Literal[
    "column added",
    "column dropped",
    "column renamed",
    "column retyped",
    "enum value added",
    "enum value renamed",
    "key changed",
    "table dropped",
    "table made again",
    "table unfit",
]
STANDING: frozenset[Kind] = frozenset({"key changed", "table dropped", "table made again", "table unfit"})
"""What no new revision can follow: a person has to decide."""


class Difference(msgspec.Struct, frozen=True):
    """One thing that is no longer as the revision says."""

    table: str
    kind: Kind
    column: str = ""
    """Its name in the revision; of one that was added its name now."""
    detail: str = ""
    """The new name, type, value or key; why a table is unfit."""

    @property
    def standing(self) -> bool:
        """Whether a person has to decide what becomes of the table."""
        return self.kind in STANDING

    @property
    def label(self) -> str:
        """In words: `public.flight: column status renamed to state`."""
        return f"{self.table}: {_WORDS[self.kind].format(column=self.column, detail=self.detail)}"

    @property
    def remedy(self) -> str:
        """What a person has to do; empty where nothing is to be done."""
        return _REMEDIES.get(self.kind, "").format(table=self.table)


_WORDS: dict[Kind, str] = {
    "column added": "column {column} added",
    "column dropped": "column {column} dropped",
    "column renamed": "column {column} renamed to {detail}",
    "column retyped": "column {column} is {detail} now",
    "enum value added": "value {detail} added to the enum of column {column}",
    "enum value renamed": "values of the enum of column {column} are {detail} now",
    "key changed": "the primary key is {detail} now",
    "table dropped": "the table is gone",
    "table made again": "the table was dropped and made again, which takes it out of the publication",
    "table unfit": "{detail}",
}
_REMEDIES: dict[Kind, str] = {
    "key changed": "run `wake apply`, which reads {table} anew under its new key",
    "table dropped": "create {table} again, or remove it from the file; then run `wake apply`",
    "table made again": "run `wake apply`, which publishes {table} again, declares a gap and reads it anew",
    "table unfit": "mend that or remove {table} from the file; then run `wake apply`",
}


def compare(before: Catalogue, capture: Capture, now: Catalogue) -> list[Difference]:
    """What is different in the captured tables; empty where only what nobody reads is."""
    found: list[Difference] = []
    for label in sorted(capture.tables):
        known, table = before.table(label), now.table(label)
        if known is None:
            continue
        if table is None:
            found.append(Difference(label, "table dropped"))
            continue
        standing = _standing(known, table)
        found += [standing] if standing is not None else _columns(known, table)
    return found


def _standing(known: Table, table: Table) -> Difference | None:
    if known.oid and table.oid and known.oid != table.oid:
        return Difference(known.label, "table made again")
    why = refusal(table)
    if why is not None and refusal(known) is None:
        return Difference(known.label, "table unfit", detail=why.removeprefix(f"{known.label} "))
    if known.key != table.key:
        return Difference(known.label, "key changed", detail=f"({', '.join(table.key)})")
    return None


def _columns(known: Table, table: Table) -> Iterator[Difference]:
    label, numbers = known.label, {column.number: column for column in table.columns if column.number}
    for column in known.columns:
        here = table.column(column.name)
        if here is not None and not (column.number and here.number and column.number != here.number):
            yield from _values(label, column, here)
            continue
        renamed = numbers.get(column.number) if column.number else None
        if renamed is None:
            yield Difference(label, "column dropped", column.name)
        else:
            yield Difference(label, "column renamed", column.name, renamed.name)
    old = {column.number for column in known.columns if column.number}
    for column in table.columns:
        new = known.column(column.name) is None if not column.number or not old else column.number not in old
        if new:
            yield Difference(label, "column added", column.name, column.type)


def _values(label: str, column: Column, here: Column) -> Iterator[Difference]:
    if (column.type, column.base, column.array) != (here.type, here.base, here.array):
        yield Difference(label, "column retyped", column.name, here.type)
    elif column.number and column.labels != here.labels:
        added = [value for value in here.labels if value not in column.labels]
        if set(column.labels) <= set(here.labels):
            yield Difference(label, "enum value added", column.name, ", ".join(added))
        else:
            yield Difference(label, "enum value renamed", column.name, ", ".join(here.labels))
