"""What must be in the context topic: worked out in plain Python from the statements, never from change capture.

The model is told what each statement did to which rows. The images before are its own; the images after are what
`to_jsonb(row)` gave inside the same transaction. What change capture cannot tell is part of the model, and measured.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

from tests.harness.context import Number
from wakestream.events import Cause

Image = dict[str, Any]
Key = tuple[str, ...]
"""The key's values as a subject shows them, in index order."""

_INFINITE_OR_BC = re.compile(r"-?infinity|.* BC")


@dataclass(frozen=True)
class TableShape:
    """What the oracle has to know of a table."""

    label: str
    key: tuple[str, ...]
    lost: tuple[str, ...] = ()
    """Columns that can never be known."""
    loses_infinity: tuple[str, ...] = ()
    """Columns whose infinite and BC values cannot be known."""
    null_hides: Mapping[str, tuple[Any, ...]] = field(default_factory=dict[str, tuple[Any, ...]])
    """Columns whose NULL cannot be told from a list with one of these elements."""
    hides_unchanged: tuple[str, ...] = ()
    """Columns that come as null when a value out of line was not changed, so that no other null is sure either."""

    def key_of(self, image: Mapping[str, Any]) -> Key:
        return tuple(key_text(image[column]) for column in self.key)

    def subject(self, key: Key) -> str:
        return f"{self.label}/" + ",".join(quote(text, safe="") for text in key)

    def unknown(self, row: Row) -> list[str]:
        """Columns of this row that an event cannot have."""
        image = row.image
        doubtful = {c for c in self.loses_infinity if any(_INFINITE_OR_BC.fullmatch(v) for v in _texts(image[c]))}
        for column, elements in self.null_hides.items():
            if image[column] is None or any(element in elements for element in image[column]):
                doubtful.add(column)
        return [*self.lost, *sorted(doubtful | row.hidden)]

    def shown(self, row: Row) -> Image:
        unknown = set(self.unknown(row))
        return {column: value for column, value in row.image.items() if column not in unknown}

    def hidden(self, before: Row, after: Image, assigned: Collection[str]) -> frozenset[str]:
        """Columns that an update leaves unknown: null arrives, and it may stand for the value that was there."""
        return frozenset(
            column
            for column in self.hides_unchanged
            if (after[column] is None or (column not in assigned and _is_long(after[column])))
            and (column in before.hidden or _is_more_than_a_pointer(before.image[column]))
        )


@dataclass(frozen=True)
class Row:
    """One row as it is, and what of it cannot be known."""

    image: Image
    hidden: frozenset[str] = frozenset()


def key_text(value: Any) -> str:
    """A key's value as a subject shows it."""
    if isinstance(value, bool):
        return "true" if value else "false"
    return value.digits if isinstance(value, Number) else str(value)


@dataclass
class Expected:
    """One event that must appear."""

    type: str
    subject: str
    order: int
    """Its place among the transaction's changes and messages."""
    data: dict[str, Any]
    """What must stand in the event's data: key, before, after, changed, missing."""


@dataclass
class Committed:
    """What one committed transaction must have made."""

    xid: int
    began: float
    """Seconds since 1970, before and after the commit."""
    ended: float
    events: list[Expected]
    cause: Cause | None
    documents: dict[str, tuple[Image | None, Image | None]]
    """Entity documents before and after, by subject, of those that differ."""


@dataclass
class _Work:
    """What an open transaction has done so far; a savepoint is a copy of it."""

    rows: dict[str, dict[Key, Row | None]] = field(default_factory=dict[str, dict[Key, Row | None]])
    """Rows that it sees otherwise than they are committed; None for deleted ones."""
    truncated: set[str] = field(default_factory=set[str])
    events: list[Expected] = field(default_factory=list[Expected])
    messages: int = 0
    cause: Cause | None = None


class Model:
    """The tables as committed, and what each committed transaction must have made of them."""

    def __init__(self, shapes: Iterable[TableShape], documents: Documents | None = None) -> None:
        self.shapes = {shape.label: shape for shape in shapes}
        self.documents = documents
        self.current: dict[str, Image] = {}
        """The documents as committed, by subject."""
        self.rows: dict[str, dict[Key, Row]] = {label: {} for label in self.shapes}
        self.committed: list[Committed] = []

    def begin(self) -> Transaction:
        return Transaction(self)


