"""Which transactions that follow one another may be applied as one, though documents are told as of each of them.

That is so while no document shows what two of them change: then each document before the first and behind the last is
what it is before and behind its own transaction. Documents are known by the rows from which they grow, as the store is
before the first. What could lead elsewhere by then ends the group: a row that two transactions change; a row that one
changes and to which a row refers that another changes; a member that is loaded and not watched.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import msgspec

from cdc_consumer import roots
from cdc_consumer.collect import Piece
from cdc_consumer.decode import Change
from cdc_consumer.entities import EntityPlan
from cdc_consumer.roots import Touched
from cdc_consumer.store import Store
from wakestream.ledger import Connection

WINDOW = 100  # transactions that are looked at together
LARGEST = 1000  # changes of a group
DOCUMENTS = 500  # of a group
PAUSE = 10  # transactions that go one by one after the first of them could go with no other

Token = tuple[Any, ...]
"""A value by which rows refer to one another, or a row."""

_fields = msgspec.json.Decoder(dict[str, msgspec.Raw])


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
        self._watched = frozenset(label for plan in plans for label in plan.watched)
        self._links = _links(plans)
        self._possible = not store.careful and all(plan.compares_plainly for plan in plans)
        self._pause = 0

    def first(self, pieces: Sequence[Piece]) -> Group | None:
        """The first of these transactions that may go together; None where the first goes alone."""
        if not self._possible or len(pieces) < 2:
            return None
        if self._pause:
            self._pause -= 1
            return None
        group = self._group(self._apart(pieces[:WINDOW]))
        if group is None:
            self._pause = PAUSE
        return group

    def _apart(self, pieces: Sequence[Piece]) -> Sequence[Piece]:
        """As many as share no row and no value by which their rows refer to others'."""
        seen = set[Token]()
        size, stored = 0, self._stored(pieces)
        for number, piece in enumerate(pieces):
            size += len(piece.changes)
            tokens = self._tokens(piece, stored)
            if tokens is None or size > LARGEST or not seen.isdisjoint(tokens):
                return pieces[:number]
            seen |= tokens
        return pieces

    def _stored(self, pieces: Sequence[Piece]) -> Mapping[tuple[str, bytes], Mapping[str, msgspec.Raw]]:
        """The rows as they are, by table and key, where they refer to others by more than their key."""
        changed: dict[str, list[bytes]] = {}
        for change in itertools.chain.from_iterable(piece.changes for piece in pieces):
            if any(not by_key for _, _, by_key in self._links.get(change.table, ())):
                changed.setdefault(change.table, []).append(change.key)
        tables = {label: plan.tables[label] for plan in self._plans for label in plan.watched}
        asked = [
            (label, keys, self._connection.ask(tables[label].present, ("[" + b",".join(keys).decode() + "]",)))
            for label, keys in changed.items()
        ]
        return {
            (label, keys[place - 1]): _fields.decode(text)
            for label, keys, answer in asked
            for place, text in answer.fetchall()
        }

    def _tokens(self, piece: Piece, stored: Mapping[tuple[str, bytes], Mapping[str, msgspec.Raw]]) -> set[Token] | None:
        """What a transaction must not share with another; None where its images do not tell."""
        tokens = set[Token]()
        for change in piece.changes:
            if change.table not in self._watched:
                continue
            tokens.add((change.table, change.key))
            key = _fields.decode(change.key)
            for step, columns, by_key in self._links[change.table]:
                images = [key]
                if not by_key:
                    new = self._new(change)
                    if new is None:
                        return None
                    images = [new, stored.get((change.table, change.key), {})]
                for image in images:
                    values = tuple(bytes(image.get(name, b"null")) for name in columns)
                    if b"null" not in values:
                        tokens.add((*step, *map(msgspec.json.decode, values)))
        return tokens

    def _new(self, change: Change) -> Mapping[str, msgspec.Raw] | None:
        if change.after is None:
            return {}
        plan = next(plan.tables[change.table] for plan in self._plans if change.table in plan.watched)
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


def _links(plans: Sequence[EntityPlan]) -> dict[str, list[tuple[Token, tuple[str, ...], bool]]]:
    """By table: by which of its columns its rows refer to others, in which step, and whether its key says them."""
    links: dict[str, list[tuple[Token, tuple[str, ...], bool]]] = {}
    for plan in plans:
        for label in plan.watched:
            links.setdefault(label, [])
        for label, step, columns in plan.links:
            by_key = set(columns) <= set(plan.tables[label].table.key)
            links[label].append(((plan.entity.name, step), columns, by_key))
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
