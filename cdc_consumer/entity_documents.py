"""The documents of entities as they stand in the mirrors, without values that are not known."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import NamedTuple

import msgspec

from cdc_consumer import unreadable
from cdc_consumer.entities import EntityPlan
from cdc_consumer.roots import Touched
from cdc_consumer.store import Store
from wakestream import withholding
from wakestream.capture import Member
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
    if any(store.unknown.lost(label) for label in plan.involved):
        paths |= set(_lost_members(store, entity.members, _fields.decode(text)))
    if not paths:
        return Shown(document, ())
    fields = _fields.decode(text)
    for name in _computed_from(plan, paths):
        fields.pop(name)
        paths |= {name}
    return Shown(msgspec.json.encode(fields).decode(), tuple(sorted(paths)))


def _lost_members(store: Store, members: tuple[Member, ...], fields: Mapping[str, msgspec.Raw]) -> Iterator[str]:
    """Paths at which a row would stand that the mirror lacks, or may: which rows those belong to cannot be read."""
    for member in members:
        image = fields.get(member.name)
        lost = store.unknown.lost(member.table)
        if lost and (member.many or image is None or bytes(image) == b"null") and _may_be(member, fields, lost):
            yield member.name
        elif image is not None and bytes(image).startswith(b"{"):
            for path in _lost_members(store, member.members, _fields.decode(image)):
                yield f"{member.name}.{path}"


def _may_be(member: Member, fields: Mapping[str, msgspec.Raw], lost: Collection[str]) -> bool:
    """Whether one of these rows may be the member: surely not where it is found by its key, and that is another."""
    if member.many or set(member.references) != set(member.key) or not set(member.columns) <= fields.keys():
        return True
    values = {own: fields[column] for own, column in zip(member.references, member.columns, strict=True)}
    return msgspec.json.encode({name: values[name] for name in member.key}).decode() in lost


def _computed_from(plan: EntityPlan, paths: Collection[str]) -> list[str]:
    """Computed fields whose SQL speaks of what is not known."""
    words = {name for path in paths for name in (path.rpartition(".")[2], path.replace(".", "__"))}
    return [c.name for c in plan.entity.computed if words & set(re.findall(r"\w+", c.sql))]