class Transaction:
    """One open transaction of the model."""

    def __init__(self, model: Model) -> None:
        self._model = model
        self._work = _Work()

    def savepoint(self) -> _Work:
        """What `rollback_to` goes back to."""
        work = self._work
        rows = {label: dict(rows) for label, rows in work.rows.items()}
        return dataclasses.replace(work, rows=rows, truncated=set(work.truncated), events=list(work.events))

    def rollback_to(self, savepoint: _Work) -> None:
        self._work = savepoint

    def row(self, label: str, key: Key) -> Row | None:
        """The row as this transaction sees it."""
        own = self._work.rows.get(label, {})
        if key in own:
            return own[key]
        return None if label in self._work.truncated else self._model.rows[label].get(key)

    def keys(self, label: str) -> list[Key]:
        """The keys of the rows that this transaction sees."""
        own = self._work.rows.get(label, {})
        base = {} if label in self._work.truncated else self._model.rows[label]
        return [key for key in base if key not in own] + [key for key, row in own.items() if row is not None]

    def insert(self, label: str, after: Image, hidden: frozenset[str] = frozenset()) -> None:
        shape, row = self._model.shapes[label], Row(after, hidden)
        self._set(shape, shape.key_of(after), row)
        self._event("row.inserted", shape, None, row, None)

    def update(self, label: str, key: Key, after: Image, assigned: Collection[str]) -> None:
        """A change of the key is a delete and an insert."""
        shape = self._model.shapes[label]
        before = self._known(label, key)
        row = Row(after, shape.hidden(before, after, assigned))
        if shape.key_of(after) != key:
            self.delete(label, key)
            self.insert(label, after, row.hidden)
            return
        self._set(shape, key, row)
        old, new = shape.shown(before), shape.shown(row)
        self._event("row.updated", shape, before, row, [c for c in new if c in old and new[c] != old[c]])

    def delete(self, label: str, key: Key) -> None:
        shape = self._model.shapes[label]
        before = self._known(label, key)
        self._set(shape, key, None)
        self._event("row.deleted", shape, before, None, None)

    def truncate(self, labels: Iterable[str]) -> None:
        for label in labels:
            self._work.rows[label] = {}
            self._work.truncated.add(label)
            data: dict[str, Any] = {"key": None, "before": None, "after": None, "changed": None, "missing": list[str]()}
            self._work.events.append(Expected("table.truncated", label, self._next_order(), data))

    def message(self, cause: Cause | None) -> None:
        """A logical message: it takes a place, and a true one says who made the transaction."""
        self._work.messages += 1
        self._work.cause = self._work.cause or cause

    def commit(self, xid: int, began: float, ended: float) -> None:
        model, work = self._model, self._work
        before, documents = model.current, model.documents
        for label in work.truncated:
            model.rows[label].clear()
        for label, rows in work.rows.items():
            for key, row in rows.items():
                if row is None:
                    model.rows[label].pop(key, None)
                else:
                    model.rows[label][key] = row
        after = model.current = documents.read(model.rows, model.shapes) if documents else {}
        truncated = documents is not None and documents.root in work.truncated
        changed = {
            subject: (before.get(subject), after.get(subject))
            for subject in sorted({**before, **after})
            if before.get(subject) != after.get(subject) and not (truncated and subject not in after)
        }
        if work.events or work.messages:
            model.committed.append(Committed(xid, began, ended, work.events, work.cause, changed))

    def _known(self, label: str, key: Key) -> Row:
        row = self.row(label, key)
        assert row is not None, f"the model has no row {key} in {label}"
        return row

    def _set(self, shape: TableShape, key: Key, row: Row | None) -> None:
        self._work.rows.setdefault(shape.label, {})[key] = row

    def _next_order(self) -> int:
        return len(self._work.events) + self._work.messages + 1

    def _event(
        self, kind: str, shape: TableShape, before: Row | None, after: Row | None, changed: list[str] | None
    ) -> None:
        row = after or before
        image = row.image if row else {}
        missing: list[str] = []
        if before is not None:
            missing += [f"before.{column}" for column in shape.unknown(before)]
        if after is not None:
            missing += [f"after.{column}" for column in shape.unknown(after)]
        data = {
            "key": {column: image[column] for column in shape.key},
            "before": None if before is None else shape.shown(before),
            "after": None if after is None else shape.shown(after),
            "changed": changed,
            "missing": missing,
        }
        self._work.events.append(Expected(kind, shape.subject(shape.key_of(image)), self._next_order(), data))


@dataclass(frozen=True)
class Documents:
    """How documents of one entity with to-one members are put together."""

    name: str
    root: str
    members: Mapping[str, tuple[str, str]]
    """By name: the member's table, and the root's column that refers to its key."""

    def read(self, rows: Mapping[str, Mapping[Key, Row]], shapes: Mapping[str, TableShape]) -> dict[str, Image]:
        """Every document of these tables, by subject."""
        named = dataclasses.replace(shapes[self.root], label=self.name)
        return {named.subject(key): self._document(row, rows, shapes) for key, row in rows[self.root].items()}

    def _document(self, row: Row, rows: Mapping[str, Mapping[Key, Row]], shapes: Mapping[str, TableShape]) -> Image:
        document = shapes[self.root].shown(row)
        for name, (label, column) in self.members.items():
            value = row.image[column]
            member = None if value is None else rows[label].get((key_text(value),))
            document[name] = None if member is None else shapes[label].shown(member)
        return document


def _is_long(value: Any) -> bool:
    """Whether a value made here surely stands outside its row; the others stand inside."""
    return value is not None and len(value) > 250


def _is_more_than_a_pointer(value: Any) -> bool:
    """Whether a bytea or a list may stand outside of a row that was longer once."""
    return value is not None and (len(value) > 0 if isinstance(value, list) else len(value) > len("\\x") + 2 * 20)


def _texts(value: Any) -> list[str]:
    """The strings in a value, in a list too."""
    if isinstance(value, list):
        return [each for each in value if isinstance(each, str)]  # pyright: ignore[reportUnknownVariableType]
    return [value] if isinstance(value, str) else []
