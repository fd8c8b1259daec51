"""What of an event's document the actions of a trigger rest on, by row: worked out once, from what expressions read."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, cast

from wakestream import mirroring
from wakestream.capture import CapturedTable, Entity, Member, Revision
from wakestream.condition_reading import Step
from wakestream.events import subject
from wakestream.fences import FencedRow

Steps = tuple[Step, ...]
_WORD = re.compile(r"\w+")


@dataclass(slots=True)
class FencedPlace:
    """The rows at one place of the document: its root, a member, the elements of a list."""

    table: str
    key: tuple[str, ...]
    """Empty where rows cannot be told apart, so that they cannot be fenced."""
    columns: set[str] = field(default_factory=set[str])
    members: dict[str, FencedPlace] = field(default_factory=dict[str, "FencedPlace"])

    def rows(self, image: Any, path: str, missing: frozenset[str]) -> Iterable[FencedRow]:
        """The rows that an image shows here and below."""
        for each in cast("list[Any]", image) if isinstance(image, list) else [image]:
            if not isinstance(each, dict):
                continue  # what led to no row is fenced in the row above
            document = cast("dict[str, Any]", each)
            if self.key and all(document.get(name) is not None for name in self.key):
                yield self._row(document, path, missing)
            for name, place in self.members.items():
                yield from place.rows(document.get(name), f"{path}.{name}", missing)

    def gone(self, key: Mapping[str, Any]) -> Iterable[FencedRow]:
        """The root that the event says is not there."""
        if self.key and all(name in key for name in self.key):
            yield FencedRow(self.table, self._key(key), subject(self.table, self._key(key)), None)

    def _row(self, document: Mapping[str, Any], path: str, missing: frozenset[str]) -> FencedRow:
        known = (name for name in sorted(self.columns) if name in document and f"{path}.{name}" not in missing)
        key = self._key(document)
        return FencedRow(self.table, key, subject(self.table, key), {name: document[name] for name in known})

    def _key(self, document: Mapping[str, Any]) -> dict[str, Any]:
        return {name: document[name] for name in self.key}

    def without(self) -> Iterable[str]:
        """What is read here and below, and cannot be fenced."""
        if not self.key:
            yield f"{self.table} has no primary key"
        for place in self.members.values():
            yield from place.without()


@dataclass(frozen=True, slots=True)
class FencePlan:
    """What one action of a trigger rests on."""

    source: str
    system_identifier: str
    root: FencedPlace
    chosen: dict[str, FencedPlace]
    """By choice, the element that is chosen."""


@dataclass(frozen=True, slots=True)
class _Branch:
    """A place that is being planned, with what the configuration has below it."""

    place: FencedPlace
    members: tuple[Member, ...]
    fields: tuple[str, ...] | None
    is_root: bool = False


class _Words:
    """The words of an SQL expression: a column that is none of them is not read, unless its row is read whole."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._found = set(_WORD.findall(text)) | {word.lower() for word in _WORD.findall(text)}

    def among(self, columns: set[str], alias: str) -> set[str]:
        """Those of a row's columns that it may read."""
        named = rf'(?i:(?<![\w.]){re.escape(alias)}\b"?)'
        if re.search(rf"{named}(?!\s*\.\s*[\w\"])", self._text):
            return columns
        return columns & self._found


def _merge(into: FencedPlace, other: FencedPlace) -> None:
    into.columns |= other.columns
    for name, below in other.members.items():
        _merge(into.members.setdefault(name, FencedPlace(below.table, below.key)), below)


class Rows:
    """The rows that a trigger's document is made of."""

    def __init__(self, revision: Revision, table: str, entity: Entity | None) -> None:
        self._revision = revision
        self._table = table
        self._entity = entity
        self._computed = {each.name: each.sql for each in entity.computed} if entity else dict[str, str]()
        self._name = entity.name if entity else ""

    def plan(self, read: Iterable[Steps], whole: Iterable[Steps], choices: Mapping[str, Steps]) -> FencePlan:
        """The plan of an action: what is read, what is fenced whole where it is a row, the list of each choice."""
        root = self._root()
        lists = {choice: self._list(steps) for choice, steps in choices.items()}
        chosen = {choice: member.place for choice, member in lists.items()}
        for steps in read:
            if steps[0] == "after":
                for each in (root, *(found for found in lists.values() if found.is_root)):
                    self._follow(each.place, each.members, each.fields, steps[1:])
            elif steps[0] == "chosen" and steps[1] in lists:
                found = lists[steps[1]]
                self._follow(found.place, found.members, found.fields, steps[2:])
        for steps in whole:
            self._follow(root.place, root.members, root.fields, steps[1:], whole=True)
        return FencePlan(self._revision.source, self._revision.catalogue.system_identifier, root.place, chosen)

    def _root(self) -> _Branch:
        members = self._entity.members if self._entity else ()
        fields = self._entity.fields if self._entity else None
        return _Branch(self._place(self._table), members, fields, is_root=True)

    def _list(self, steps: Steps) -> _Branch:
        """The elements of a list in the document, or the documents of a batch."""
        members, found = self._entity.members if self._entity else (), None
        for step in steps[1:]:
            found = next(member for member in members if member.name == step)
            members = found.members
        return self._root() if found is None else _Branch(self._place(found.table), found.members, found.fields)

    def _place(self, label: str) -> FencedPlace:
        table = self._revision.catalogue.table(label)
        return FencedPlace(label, table.key if table else ())

    def _follow(
        self,
        place: FencedPlace,
        members: tuple[Member, ...],
        fields: tuple[str, ...] | None,
        steps: Steps,
        *,
        whole: bool = False,
    ) -> None:
        """Note a path's columns, those too by which the rows on its way are found."""
        path = [step for step in steps if step is not None]
        if not path:
            if whole:
                place.columns |= self._shown(place.table, fields)
            return
        member = next((each for each in members if each.name == path[0]), None)
        if member is not None:
            if not member.many:
                place.columns |= set(member.columns) & self._shown(place.table, None)
            below = place.members.setdefault(member.name, self._place(member.table))
            self._follow(below, member.members, member.fields, tuple(path[1:]), whole=whole)
        elif path[0] in self._computed and len(steps) == len(path) and place.table == self._table:
            self._note_named(place, members, fields, _Words(self._computed[path[0]]), self._name)
        else:
            place.columns |= {path[0]} & self._shown(place.table, None)

    def _note_named(
        self, place: FencedPlace, members: tuple[Member, ...], fields: tuple[str, ...] | None, words: _Words, alias: str
    ) -> None:
        """Note the columns of the root and its single members that SQL may be reading."""
        place.columns |= words.among(self._shown(place.table, fields), alias)
        for member in members:
            if member.many:
                continue
            name = member.name if alias == self._name else f"{alias}__{member.name}"
            below = self._place(member.table)
            self._note_named(below, member.members, member.fields, words, name)
            if below.columns or below.members:
                place.columns |= set(member.columns) & self._shown(place.table, None)
                _merge(place.members.setdefault(member.name, self._place(member.table)), below)

    def _shown(self, label: str, fields: tuple[str, ...] | None) -> set[str]:
        """Columns whose values stand in documents as they are in the source."""
        table = self._revision.catalogue.table(label)
        captured = self._revision.capture.tables.get(label, CapturedTable())
        hidden = captured.hidden | set(captured.mask) | set(captured.lost)
        listed = table.columns if table else ()
        return {
            column.name
            for column in listed
            if column.name not in hidden and not mirroring.is_lost(column) and (fields is None or column.name in fields)
        }
