"""What a new revision means for the mirrors: which are read anew, which lose or mask columns in place, which go.

`apply` decides by it what a snapshot must read; the consumer, which mirrors it makes, alters and drops.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from wakestream.capture import Capture, CapturedTable, Revision
from wakestream.catalogue import Catalogue, Column, Table
from wakestream.mirroring import is_lost

Fate = Literal["anew", "narrower", "gone"]
"""`anew`: its rows must be read again; `narrower`: columns go or are masked; `gone`: there is no mirror any more."""


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
    for name, column in new.items():
        known = old.get(name)
        if known is None or _type(known) != _type(column):
            return "anew"
        if not _still_told(before[1].mask.get(name), after[1].mask.get(name)):
            return "anew"
    narrower = old.keys() != new.keys() or before[1].mask != after[1].mask
    return "narrower" if narrower else None


def _still_told(before: str | None, after: str | None) -> bool:
    """Whether what the mirror has now can become what it must have."""
    return before in (None, after) or after == "redact"


def _columns(shape: _Shape) -> dict[str, Column]:
    table, settings = shape
    return {c.name: c for c in table.columns if c.name not in settings.exclude and not is_lost(c)}


def _key(shape: _Shape) -> list[object]:
    columns = _columns(shape)
    return [(name, _type(columns[name]) if name in columns else None) for name in shape[0].key]


def _type(column: Column) -> object:
    return column.type, column.base, column.array
