"""Which transactions that follow one another may be applied as one, though documents are told as of each of them.

That is so while no document shows what two of them change: then each document before the first and behind the last is
what it is before and behind its own transaction. Which documents a transaction changes is asked for all of them at
once, over the store as it is before the first. That must be what the answer would be at its turn, so a group ends at

1. a row that another transaction of it changes,
2. a value by which one transaction's row refers, or did, to rows of which another one changes one, or did so,
3. a row that refers, as another one does not yet, to rows below which another one changes something,
4. a document that another one touches,
5. a member that is loaded without being watched, where another one touches a document.

Where the store lacks rows, ways are not known, and there are no groups.

Any way from a changed row up to a root that is not there before the first is made by an earlier transaction, at one of
its steps. At the last step, 2 stands against that, at all others 3.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import msgspec

from cdc_consumer import roots
from cdc_consumer.collect import Piece
from cdc_consumer.decode import Change
from cdc_consumer.entities import EntityPlan, path
from cdc_consumer.roots import Touched
from cdc_consumer.store import Store
from wakestream.ledger import Connection

WINDOW = 100  # transactions that are looked at together
LARGEST = 1000  # changes of a group
DOCUMENTS = 500  # of a group
PAUSE = 10  # transactions that go one by one after the first of them could go with no other

Token = tuple[Any, ...]
"""A row, or a value by which rows refer to one another."""

_fields = msgspec.json.Decoder(dict[str, msgspec.Raw])


Images = Mapping[tuple[str, bytes], Mapping[str, msgspec.Raw]]
"""Rows by table and key."""


class Link(NamedTuple):
    """One of the two ends at which the rows of a member hang on those above it."""

    step: tuple[str, str]
    """The entity, and the path of the member."""
    columns: tuple[str, ...]
    by_key: bool
    """Whether a row's key tells them."""
    refers: bool
    """Whether it is the upper end."""
    below: frozenset[str]
    """The tables of the members below the member."""

    def value(self, image: Mapping[str, msgspec.Raw]) -> Token | None:
        """What an image has there; None for a row that refers to none."""
        values = [bytes(image.get(name, b"null")) for name in self.columns]
        return None if b"null" in values else tuple(map(msgspec.json.decode, values))


class Traits(NamedTuple):
    """What of a transaction decides with which others it may go together."""

    rows: set[Token]
    """Those that it changes."""
    referring: set[Token]
    """All values by which these refer to others, before or after."""
    referred: set[Token]
    """All values by which others may refer to these."""
    tables: set[str]
    opened: set[str]
    """Tables with rows that may have come into documents in which they were not."""

    @classmethod
    def none(cls) -> Traits:
        """Those of no transaction."""
        return cls(set(), set(), set(), set(), set())

    def is_apart(self, other: Traits) -> bool:
        """Whether neither changes what may lead to a document that the other one changes."""
        return (
            self.rows.isdisjoint(other.rows)
            and self.referring.isdisjoint(other.referred)
            and self.referred.isdisjoint(other.referring)
            and self.opened.isdisjoint(other.tables)
            and self.tables.isdisjoint(other.opened)
        )


class Found(NamedTuple):
    """The roots of one entity that a group touches, by subject; `rows` are places among all changes of the group."""

    plan: EntityPlan
    roots: dict[str, Touched]


class Group(NamedTuple):
    """Transactions that may be applied as one."""

    pieces: Sequence[Piece]
    ends: list[int]
    """How many changes there are up to each of them, its own included."""
    found: list[Found]


