"""Rows of tables without a primary key: each change brings both images whole, and nothing else is known of the row."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from typing import Literal

import msgspec

from cdc_consumer import doubtful
from cdc_consumer.doubtful import Doubtful
from cdc_consumer.tables import TablePlan
from cdc_consumer.waves import Row

Side = Literal["before", "after"]

_fields = msgspec.json.Decoder(dict[str, msgspec.Raw])


@dataclasses.dataclass(frozen=True, slots=True)
class _Image:
    row: Row
    side: Side
    found: Doubtful


class Images:
    """The images of some rows, to be printed all at once."""

    def __init__(self, found: Sequence[_Image]) -> None:
        self._found = found

    @property
    def texts(self) -> list[bytes]:
        """As PostgreSQL reads them."""
        return [each.found.image for each in self._found]

    def tell(self, printed: Sequence[str]) -> None:
        """Give every row its images as PostgreSQL has printed them, in the order of `texts`."""
        for each, text in zip(self._found, printed, strict=True):
            unknown = each.found.lost | each.found.unchanged
            if each.side == "before":
                each.row.before, each.row.missing_before = text, unknown
            else:
                each.row.after, each.row.missing_after = text, unknown


def images(plan: TablePlan, rows: Sequence[Row]) -> Images:
    """Their images made readable; says of each row whether what it was is known."""
    came = [image for row in rows for image in (row.change.before, row.change.after) if image is not None]
    plain = not doubtful.may_be_ragged(plan, came) and not plan.may_be_doubtful(came)
    found: list[_Image] = []
    for row in rows:
        row.before_known = row.change.op == "c" or row.change.before is not None
        found += _of_row(plan, row, plain=plain)
    return Images(found)


def _of_row(plan: TablePlan, row: Row, *, plain: bool) -> Iterator[_Image]:
    old = None
    if row.change.before is not None:
        old = _examined(plan, row.change.before, plain=plain)
        yield _Image(row, "before", old)
    if row.change.after is not None:
        new = _examined(plan, row.change.after, plain=plain)
        if new.unchanged and row.moved is not None and row.moved.change.before is not None:
            old = _examined(plan, row.moved.change.before, plain=plain)
        yield _Image(row, "after", new if old is None else _filled(new, old))


def _examined(plan: TablePlan, image: bytes, *, plain: bool) -> Doubtful:
    if plain or not (plan.is_doubtful(image) or doubtful.is_ragged(plan, image)):
        return Doubtful(image, frozenset(), frozenset())
    return doubtful.examine(plan, image)


def _filled(new: Doubtful, old: Doubtful) -> Doubtful:
    """The new image with those of its unchanged values that the old one tells."""
    fillable = new.unchanged - old.lost - old.unchanged
    if not fillable:
        return new
    before, after = _fields.decode(old.image), _fields.decode(new.image)
    whole = msgspec.json.encode(after | {name: before[name] for name in fillable})
    return Doubtful(whole, new.lost, new.unchanged - fillable)
