"""Entities compiled to SQL over the mirrors: their documents, the roots of a changed member, the indexes they need."""

from __future__ import annotations

import dataclasses
import hashlib
import re
from collections.abc import Iterable, Iterator, Mapping
from functools import cached_property

from psycopg import sql

from cdc_consumer import columns
from cdc_consumer.render import Singles
from cdc_consumer.tables import TablePlan, rendered
from wakestream import documents
from wakestream.capture import Entity, Member

Chain = tuple[Member, ...]
"""A member at its end, with those above it before it."""

LONGEST_NAME = 63


@dataclasses.dataclass(frozen=True, eq=False)
class EntityPlan:
    """One entity over the compiled tables of its source."""

    entity: Entity
    tables: Mapping[str, TablePlan]

    @cached_property
    def root(self) -> TablePlan:
        """The table whose rows the documents grow from."""
        return self.tables[self.entity.root]

    @cached_property
    def chains(self) -> tuple[Chain, ...]:
        """Every member, with those above it."""
        return tuple(self.entity.chains())

    @cached_property
    def watched_chains(self) -> tuple[Chain, ...]:
        """Members whose changes may change a document: watched, as everything above them is."""
        return tuple(chain for chain in self.chains if all(member.watch and member.columns for member in chain))

    @cached_property
    def watched(self) -> frozenset[str]:
        """Tables whose changes may change a document."""
        return frozenset({self.entity.root, *(chain[-1].table for chain in self.watched_chains)})

    @cached_property
    def involved(self) -> frozenset[str]:
        """Every table that a document shows."""
        return self.entity.tables

    @cached_property
    def loaded(self) -> frozenset[str]:
        """Tables whose rows a document shows without being told of their changes."""
        told = {path(chain) for chain in self.watched_chains}
        return frozenset(chain[-1].table for chain in self.chains if path(chain) not in told)

    @cached_property
    def links(self) -> tuple[tuple[str, str, tuple[str, ...], bool], ...]:
        """By which columns rows refer to one another: a table, the member in question, the table's columns.

        Last, whether the table's rows stand above the member, and so refer to its rows.
        """
        found: list[tuple[str, str, tuple[str, ...], bool]] = []
        for chain in self.watched_chains:
            *above, member = chain
            owner = above[-1].table if above else self.entity.root
            found += [(member.table, path(chain), member.references, False), (owner, path(chain), member.columns, True)]
        return tuple(found)

    @cached_property
    def compares_plainly(self) -> bool:
        """Whether values by which rows are found are equal where their JSON is."""
        named = {(label, name) for label, _, names, _ in self.links for name in names}
        found = [self.tables[label].table.column(name) for label, name in named]
        plain = all(column is not None and columns.is_simple_key(column) for column in found)
        return plain and all(self.tables[label].simple_key for label in self.watched)

    @cached_property
    def query(self) -> bytes:
        """Documents for root keys (one JSON array): place from one, and the document as text."""
        key = self.root.key_columns
        asked = {column.name: f"wake__key_{number}" for number, column in enumerate(key)}
        same = [documents.equal((self.entity.name, "wake__asked"), asked.items())]
        if not self.root.simple_key:  # 1.0 and 1.00 are the same number and not the same key
            same += [
                sql.SQL("{}::text = {}::text").format(
                    sql.Identifier(self.entity.name, name), sql.Identifier("wake__asked", place)
                )
                for name, place in asked.items()
            ]
        query = sql.SQL(
            "select wake__asked.wake__place, {document}::text from rows from (json_to_recordset(%s::json) as ({keys}))"
            " with ordinality as wake__asked({places}, wake__place) join {root} as {alias} on {same}{joins}"
        ).format(
            document=documents.document(self._shown),
            keys=sql.SQL(", ").join(
                sql.SQL("{} {}").format(sql.Identifier(c.name), documents.type_name(self.root.mirror_type(c)))
                for c in key
            ),
            places=sql.SQL(", ").join(sql.Identifier(place) for place in asked.values()),
            root=self.root.mirror,
            alias=sql.Identifier(self.entity.name),
            same=sql.SQL(" and ").join(same),
            joins=documents.joins(self._shown, {label: plan.mirror for label, plan in self.tables.items()}),
        )
        return rendered(query)

    @cached_property
    def _shown(self) -> Entity:
        """The entity without `fields` that no image has: they are said to be missing."""
        return documents.narrowed(self.entity, {label: self.tables[label].shown_names for label in self.involved})

    @cached_property
    def singles(self) -> Singles:
        """The to-one members by name, each with its own."""
        return _singles(self.entity.members)

    @cached_property
    def lost(self) -> tuple[str, ...]:
        """Paths that no document of this entity can hold."""
        return tuple(self._paths({label: plan.lost for label, plan in self.tables.items()}))

    @cached_property
    def untrusted(self) -> tuple[str, ...]:
        """Paths whose text somebody else wrote."""
        return tuple(self._paths({label: plan.untrusted for label, plan in self.tables.items()}))

    def _paths(self, columns: Mapping[str, tuple[str, ...]]) -> Iterator[str]:
        """Where columns, listed by table, stand in a document."""
        yield from _shown(columns[self.entity.root], self.entity.fields)
        for chain in self.chains:
            for name in _shown(columns[chain[-1].table], chain[-1].fields):
                yield f"{path(chain)}.{name}"

    def roots_of(self, chain: Chain) -> bytes:
        """Root keys by changed members at the end of a chain: the key, and the places from one of what led there.

        Takes one JSON array of records with the columns by which the member is found, and the most keys to return.
        """
        return self._roots[path(chain)]

    def members_of(self, chain: Chain) -> bytes:
        """The columns by which the member at the end of a chain is found, of images (one JSON array), in order."""
        return self._members[path(chain)]

    def all_roots_of(self, chain: Chain) -> bytes:
        """Root keys that have this member, before all its rows go away at once; takes the most to return."""
        return self._all_roots[path(chain)]

    @cached_property
    def _roots(self) -> dict[str, bytes]:
        return {path(chain): rendered(self._roots_query(chain)) for chain in self.watched_chains}

    @cached_property
    def _members(self) -> dict[str, bytes]:
        return {
            path(chain): self.tables[chain[-1].table].show_columns(chain[-1].references)
            for chain in self.watched_chains
        }

    @cached_property
    def _all_roots(self) -> dict[str, bytes]:
        query = sql.SQL("select {key}::text from {mirror} as x{joins} group by {grouped} limit %s")
        return {
            path(chain): rendered(
                query.format(
                    key=self._key_object,
                    mirror=self.tables[chain[-1].table].mirror,
                    joins=self._upwards("x", chain),
                    grouped=self._key_names,
                )
            )
            for chain in self.watched_chains
        }

    def _roots_query(self, chain: Chain) -> sql.Composed:
        member = chain[-1]
        plan = self.tables[member.table]
        record = sql.SQL(", ").join(
            sql.SQL("{} {}").format(sql.Identifier(name), documents.type_name(plan.mirror_type(column)))
            for name in member.references
            if (column := plan.table.column(name)) is not None
        )
        return sql.SQL(
            "select {key}::text, array_agg(x.wake__place) from rows from (json_to_recordset(%s::json) as ({record}))"
            " with ordinality as x({names}, wake__place){joins} group by {grouped} limit %s"
        ).format(
            key=self._key_object,
            record=record,
            names=sql.SQL(", ").join(sql.Identifier(name) for name in member.references),
            joins=self._upwards("x", chain),
            grouped=self._key_names,
        )

    def _upwards(self, lowest: str, chain: Chain) -> sql.Composed:
        """Joins the rows above a member, from the lowest one that is known up to the root, `wake__0`."""
        parts: list[sql.Composable] = []
        below = lowest
        for depth in range(len(chain) - 1, -1, -1):
            above = f"wake__{depth}"
            table = self.root if depth == 0 else self.tables[chain[depth - 1].table]
            member = chain[depth]
            same = documents.equal((above, below), zip(member.columns, member.references, strict=True))
            parts.append(sql.SQL(" join {} as {} on {}").format(table.mirror, sql.Identifier(above), same))
            below = above
        return sql.Composed(parts)

    @cached_property
    def _key_object(self) -> sql.Composed:
        pairs = (
            sql.SQL("{}, {}").format(sql.Literal(c.name), sql.Identifier("wake__0", c.name))
            for c in self.root.key_columns
        )
        return sql.SQL("json_build_object({})").format(sql.SQL(", ").join(pairs))

    @cached_property
    def _key_names(self) -> sql.Composed:
        return sql.SQL(", ").join(sql.Identifier("wake__0", c.name) for c in self.root.key_columns)

    @cached_property
    def indexes(self) -> list[sql.Composed]:
        """Indexes on the mirrors by which members are found, and the roots of a changed one."""
        wanted: dict[tuple[str, tuple[str, ...]], None] = {}
        for chain in self.chains:
            member, above = chain[-1], chain[-2].table if len(chain) > 1 else self.entity.root
            if member.columns:
                wanted[member.table, member.references] = None
            elif compared := _compared(documents.alias(chain), member.where or "", self.tables[member.table]):
                wanted[member.table, compared] = None
            if chain in self.watched_chains:
                wanted[above, member.columns] = None
        return [
            _index(self.tables[label], columns)
            for label, columns in wanted
            if self.tables[label].table.key[: len(columns)] != columns
        ]


