"""Which entities a piece may change: those whose root it changes, and those that show a member it changes.

Asked before the changes are applied. A root, or a row between root and member, that starts or stops to refer to a
changed row is changed itself, so what the store knows now suffices, together with the new values of the member.
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from typing import NamedTuple

import msgspec

from cdc_consumer import doubtful
from cdc_consumer.decode import Change
from cdc_consumer.entities import Chain, EntityPlan, path
from cdc_consumer.store import Store
from cdc_consumer.tables import TablePlan
from cdc_consumer.unreadable import UNREADABLE
from wakestream import events
from wakestream.ledger.connection import Answer, Connection

Placed = tuple[int, Change]
"""A change, and its place in the piece."""

_fields = msgspec.json.Decoder(dict[str, msgspec.Raw])


@dataclasses.dataclass(slots=True)
class Touched:
    """One root that a piece may have changed."""

    text: str
    """Its key as a JSON object."""
    rows: set[int] = dataclasses.field(default_factory=set[int])
    """Places of the changes that touched it."""


class Overflow(NamedTuple):
    """A member through which a piece changes more documents than the configuration allows."""

    member: str
    limit: int


class Way(NamedTuple):
    """Roots that were found in one way: as changed themselves, or through one member."""

    member: str
    """Its path; empty for the roots themselves."""
    limit: int | None
    """How many there may be."""
    roots: dict[str, Touched]
    """By subject; one more than allowed, where there are too many."""


def find(
    plan: EntityPlan, connection: Connection, store: Store, changes: Sequence[Change]
) -> tuple[dict[str, Touched], list[Overflow]]:
    """The roots that these changes may change, by subject; and members whose roots are too many to be followed."""
    found: dict[str, Touched] = {}
    overflows: list[Overflow] = []
    for way in ways(plan, connection, store, changes):
        if way.limit is not None and len(way.roots) > way.limit:
            overflows.append(Overflow(way.member, way.limit))
            continue
        for subject, root in way.roots.items():
            found.setdefault(subject, Touched(root.text)).rows.update(root.rows)
    return found, overflows


def ways(plan: EntityPlan, connection: Connection, store: Store, changes: Sequence[Change]) -> Iterator[Way]:
    """The roots that these changes may change, by the way in which each was found."""
    asked = [
        (chain, _Asked(plan, chain, connection, store, of_member))
        for chain in plan.watched_chains
        if (of_member := [(i, c) for i, c in enumerate(changes) if c.table == chain[-1].table])
    ]
    own = [(i, c) for i, c in enumerate(changes) if c.table == plan.entity.root and c.op != "t"]
    if own:
        texts = _each(connection, store, own, partial(_keys_of, connection, store, plan.root.of(own[0][1])))
        yield Way("", None, by_subject(plan, ((text, [place]) for place, text in texts)))
    for chain, each in asked:
        yield Way(path(chain), chain[-1].fan_out, by_subject(plan, each.take()))


def by_subject(plan: EntityPlan, found: Iterable[tuple[str, Iterable[int]]]) -> dict[str, Touched]:
    """Root keys as JSON objects, with the places of the changes that touched each, by subject."""
    roots: dict[str, Touched] = {}
    for text, places in found:
        subject = events.subject(plan.entity.name, events.spelt(text))
        if subject not in roots:
            roots[subject] = Touched(msgspec.json.encode(_fields.decode(text)).decode())
        roots[subject].rows.update(places)
    return roots


class _Asked:
    """The roots that show one of these members: asked for, and taken when all such questions are on their way."""

    def __init__(
        self,
        plan: EntityPlan,
        chain: Chain,
        connection: Connection,
        store: Store,
        changes: list[Placed],
    ) -> None:
        most = chain[-1].fan_out + 1
        self._truncate = next((i for i, c in changes if c.op == "t"), None)
        self._of_all: Answer | None = None
        self._of_rows: Answer | None = None
        if self._truncate is not None:
            self._of_all = connection.ask(plan.all_roots_of(chain), (most,))
        rows = [(i, c) for i, c in changes if c.op != "t"]
        self._records = _records(plan, chain, connection, store, rows)
        if self._records:
            listed = "[" + ",".join(text for _, text in self._records) + "]"
            self._of_rows = connection.ask(plan.roots_of(chain), (listed, most))

    def take(self) -> list[tuple[str, list[int]]]:
        """Key of each root, with the places of the changes; one more than allowed, where there are too many."""
        found: list[tuple[str, list[int]]] = []
        if self._of_all is not None and self._truncate is not None:
            found += [(text, [self._truncate]) for (text,) in self._of_all.fetchall()]
        if self._of_rows is not None:
            rows = self._of_rows.fetchall()
            found += [(text, [self._records[place - 1][0] for place in places]) for text, places in rows]
        return found


def _records(
    plan: EntityPlan,
    chain: Chain,
    connection: Connection,
    store: Store,
    rows: list[Placed],
) -> list[tuple[int, str]]:
    """The values by which the changed members are found, before and after the change, with its place."""
    if not rows:
        return []
    table = plan.tables[chain[-1].table].of(rows[0][1])
    if set(chain[-1].references) == set(table.table.key):  # a change of the key is a delete and an insert
        return _each(connection, store, rows, partial(_keys_of, connection, store, table))
    changed = [(i, c) for i, c in rows if c.after is not None]
    old = _each(connection, store, rows, partial(_old, connection, table))
    return old + _each(connection, store, changed, partial(_new, connection, table, plan.members_of(chain)))


def _keys_of(connection: Connection, store: Store, table: TablePlan, rows: Sequence[Placed]) -> list[tuple[int, str]]:
    if store.careful:  # a key that needs no look at it may be one that its column does not hold
        connection.ask(table.key_texts, ("[" + ",".join(c.key.decode() for _, c in rows) + "]",)).fetchall()
    return [(i, key) for (i, _), key in zip(rows, store.keys(table, [c for _, c in rows]), strict=True)]


def _old(connection: Connection, table: TablePlan, rows: Sequence[Placed]) -> list[tuple[int, str]]:
    listed = "[" + ",".join(c.key.decode() for _, c in rows) + "]"
    return [(rows[place - 1][0], text) for place, text in connection.ask(table.present, (listed,)).fetchall()]


def _new(connection: Connection, table: TablePlan, members: bytes, rows: Sequence[Placed]) -> list[tuple[int, str]]:
    """A value that the image does not tell refers to no row, or to that of the old one."""
    images = [c.after or b"{}" for _, c in rows]
    told = [doubtful.examine(table, each).image if table.is_doubtful(each) else each for each in images]
    shown = connection.ask(members, ("[" + ",".join(each.decode() for each in told) + "]",)).fetchall()
    return [(i, text) for (i, _), (text,) in zip(rows, shown, strict=True)]


def _each(
    connection: Connection,
    store: Store,
    rows: Sequence[Placed],
    ask: Callable[[Sequence[Placed]], list[tuple[int, str]]],
) -> list[tuple[int, str]]:
    """What PostgreSQL says of these rows; in careful mode without those that it cannot read, which nothing shows."""
    if not rows:
        return []
    if not store.careful:
        return ask(rows)
    found: list[tuple[int, str]] = []
    for row in rows:
        with contextlib.suppress(*UNREADABLE), connection.transaction():
            found += ask([row])
    return found
