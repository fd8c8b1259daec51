"""Entities along the foreign keys: a table's row with the single rows that it refers to."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass

from connectors.init.columns import ColumnProposals
from connectors.init.survey import FoundTable
from wakestream.catalogue import ForeignKey, Table
from wakestream.mirroring import is_lost

LONGEST = 41  # characters of a name in the file
CROWD = 1_000.0  # rows per row referred to, from where its changes would make too many events to propose it


@dataclass(frozen=True, slots=True)
class MemberProposal:
    """A row that the root refers to."""

    name: str
    table: str | None
    """`schema.table` where the member's name does not say it."""
    via: str | None
    """The foreign key, where there are several to that table."""
    crowd: float = 0.0
    """How many root rows one row of it has, if that is too many to watch; else 0."""


@dataclass(frozen=True, slots=True)
class EntityProposal:
    """An entity that the file could have."""

    name: str
    root: str
    """`schema.table`."""
    members: tuple[MemberProposal, ...]

    @property
    def useful(self) -> bool:
        """Whether it is more than its root."""
        return any(not member.crowd for member in self.members)


def propose_entity(
    root: FoundTable, chosen: Mapping[str, FoundTable], columns: Mapping[str, ColumnProposals], taken: Collection[str]
) -> EntityProposal:
    """The entity of a table; `taken` are the names of the entities that there are already."""
    name = new_name(root.table.name, taken)
    keys = [key for key in root.table.foreign_keys if _usable(root.table, key, chosen, columns)]
    used = {name, *(column.name for column in root.table.columns)}
    members: list[MemberProposal] = []
    for key in keys:
        member = _member(root, key, chosen[key.table], keys, used)
        used.add(member.name)
        members.append(member)
    return EntityProposal(name, root.label, tuple(members))


def new_name(wanted: str, taken: Collection[str]) -> str:
    """The name as the file allows names, and as nobody else has it."""
    base = re.sub(r"[^a-z0-9_]+", "_", wanted.lower()).strip("_")
    base = (base if base[:1].isalpha() and base.isascii() else f"t_{base}").rstrip("_")[:LONGEST]
    return next(name for name in _numbered(base) if name not in taken)


def _numbered(base: str) -> Iterator[str]:
    yield base
    for number in range(2, 100_000):
        suffix = f"_{number}"
        yield base[: LONGEST - len(suffix)] + suffix


def _usable(
    root: Table, key: ForeignKey, chosen: Mapping[str, FoundTable], columns: Mapping[str, ColumnProposals]
) -> bool:
    """Whether the row referred to can be found in its mirror."""
    if key.table not in chosen:
        return False
    for table, names in ((root, key.columns), (chosen[key.table].table, key.references)):
        found = [column for column in table.columns if column.name in names]
        if any(is_lost(column) or column.name in columns[table.label].withheld for column in found):
            return False
    return True


def _member(
    root: FoundTable, key: ForeignKey, target: FoundTable, keys: list[ForeignKey], used: Collection[str]
) -> MemberProposal:
    several = [each for each in keys if each.table == key.table]
    column = key.columns[0] if len(key.columns) == 1 else ""
    alone = column and sum(column in each.columns for each in several) == 1
    stem = re.sub(r"_?(id|uuid|key|code|no)$", "", column.lower()) if len(several) > 1 else ""
    name = new_name(stem or target.table.name, used)
    return MemberProposal(
        name=name,
        table=None if target.label == f"{root.table.schema}.{name}" else target.label,
        via=(column if alone else key.name) if len(several) > 1 else None,
        crowd=_crowd(root, target),
    )


def _crowd(root: FoundTable, target: FoundTable) -> float:
    each = (root.rows or 0.0) / max(target.rows or 0.0, 1.0)
    return each if each > CROWD else 0.0