def _singles(members: Iterable[Member]) -> Singles:
    return {member.name: _singles(member.members) for member in members if not member.many}


def path(chain: Iterable[Member]) -> str:
    """Where a member stands in the document: `flight.aircraft`."""
    return ".".join(member.name for member in chain)


def _shown(columns: tuple[str, ...], fields: tuple[str, ...] | None) -> tuple[str, ...]:
    return columns if fields is None else tuple(name for name in columns if name in fields)


def _compared(alias: str, where: str, plan: TablePlan) -> tuple[str, ...]:
    """The columns of a list that its SQL compares with something for being equal, as far as that is plain to see."""
    name = rf'(?:"{re.escape(alias)}"|\b{re.escape(alias)})\s*\.\s*"?(\w+)"?'
    found = re.findall(rf"{name}\s*=(?![=>])", where) + re.findall(rf"(?<![<>!=])=\s*{name}", where)
    known = [column.name for column in plan.shown]
    return tuple(dict.fromkeys(each for each in found if each in known))


def _index(plan: TablePlan, columns: tuple[str, ...]) -> sql.Composed:
    name = "_".join((plan.table.name, *columns, "idx"))
    if len(name.encode()) > LONGEST_NAME:
        name = f"wake_{hashlib.sha256(name.encode()).hexdigest()[:40]}_idx"
    return sql.SQL("create index if not exists {} on {} ({})").format(
        sql.Identifier(name), plan.mirror, sql.SQL(", ").join(sql.Identifier(each) for each in columns)
    )
