"""The documents of entities as they stand in the mirrors, without values that are not known."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple

import msgspec

from cdc_consumer import unreadable
from cdc_consumer.entities import EntityPlan
from cdc_consumer.roots import Touched
from cdc_consumer.store import Store
from wakestream import withholding
from wakestream.ledger.connection import Answer, Connection

_fields = msgspec.json.Decoder(dict[str, msgspec.Raw])


class Shown(NamedTuple):
    """A document, and the paths that it cannot tell."""

    text: str
    missing: tuple[str, ...]
    error: str = ""
    """Why PostgreSQL cannot work it out; there is no text then."""


class Asked:
    """Documents that were asked for as they stand at that moment; the answer may be taken later."""

    def __init__(self, plan: EntityPlan, connection: Connection, store: Store, roots: Mapping[str, Touched]) -> None:
        self._plan = plan
        self._connection = connection
        self._store = store
        self._subjects = list(roots)
        self._answer: Answer | None = None
        self._taken: dict[str, Shown] | None = None if roots else {}
        self._certain = not any(store.unknown.any(label) for label in plan.involved)
        """Whether everything was known when it was asked; what is not known later was known then."""
        if store.careful:
            self._taken = {subject: shown for subject, root in roots.items() if (shown := self._one(root)) is not None}
        elif roots:
            self._answer = self._ask(roots.values())
            if not self._certain:
                self.take()  # what is not known may be known later

    def take(self) -> dict[str, Shown]:
        """By subject; roots that did not exist are absent."""
        if self._taken is None and self._answer is not None:
            self._taken = {self._subjects[place - 1]: self._shown(text) for place, text in self._answer.fetchall()}
        return self._taken or {}

    def _ask(self, roots: Iterable[Touched]) -> Answer:
        return self._connection.ask(self._plan.query, ("[" + ",".join(root.text for root in roots) + "]",))

    def _one(self, root: Touched) -> Shown | None:
        """One document by itself, so that one that cannot be worked out is no other's fault."""
        try:
            with self._connection.transaction():
                found = self._ask([root]).fetchall()
        except unreadable.UNREADABLE as error:
            return Shown("", (), unreadable.kind(error))
        return self._shown(found[0][1]) if found else None

    def _shown(self, text: str) -> Shown:
        return Shown(text, ()) if self._certain else _withhold_missing(self._plan, self._store, text)


def _withhold_missing(plan: EntityPlan, store: Store, document: str) -> Shown:
    """The document without stored values that are not known, and their paths; everything else keeps its text."""
    entity = plan.entity

    def unknown(label: str, fields: Mapping[str, msgspec.Raw]) -> frozenset[str]:
        key = Store.key_of(plan.tables[label], fields)
        return store.unknown.of(label, [key]).get(key, frozenset())

    text, paths = withholding.withhold(unknown, entity.root, entity.members, document.encode())

    def lost(label: str, key: Mapping[str, msgspec.Raw] | None) -> bool:
        return store.unknown.lacks(label, None if key is None else msgspec.json.encode(key).decode())

    fields = _fields.decode(text)
    if any(store.unknown.lacks(label) for label in plan.involved):
        paths |= set(withholding.lost_members(lost, entity.members, fields))
    if not paths:
        return Shown(document, ())
    for name in withholding.computed_from(entity, paths):
        fields.pop(name, None)
        paths |= {name}
    return Shown(msgspec.json.encode(fields).decode(), tuple(sorted(paths)))