class Grouping:
    """Finds the groups of one batch; what it finds holds until something else is applied."""

    def __init__(self, plans: Sequence[EntityPlan], connection: Connection, store: Store) -> None:
        self._plans = plans
        self._connection = connection
        self._store = store
        self._tables = {label: plan.tables[label] for plan in plans for label in plan.watched}
        self._links = _links(plans)
        self._possible = not store.careful and all(plan.compares_plainly for plan in plans)
        self._pause = 0

    def first(self, pieces: Sequence[Piece]) -> Group | None:
        """The first of these transactions that may go together; None where the first goes alone."""
        if not self._possible or len(pieces) < 2 or not self._all_known():
            return None
        if self._pause:
            self._pause -= 1
            return None
        sizes = itertools.accumulate(len(piece.changes) for piece in pieces[:WINDOW])
        group = self._group(self._apart(pieces[: sum(size <= LARGEST for size in sizes)]))
        if group is None:
            self._pause = PAUSE
        return group

    def _all_known(self) -> bool:
        """Whether every row that documents show, or that leads to one, is in the store."""
        return not any(
            label in self._store.untrusted or self._store.unknown.lacks(label)
            for plan in self._plans
            for label in plan.involved
        )

    def _apart(self, pieces: Sequence[Piece]) -> Sequence[Piece]:
        """As many as share no row and no way from one to another."""
        seen = Traits.none()
        stored = self._stored(pieces)
        for number, piece in enumerate(pieces):
            traits = self._traits(piece, stored)
            if traits is None or not seen.is_apart(traits):
                return pieces[:number]
            for gathered, more in zip(seen, traits, strict=True):
                gathered |= more
        return pieces

    def _stored(self, pieces: Sequence[Piece]) -> Images:
        """The rows as they are, where they refer to others by more than their key."""
        changed: dict[str, list[bytes]] = {}
        for change in itertools.chain.from_iterable(piece.changes for piece in pieces):
            if any(not link.by_key for link in self._links.get(change.table, ())):
                changed.setdefault(change.table, []).append(change.key)
        asked = [
            (label, keys, self._connection.ask(self._tables[label].present, ("[" + b",".join(keys).decode() + "]",)))
            for label, keys in changed.items()
        ]
        return {
            (label, keys[place - 1]): _fields.decode(text)
            for label, keys, answer in asked
            for place, text in answer.fetchall()
        }

    def _traits(self, piece: Piece, stored: Images) -> Traits | None:
        """What a transaction must not share with another; None where its images do not tell."""
        traits = Traits.none()
        for change in piece.changes:
            if change.table not in self._tables:
                continue
            traits.tables.add(change.table)
            traits.rows.add((change.table, change.key))
            new = self._new(change)
            if new is None:
                return None
            old = stored.get((change.table, change.key), {})
            key = _fields.decode(change.key)
            for link in self._links[change.table]:
                before = link.value(key if link.by_key and change.op != "c" else old)
                after = link.value(key if link.by_key and change.op != "d" else new)
                ends = traits.referring if link.refers else traits.referred
                ends.update((*link.step, *value) for value in (before, after) if value is not None)
                if after is not None and after != before:
                    traits.opened.update(link.below)
        return traits

    def _new(self, change: Change) -> Mapping[str, msgspec.Raw] | None:
        """The row as it is left; None where that is not all told."""
        if change.after is None:
            return {}
        plan = self._tables[change.table]
        if plan.is_doubtful(change.after):
            return None
        found = _fields.decode(change.after)
        return found if plan.shown_names <= found.keys() else None

    def _group(self, pieces: Sequence[Piece]) -> Group | None:
        """As many of them as no document shows two of."""
        if len(pieces) < 2:
            return None
        changes = [change for piece in pieces for change in piece.changes]
        owners = [number for number, piece in enumerate(pieces) for _ in piece.changes]
        tables = {change.table for change in changes}
        found: list[Found] = []
        together = len(pieces)
        for plan in self._plans:
            if not plan.watched & tables:
                continue
            touched, overflows = roots.find(plan, self._connection, self._store, changes)
            if overflows:
                return None
            loaded = {owner for change, owner in zip(changes, owners, strict=True) if change.table in plan.loaded}
            together = min(together, _most(touched, owners, loaded))
            found.append(Found(plan, touched))
        together = min(together, _of_size(found, owners, together))
        if together < 2:
            return None
        ends = list(itertools.accumulate(len(piece.changes) for piece in pieces[:together]))
        return Group(pieces[:together], ends, [Found(plan, _those(touched, ends[-1])) for plan, touched in found])


def _links(plans: Sequence[EntityPlan]) -> dict[str, list[Link]]:
    """By table how its rows refer to others, or others to them."""
    links: dict[str, list[Link]] = {}
    for plan in plans:
        for label in plan.watched:
            links.setdefault(label, [])
        for label, step, columns, refers in plan.links:
            by_key = set(columns) <= set(plan.tables[label].table.key)
            below = frozenset(c[-1].table for c in plan.watched_chains if path(c).startswith(f"{step}."))
            links[label].append(Link((plan.entity.name, step), columns, by_key, refers, below))
    return links


def _most(touched: Mapping[str, Touched], owners: Sequence[int], loaded: set[int]) -> int:
    """How many of the first transactions have no document of this entity in common.

    `loaded` are those that change what its documents show and are not told of: such a one is alone with documents.
    """
    owned = [sorted({owners[place] for place in root.rows}) for root in touched.values()]
    most = min((numbers[1] for numbers in owned if len(numbers) > 1), default=len(owners) + 1)
    if loaded:
        having = {number for numbers in owned for number in numbers}
        pairs = ((one, other) for one in loaded for other in having if one != other)
        most = min(most, min((max(pair) for pair in pairs), default=most))
    return most


def _of_size(found: Sequence[Found], owners: Sequence[int], most: int) -> int:
    """How many transactions have no more documents than a group may hold at once."""
    counts = [0] * (max(owners, default=0) + 1)
    for _, touched in found:
        for root in touched.values():
            counts[owners[min(root.rows)]] += 1
    totals: Iterator[int] = itertools.accumulate(counts[:most])
    return sum(1 for total in totals if total <= DOCUMENTS)


def _those(touched: Mapping[str, Touched], end: int) -> dict[str, Touched]:
    """The roots that changes before this place touch."""
    found: dict[str, Touched] = {}
    for subject, root in touched.items():
        if rows := {place for place in root.rows if place < end}:
            found[subject] = Touched(root.text, rows)
    return found
