"""The documents of entities as they stand in the mirrors, without values that are not known."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import msgspec

from cdc_consumer.entities import EntityPlan
from cdc_consumer.roots import Touched
from cdc_consumer.store import Store
from wakestream import withholding
from wakestream.ledger.connection import Answer, Connection


class Shown(NamedTuple):
    """A document, and the paths that it cannot tell."""

    text: str
    missing: tuple[str, ...]


class Asked:
    """Documents that were asked for as they stand at that moment; the answer may be taken later."""

    def __init__(self, plan: EntityPlan, connection: Connection, store: Store, roots: Mapping[str, Touched]) -> None:
        self._plan = plan
        self._store = store
        self._subjects = list(roots)
        self._answer: Answer | None = None
        self._taken: dict[str, Shown] | None = None if roots else {}
        if roots:
            listed = "[" + ",".join(root.text for root in roots.values()) + "]"
            self._answer = connection.ask(plan.query, (listed,))
            if any(store.unknown.any(label) for label in plan.involved):
                self.take()  # what is not known may be known later

    def take(self) -> dict[str, Shown]:
        """By subject; roots that did not exist are absent."""
        if self._taken is None and self._answer is not None:
            self._taken = {
                self._subjects[place - 1]: _withhold_missing(self._plan, self._store, text)
                for place, text in self._answer.fetchall()
            }
        return self._taken or {}


def _withhold_missing(plan: EntityPlan, store: Store, document: str) -> Shown:
    """The document without stored values that are not known, and their paths; everything else keeps its text."""
    if not any(store.unknown.any(label) for label in plan.involved):
        return Shown(document, ())
    entity = plan.entity

    def unknown(label: str, fields: Mapping[str, msgspec.Raw]) -> frozenset[str]:
        key = Store.key_of(plan.tables[label], fields)
        return store.unknown.of(label, [key]).get(key, frozenset())

    text, paths = withholding.withhold(unknown, entity.root, entity.members, document.encode())
    return Shown(text.decode(), tuple(sorted(paths))) if paths else Shown(document, ())
