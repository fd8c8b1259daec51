"""What must be in the context topic: worked out in plain Python from the statements, never from change capture.

The model is told what each statement did to which rows. The images before are its own; the images after are what
`to_jsonb(row)` gave inside the same transaction.
"""

from __future__ import annotations

import copy
import dataclasses
import re
from collections.abc import Iterable, Mapping
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

    def key_of(self, image: Mapping[str, Any]) -> Key:
        return tuple(key_text(image[column]) for column in self.key)

    def subject(self, key: Key) -> str:
        return f"{self.label}/" + ",".join(quote(text, safe="") for text in key)

    def unknown(self, image: Image) -> list[str]:
        """Columns of this image that an event cannot have."""
        doubtful = [c for c in self.loses_infinity if any(_INFINITE_OR_BC.fullmatch(v) for v in _texts(image[c]))]
        return [*self.lost, *sorted(doubtful)]

    def shown(self, image: Image) -> Image:
        unknown = set(self.unknown(image))
        return {column: value for column, value in image.items() if column not in unknown}


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

    rows: dict[str, dict[Key, Image | None]] = field(default_factory=dict[str, dict[Key, Image | None]])
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
        self.rows: dict[str, dict[Key, Image]] = {label: {} for label in self.shapes}
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
        return copy.deepcopy(self._work)

    def rollback_to(self, savepoint: _Work) -> None:
        self._work = savepoint

    def row(self, label: str, key: Key) -> Image | None:
        """The row as this transaction sees it."""
        own = self._work.rows.get(label, {})
        if key in own:
            return own[key]
        return None if label in self._work.truncated else self._model.rows[label].get(key)

    def keys(self, label: str) -> list[Key]:
        """The keys of the rows that this transaction sees."""
        own = self._work.rows.get(label, {})
        base = {} if label in self._work.truncated else self._model.rows[label]
        return [key for key in base if key not in own] + [key for key, image in own.items() if image is not None]

    def insert(self, label: str, after: Image) -> None:
        shape = self._model.shapes[label]
        self._set(shape, shape.key_of(after), after)
        self._event("row.inserted", shape, None, after, None)

    def update(self, label: str, key: Key, after: Image) -> None:
        """A change of the key is a delete and an insert."""
        shape = self._model.shapes[label]
        before = self._known(label, key)
        if shape.key_of(after) != key:
            self.delete(label, key)
            self.insert(label, after)
            return
        self._set(shape, key, after)
        old, new = shape.shown(before), shape.shown(after)
        self._event("row.updated", shape, before, after, [c for c in new if c in old and new[c] != old[c]])

    def delete(self, label: str, key: Key) -> None:
        shape = self._model.shapes[label]
        before = self._known(label, key)
        self._set(shape, key, None)
        self._event("row.deleted", shape, before, None, None)

    def truncate(self, labels: Iterable[str]) -> None:
        for label in labels:
            self._work.rows[label] = {}
            self._work.truncated.add(label)
            data = {"key": None, "before": None, "after": None, "changed": None, "missing": []}
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
            for key, image in rows.items():
                if image is None:
                    model.rows[label].pop(key, None)
                else:
                    model.rows[label][key] = image
        after = model.current = documents.read(model.rows, model.shapes) if documents else {}
        truncated = documents is not None and documents.root in work.truncated
        changed = {
            subject: (before.get(subject), after.get(subject))
            for subject in sorted({**before, **after})
            if before.get(subject) != after.get(subject) and not (truncated and subject not in after)
        }
        if work.events or work.messages:
            model.committed.append(Committed(xid, began, ended, work.events, work.cause, changed))

    def _known(self, label: str, key: Key) -> Image:
        image = self.row(label, key)
        assert image is not None, f"the model has no row {key} in {label}"
        return image

    def _set(self, shape: TableShape, key: Key, image: Image | None) -> None:
        self._work.rows.setdefault(shape.label, {})[key] = image

    def _next_order(self) -> int:
        return len(self._work.events) + self._work.messages + 1

    def _event(
        self, kind: str, shape: TableShape, before: Image | None, after: Image | None, changed: list[str] | None
    ) -> None:
        image = after if after is not None else before or {}
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

    def read(self, rows: Mapping[str, Mapping[Key, Image]], shapes: Mapping[str, TableShape]) -> dict[str, Image]:
        """Every document of these tables, by subject."""
        named = dataclasses.replace(shapes[self.root], label=self.name)
        return {named.subject(key): self._document(image, rows, shapes) for key, image in rows[self.root].items()}

    def _document(
        self, image: Image, rows: Mapping[str, Mapping[Key, Image]], shapes: Mapping[str, TableShape]
    ) -> Image:
        document = shapes[self.root].shown(image)
        for name, (label, column) in self.members.items():
            member = None if image[column] is None else rows[label].get((key_text(image[column]),))
            document[name] = None if member is None else shapes[label].shown(member)
        return document


def _texts(value: Any) -> list[str]:
    """The strings in a value, in a list too."""
    if isinstance(value, list):
        return [each for each in value if isinstance(each, str)]  # pyright: ignore[reportUnknownVariableType]
    return [value] if isinstance(value, str) else []
