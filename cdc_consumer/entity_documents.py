"""The documents of entities as they stand in the mirrors, without values that are not known."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import msgspec
import psycopg

from cdc_consumer.entities import EntityPlan
from cdc_consumer.roots import Touched
from cdc_consumer.store import Store
from cdc_consumer.unknown import WHOLE_ROW
from wakestream.capture import Member

_fields = msgspec.json.Decoder(dict[str, msgspec.Raw])
_elements = msgspec.json.Decoder(list[msgspec.Raw])


class Shown(NamedTuple):
    """A document, and the paths that it cannot tell."""

    text: str
    missing: tuple[str, ...]


class Asked:
    """Documents that were asked for as they stand at that moment; the answer may be taken later."""

    def __init__(
        self, plan: EntityPlan, connection: psycopg.Connection[Any], store: Store, roots: Mapping[str, Touched]
    ) -> None:
        self._plan = plan
        self._store = store
        self._subjects = list(roots)
        self._cursor: psycopg.Cursor[Any] | None = None
        self._taken: dict[str, Shown] | None = None if roots else {}
        if roots:
            listed = "[" + ",".join(root.text for root in roots.values()) + "]"
            self._cursor = connection.execute(plan.query, (listed,))
            if any(store.unknown.any(label) for label in plan.involved):
                self.take()  # what is not known may be known later

    def take(self) -> dict[str, Shown]:
        """By subject; roots that did not exist are absent."""
        if self._taken is None and self._cursor is not None:
            self._taken = {
                self._subjects[place - 1]: _withhold_missing(self._plan, self._store, text)
                for place, text in self._cursor.fetchall()
            }
        return self._taken or {}


def _withhold_missing(plan: EntityPlan, store: Store, document: str) -> Shown:
    """The document without stored values that are not known, and their paths; everything else keeps its text."""
    if not any(store.unknown.any(label) for label in plan.involved):
        return Shown(document, ())
    entity = plan.entity
    text, paths = _Withholding(plan, store).of_row(entity.root, entity.members, document.encode())
    return Shown(text.decode(), tuple(sorted(paths))) if paths else Shown(document, ())


class _Withholding:
    """Takes what is not known out of the rows of one document."""

    def __init__(self, plan: EntityPlan, store: Store) -> None:
        self._plan = plan
        self._store = store

    def of_row(self, label: str, members: Sequence[Member], image: bytes) -> tuple[bytes, frozenset[str]]:
        """A row with its members; returns its text and the paths that were taken out."""
        if not image.startswith(b"{"):
            return image, frozenset()
        fields = _fields.decode(image)
        table = self._plan.tables[label]
        key = Store.key_of(table, fields)
        unknown = self._store.unknown.of(label, [key]).get(key, frozenset[str]()) - {WHOLE_ROW}
        paths = {name for name in unknown if fields.pop(name, None) is not None}
        for member in members:
            text, inner = self._of_member(member, bytes(fields[member.name]))
            if inner:
                fields[member.name] = msgspec.Raw(text)
                paths |= {f"{member.name}.{name}" for name in inner}
        return (msgspec.json.encode(fields), frozenset(paths)) if paths else (image, frozenset())

    def _of_member(self, member: Member, image: bytes) -> tuple[bytes, frozenset[str]]:
        if not member.many:
            return self.of_row(member.table, member.members, image)
        parts = [self.of_row(member.table, member.members, bytes(each)) for each in _elements.decode(image)]
        return b"[%s]" % b", ".join(part for part, _ in parts), frozenset(name for _, names in parts for name in names)
