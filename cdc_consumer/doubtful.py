"""Images with values that Debezium lost, was not sent, or prints in a way PostgreSQL does not read."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Sequence

import msgspec

from cdc_consumer import columns
from cdc_consumer.tables import TablePlan
from cdc_consumer.waves import Row
from wakestream import exact_json
from wakestream.catalogue import Column

_FAR_YEAR = re.compile(rb'"([+-]|(?=0000-))(\d{4,})(-\d\d-\d\d[^"]*)"')
_JAVA_NAME = re.compile(rb'"\[L[\w.$]+;@[0-9a-f]+"')
# PostgreSQL's last years; what Debezium prints beyond them stands for infinity.
_LAST_YEAR = {"date": 5874897, "timestamp": 294276, "timestamptz": 294276}
_NULL = b"null"

_fields = msgspec.json.Decoder(dict[str, msgspec.Raw])
_elements = msgspec.json.Decoder(list[msgspec.Raw])
_text = msgspec.json.Decoder(str)
_texts = msgspec.json.Decoder(list[str | None])


@dataclasses.dataclass(slots=True)
class Doubtful:
    """An image made readable, and which of its columns it does not tell."""

    image: bytes
    lost: frozenset[str]
    """Their value cannot be known from this image."""
    unchanged: frozenset[str]
    """Their value is what it was before."""


def examine(plan: TablePlan, image: bytes) -> Doubtful:
    """Look at each field of an image that `TablePlan.is_doubtful` or `is_ragged` found."""
    fields = {name: bytes(raw) for name, raw in _fields.decode(image).items()}
    lost: set[str] = set()
    unchanged: set[str] = set()
    for column in plan.shown:
        text = fields.get(column.name)
        if text is None:  # dropped or renamed in the source, and no revision knows it yet
            lost.add(column.name)
            continue
        if column.toastable and plan.is_placeholder(column, text):
            unchanged.add(column.name)
            fields[column.name] = _NULL
            continue
        readable = _readable(column, text)
        if readable is None:
            lost.add(column.name)
            fields[column.name] = _NULL
        else:
            fields[column.name] = readable
    whole = msgspec.json.encode({name: msgspec.Raw(text) for name, text in fields.items()})
    return Doubtful(whole, frozenset(lost), frozenset(unchanged))


def is_ragged(plan: TablePlan, image: bytes) -> bool:
    """Whether an image lacks a column that is shown: the source's schema is not that of the revision any more."""
    return not plan.shown_names <= _fields.decode(image).keys()


def may_be_ragged(plan: TablePlan, images: Sequence[bytes]) -> bool:
    """Whether any of these images, in the log's order, may lack a column.

    Looks at the first and the last: DDL between them shows in the columns or their order. Only a column that is renamed
    and renamed back between the two would be taken for null.
    """
    if not images:
        return False
    first, last = list(_fields.decode(images[0])), list(_fields.decode(images[-1]))
    return first != last or not plan.shown_names <= set(first)


def hidden(plan: TablePlan, row: Row) -> frozenset[str]:
    """Columns whose null in a row's new image may be the value that was there: not sent, and printed as null.

    That is so unless the row is new, its old value is known to be null or too short to stand out of line, or the
    message has the old row whole.
    """
    change = row.change
    known = row if change.op == "u" else row.moved
    is_new = change.op != "u" and known is None and not change.moved
    if row.after is None or is_new:
        return frozenset()
    new = _fields.decode(row.after)
    nulls = frozenset(name for name in plan.nulls_for_toast if bytes(new.get(name, b"")) == _NULL)
    if not nulls or _is_whole(plan, change.before):
        return frozenset()
    if known is None or known.before is None or not known.before_known:
        return nulls
    old = _fields.decode(known.before)
    return frozenset(
        column.name
        for column in plan.shown
        if column.name in nulls
        and (column.name in known.missing_before or _may_stand_outside(plan, column, bytes(old[column.name])))
    )


def _is_whole(plan: TablePlan, before: bytes | None) -> bool:
    """Whether an old image has more than the key, as with `REPLICA IDENTITY FULL`: then the new one is whole, too."""
    if before is None:
        return False
    told = {name for name, text in _fields.decode(before).items() if bytes(text) != _NULL}
    return not told <= set(plan.table.key)


def _may_stand_outside(plan: TablePlan, column: Column, text: bytes) -> bool:
    """A value stays out of line when its row has become short again, so its own length alone tells."""
    if column.name in plan.settings.mask:
        return text != _NULL
    return columns.may_stand_outside(column, text)


def _readable(column: Column, text: bytes) -> bytes | None:
    """The field as PostgreSQL reads it, or None when its value is lost."""
    if text == columns.UNKNOWN:
        return None
    if text == _NULL:
        return None if columns.null_may_hide(column) else text
    if column.array and _is_array_of_arrays(column, text):
        return None
    if column.base in columns.TEMPORAL:
        return _near_year(column.base, text)
    if column.base in columns.JSON and exact_json.may_be_deep(text) and _is_deep(column, text):
        return None
    return text


def _is_deep(column: Column, text: bytes) -> bool:
    """Whether a document, or one of an array of them, has more levels than readers can follow."""
    documents = _texts.decode(text) if column.array else [_text.decode(text)]
    return any(exact_json.is_deep(document) for document in documents if document is not None)


def _is_array_of_arrays(column: Column, text: bytes) -> bool:
    """Whether Java's object names are left of it, or only nulls: an array of NULLs looks the same then."""
    elements = [bytes(element) for element in _elements.decode(text)] if text.startswith(b"[") else []
    if columns.nested_as_null(column):
        return bool(elements) and all(element == _NULL for element in elements)
    return any(_JAVA_NAME.fullmatch(element) for element in elements)


def _near_year(base: str, text: bytes) -> bytes | None:
    """Years beyond four digits as PostgreSQL writes them; None for infinity, and for BC where snapshots lose it."""
    if base != "timestamptz" and (b'"-' in text or b'"0000-' in text):
        return None
    if any(int(match[2]) > _LAST_YEAR[base] for match in _FAR_YEAR.finditer(text)):
        return None

    def rewrite(match: re.Match[bytes]) -> bytes:
        sign, year, rest = match.groups()
        if sign == b"+":
            return b'"%s%s"' % (year, rest)
        return b'"%04d%s BC"' % (int(year) + 1, rest)  # ISO's year 0 is 1 BC

    return _FAR_YEAR.sub(rewrite, text)
