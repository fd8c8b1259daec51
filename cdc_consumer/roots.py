"""Which entities a piece may change: those whose root it changes, and those that show a member it changes.

Asked before the changes are applied. A root, or a row between root and member, that starts or stops to refer to a
changed row is changed itself, so what the store knows now suffices, together with the new values of the member.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence
from decimal import Decimal
from typing import Any, NamedTuple

import msgspec
import psycopg

from cdc_consumer.decode import Change
from cdc_consumer.entities import Chain, EntityPlan, path
from cdc_consumer.store import Store
from cdc_consumer.tables import TablePlan
from wakestream import events, exact_json

_keys = msgspec.json.Decoder(dict[str, Any], float_hook=Decimal)

# In a subject a number stands with every digit that it has in the key.
_subject_keys = msgspec.json.Decoder(dict[str, Any], float_hook=str)


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


def find(
    plan: EntityPlan, connection: psycopg.Connection[Any], store: Store, changes: Sequence[Change]
) -> tuple[dict[str, Touched], list[Overflow]]:
    """The roots that these changes may change, by subject; and members whose roots are too many to be followed."""
    found: dict[str, Touched] = {}
    overflows: list[Overflow] = []

    def add(text: str, places: Iterable[int]) -> None:
        subject = events.subject(plan.entity.name, _subject_keys.decode(text))
        if subject not in found:
            found[subject] = Touched(exact_json.dump(_keys.decode(text)))
        found[subject].rows.update(places)

    own = [(i, c) for i, c in enumerate(changes) if c.table == plan.entity.root and c.op != "t"]
    if own:
        for (place, _), text in zip(own, store.keys(plan.root, [c for _, c in own]), strict=True):
            add(text, [place])
    for chain in plan.watched_chains:
        of_member = [(i, c) for i, c in enumerate(changes) if c.table == chain[-1].table]
        if not of_member:
            continue
        limit = chain[-1].fan_out
        roots = _roots(plan, chain, connection, store, of_member)
        if len(roots) > limit:
            overflows.append(Overflow(path(chain), limit))
            continue
        for text, places in roots:
            add(text, places)
    return found, overflows


def _roots(
    plan: EntityPlan,
    chain: Chain,
    connection: psycopg.Connection[Any],
    store: Store,
    changes: list[tuple[int, Change]],
) -> list[tuple[str, list[int]]]:
    """Key of each root that shows one of these members, with the places of the changes; one more than allowed."""
    most = chain[-1].fan_out + 1
    found: list[tuple[str, list[int]]] = []
    truncates = [i for i, c in changes if c.op == "t"]
    if truncates:
        rows = connection.execute(plan.all_roots_of(chain), (most,)).fetchall()
        found += [(text, [truncates[0]]) for (text,) in rows]
    records = _records(
        plan.tables[chain[-1].table], chain, connection, store, [(i, c) for i, c in changes if c.op != "t"]
    )
    if records:
        listed = "[" + ",".join(text for _, text in records) + "]"
        rows = connection.execute(plan.roots_of(chain), (listed, most)).fetchall()
        found += [(text, [records[place - 1][0] for place in places]) for text, places in rows]
    return found


def _records(
    table: TablePlan,
    chain: Chain,
    connection: psycopg.Connection[Any],
    store: Store,
    rows: list[tuple[int, Change]],
) -> list[tuple[int, str]]:
    """The values by which the changed members are found, before and after the change, with its place."""
    if not rows:
        return []
    if set(chain[-1].references) == set(table.table.key):  # a change of the key is a delete and an insert
        return [(i, key) for (i, _), key in zip(rows, store.keys(table, [c for _, c in rows]), strict=True)]
    listed = "[" + ",".join(c.key.decode() for _, c in rows) + "]"
    old: list[tuple[int, str]] = [
        (rows[place - 1][0], text) for place, text in connection.execute(table.present, (listed,)).fetchall()
    ]
    changed = [(i, c.after) for i, c in rows if c.after is not None]
    if not changed:
        return old
    new = connection.execute(table.show, ("[" + ",".join(after.decode() for _, after in changed) + "]",)).fetchall()
    return old + [(i, text) for (i, _), (text,) in zip(changed, new, strict=True)]
