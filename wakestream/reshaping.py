"""What a new revision means for the mirrors: which are read anew, which lose or mask columns in place, which go.

`apply` decides by it what a snapshot must read; the consumer, which mirrors it makes, alters and drops.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Literal

from wakestream.capture import Capture, CapturedTable, Revision
from wakestream.catalogue import Catalogue, Column, Table
from wakestream.mirroring import is_lost

Fate = Literal["anew", "wider", "narrower", "gone"]
"""`anew`: made again, empty; `wider`: columns come whose values are not known yet; `narrower`: columns go, are masked
or get a wider type; `gone`: there is no mirror any more. The rows of `anew` and `wider` must be read again."""


def compare(previous: Revision | None, catalogue: Catalogue, capture: Capture) -> dict[str, Fate]:
    """What becomes of each table's mirror; those that stay as they are have no entry."""
    if previous is None:
        return {}
    before = _mirrored(previous.catalogue, previous.capture)
    after = _mirrored(catalogue, capture)
    fates: dict[str, Fate] = {label: "gone" for label in before if label not in after}
    for label, now in after.items():
        fate = "anew" if label not in before else _fate(before[label], now)
        if fate is not None:
            fates[label] = fate
    return dict(sorted(fates.items()))


def read_again(fates: Mapping[str, Fate]) -> set[str]:
    """The tables that a snapshot must read."""
    return {label for label, fate in fates.items() if fate in ("anew", "wider")}


def new_columns(before: Table, after: Table) -> frozenset[str]:
    """Columns that the table did not have before, whatever their name: a renamed one is new, too."""
    return frozenset(
        column.name
        for column in after.columns
        if (known := before.column(column.name)) is None or _is_another(known, column)
    )


_Shape = tuple[Table, CapturedTable]


def _mirrored(catalogue: Catalogue, capture: Capture) -> Mapping[str, _Shape]:
    return {
        label: (table, settings)
        for label, settings in capture.tables.items()
        if settings.mirror and (table := catalogue.table(label)) is not None
    }


def _fate(before: _Shape, after: _Shape) -> Fate | None:
    old, new = _columns(before), _columns(after)
    if _key(before) != _key(after):
        return "anew"
    if before[0].oid and after[0].oid and before[0].oid != after[0].oid:
        return "anew"
    fresh = new_columns(before[0], after[0]) & new.keys()
    retyped = {name for name in new.keys() & old.keys() - fresh if _type(old[name]) != _type(new[name])}
    for name in new.keys() - fresh:
        if name not in old or (name in retyped and widening(old[name], new[name]) is None):
            return "anew"
        if not _still_told(before[1].mask.get(name), after[1].mask.get(name)):
            return "anew"
    if fresh or any(widening(old[name], new[name]) == "rewritten" for name in retyped):
        return "wider"
    narrower = old.keys() != new.keys() or before[1].mask != after[1].mask or retyped
    return "narrower" if narrower else None


def widening(old: Column, new: Column) -> Literal["same", "rewritten"] | None:
    """Whether every value of the old type is one of the new; None where not.

    `same`: PostgreSQL keeps the stored rows. `rewritten`: it writes them anew, with values that no change tells.
    """
    if old.array or new.array:
        return None
    if old.base in _INTEGERS and new.base in _INTEGERS and _INTEGERS.index(old.base) <= _INTEGERS.index(new.base):
        return "rewritten"
    texts = old.base in ("varchar", "text") and new.base in ("varchar", "text")
    if texts and _length(old) <= _length(new):
        return "same"
    if old.base == new.base == "numeric" and _digits(new) is not None and _digits(old) is not None:
        (digits, scale), (more, same) = _digits(old) or (0, 0), _digits(new) or (0, 0)
        return "same" if scale == same and digits <= more else None
    return None


_INTEGERS = ("int2", "int4", "int8")
_NUMBERS = re.compile(r"\((\d+)(?:,(-?\d+))?\)")


def _length(column: Column) -> float:
    found = _NUMBERS.search(column.type)
    return float(found[1]) if found and column.base == "varchar" else float("inf")


def _digits(column: Column) -> tuple[int, int] | None:
    found = _NUMBERS.search(column.type)
    return (int(found[1]), int(found[2] or 0)) if found else None


def _is_another(known: Column, column: Column) -> bool:
    """Whether a column of the same name was dropped and added again."""
    return bool(known.number and column.number and known.number != column.number)


def _still_told(before: str | None, after: str | None) -> bool:
    """Whether what the mirror has now can become what it must have."""
    return before in (None, after) or after == "redact"


def _columns(shape: _Shape) -> dict[str, Column]:
    table, settings = shape
    absent = settings.hidden.union(settings.lost)
    return {c.name: c for c in table.columns if c.name not in absent and not is_lost(c)}


def _key(shape: _Shape) -> list[object]:
    columns = _columns(shape)
    return [(name, _type(columns[name]) if name in columns else None) for name in shape[0].key]


def _type(column: Column) -> object:
    return column.type, column.base, column.array, column.fields
