"""Entities: root and members found in the catalogue, foreign keys followed, SQL tried."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import msgspec
import psycopg

from wakestream import resolving_sql
from wakestream.capture import CapturedTable, Computed, Entity, Member
from wakestream.catalogue import Catalogue, ForeignKey, Table
from wakestream.config import Config
from wakestream.config.document import KeyPath
from wakestream.config.loading import nearest
from wakestream.config.models import Include
from wakestream.program_problems import Problems
from wakestream.resolving_tables import first_withheld

LONGEST_NAME = 63
"""Bytes of a name in PostgreSQL."""


def resolve_entity(
    name: str,
    config: Config,
    source: str,
    catalogue: Catalogue,
    tables: Mapping[str, CapturedTable],
    connection: psycopg.Connection[Any],
    problems: Problems,
) -> Entity | None:
    """The entity with all names resolved, or None with its problems noted."""
    label = config.entities[name].root.partition(".")[2]
    root = catalogue.table(label)
    if root is None or label not in tables:
        return None  # The table's own problem has been noted.
    resolver = _Resolver(name, config, source, catalogue, tables, root, problems)
    if not resolver.check_names() or not resolver.mirrored(("entities", name, "root"), label):
        return None
    members = resolver.members((), root, config.entities[name].include)
    if members is None:
        return None
    settings = config.entities[name]
    shown = resolver.shown(("entities", name, "fields"), root, settings.fields)
    entity = Entity(name, label, members, (), shown, settings.max_size)
    return _with_sql(entity, config, catalogue, tables, connection, problems)


@dataclass(frozen=True)
class _Resolver:
    """Resolves the members of one entity."""

    entity: str
    config: Config
    source: str
    catalogue: Catalogue
    tables: Mapping[str, CapturedTable]
    root: Table
    problems: Problems

    def check_names(self) -> bool:
        """Whether all fields of the document, and all aliases in its SQL, have names of their own."""
        settings = self.config.entities[self.entity]
        path: KeyPath = ("entities", self.entity)
        taken = {column.name: f"a column of {self.root.label}" for column in self.root.columns}
        good = True
        for part, names in (("include", settings.include), ("compute", settings.compute)):
            for name in names:
                owner = "the entity itself" if name == self.entity else taken.get(name)
                if owner is not None:
                    self.problems.add((*path, part, name), f"`{name}` is {owner}; choose another name")
                    good = False
                taken[name] = "a member of the entity"
        return good

    def mirrored(self, path: KeyPath, label: str) -> bool:
        """Whether the table has a mirror from which documents can be put together."""
        table = self.catalogue.table(label)
        if table is not None and not table.key:
            self.problems.add(
                path, f"{label} has no primary key, so it is not mirrored, and documents come from mirrors; add a key"
            )
            return False
        if self.tables[label].mirror:
            return True
        self.problems.add(path, f"{label} has `mirror: false`, and documents come from mirrors; remove that")
        return False

    def members(self, above: KeyPath, parent: Table, includes: Mapping[str, Include]) -> tuple[Member, ...] | None:
        """The members of one row, or None with their problems noted; `above` are the names of the members over it.

        Lists stand last: their `where` may then speak of every single member, wherever it stands in the file.
        """
        found = [self._member((*above, name), parent, include) for name, include in includes.items()]
        if not all(found):
            return None
        return tuple(sorted((member for member in found if member is not None), key=lambda member: member.many))

    def shown(self, path: KeyPath, table: Table, fields: tuple[str, ...] | None) -> tuple[str, ...] | None:
        """The columns to show: the key's, then those that were named; problems are noted."""
        if fields is None:
            return None
        names = [column.name for column in table.columns]
        hidden = self.tables[table.label].hidden
        for place, name in enumerate(fields):
            if name not in names:
                self.problems.add((*path, place), f"{table.label} has no column `{name}`{nearest(name, names)}")
            elif name in hidden:
                self.problems.add((*path, place), f"`{name}` of {table.label} is excluded; remove it here")
        return tuple(dict.fromkeys((*table.key, *fields)))

    def _member(self, names: KeyPath, parent: Table, include: Include) -> Member | None:
        """One member, or None with its problem noted."""
        path = self._path(names)
        name = str(names[-1])
        table = self._table(path, parent, name, include)
        if table is None or not self._has_free_names(path, names, table, include):
            return None
        equal = self._equal(path, parent, table, name, include)
        if equal is None or not self._may_use(path, parent, table, *equal):
            return None
        members = self.members(names, table, include.include)
        if members is None:
            return None
        watch = include.watch if include.watch is not None else not include.many
        return Member(
            name,
            table.label,
            many=include.many,
            columns=equal[0],
            references=equal[1],
            where=include.where,
            order=include.order,
            limit=include.limit,
            fields=self.shown((*path, "fields"), table, include.fields),
            watch=watch and bool(equal[0]),
            fan_out=include.fan_out,
            key=table.key,
            pick=not include.many and bool(include.match) and not set(table.key) <= set(equal[1]),
            members=members,
        )

    def _path(self, names: KeyPath) -> KeyPath:
        path: KeyPath = ("entities", self.entity)
        for name in names:
            path = (*path, "include", name)
        return path

    def _table(self, path: KeyPath, parent: Table, name: str, include: Include) -> Table | None:
        where = (*path, "table") if include.table else path
        label = include.table or f"{parent.schema}.{name}"
        captured = self.config.sources[self.source].tables
        if label not in captured:
            if set(difflib.get_close_matches(label, captured, n=1)) - set(self.tables):
                return None  # Most likely meant is a table that has a problem of its own: perhaps its spelling.
            message = f"no captured table `{label}` in `{self.source}`{nearest(label, captured)}"
            self.problems.add(where, message if include.table else f"{message} Write `table:` where names differ.")
            return None
        table = self.catalogue.table(label)
        if table is None or label not in self.tables or not self.mirrored(where, label):
            return None
        return table

    def _has_free_names(self, path: KeyPath, names: KeyPath, table: Table, include: Include) -> bool:
        """Whether the names below a member are not its columns', and its alias is one for PostgreSQL."""
        alias = "__".join(str(name) for name in names)
        if len(alias) > LONGEST_NAME:
            self.problems.add(path, f"`{alias}` is too long a name for SQL; choose shorter names")
            return False
        taken = [name for name in include.include if table.column(name) is not None]
        for name in taken:
            self.problems.add((*path, "include", name), f"`{name}` is a column of {table.label}; choose another name")
        return not taken

    def _equal(
        self, path: KeyPath, parent: Table, table: Table, name: str, include: Include
    ) -> tuple[tuple[str, ...], tuple[str, ...]] | None:
        """The parent's columns and the member's own that are equal; None with the problem noted."""
        if include.is_free:
            return (), ()
        if include.match:
            return self._matched(path, parent, table, include.match)
        if include.many:
            key = self._foreign_key(path, include, table, parent, name)
            return None if key is None else (key.references, key.columns)
        key = self._foreign_key(path, include, parent, table, name)
        return None if key is None else (key.columns, key.references)

    def _matched(
        self, path: KeyPath, parent: Table, table: Table, match: Mapping[str, str]
    ) -> tuple[tuple[str, ...], tuple[str, ...]] | None:
        good = True
        for own, other in match.items():
            for owner, column in ((table, own), (parent, other)):
                if owner.column(column) is None:
                    names = [each.name for each in owner.columns]
                    self.problems.add(
                        (*path, "match", own), f"{owner.label} has no column `{column}`{nearest(column, names)}"
                    )
                    good = False
        return (tuple(match.values()), tuple(match)) if good else None

    def _may_use(
        self, path: KeyPath, parent: Table, table: Table, columns: tuple[str, ...], references: tuple[str, ...]
    ) -> bool:
        """Whether the columns by which the member is found are neither excluded nor masked, and compare as here."""
        own = first_withheld(self.tables[parent.label], columns)
        other = first_withheld(self.tables[table.label], references)
        if not (own or other):
            return self._compare_alike(path, parent, columns) and self._compare_alike(path, table, references)
        owner, column = (parent, own) if own else (table, other)
        if column not in owner.key:  # That a key's column is withheld has been noted.
            self.problems.add(
                path, f"the member is found by {owner.label}.{column}, which is excluded or masked; remove that"
            )
        return False

    def _compare_alike(self, path: KeyPath, table: Table, names: tuple[str, ...]) -> bool:
        for name in names:
            column = table.column(name)
            if column is not None and column.base == "citext":
                self.problems.add(
                    path,
                    f"the member is found by {table.label}.{name}, which is citext: the store keeps it as text, where"
                    " `a` and `A` differ; write `many: true` with `where: lower(…) = lower(…)` and `limit: 1`",
                )
                return False
        return True

    def _foreign_key(self, path: KeyPath, include: Include, of: Table, to: Table, name: str) -> ForeignKey | None:
        """The foreign key of one table to another that the member follows."""
        via, known = include.via, [key for key in of.foreign_keys if key.table == to.label]
        if not known:
            hint = "`match`, or `where`," if include.many else "`match`, or `many: true` with `where` and `limit: 1`,"
            self.problems.add(
                path, f"{of.label} has no foreign key to {to.label}; use {hint} or remove the member `{name}`"
            )
            return None
        if via is None:
            if len(known) == 1:
                return known[0]
            listed = ", ".join(f"`via: {_shortest(key)}`" for key in known)
            self.problems.add(path, f"{of.label} has several foreign keys to {to.label}: write {listed}")
            return None
        chosen = [key for key in known if via == key.name] or [key for key in known if via in key.columns]
        if len(chosen) == 1:
            return chosen[0]
        names = [each for key in known for each in (key.name, *key.columns)]
        problem = (
            f"`{via}` is in several foreign keys to {to.label}; name the constraint: "
            + ", ".join(f"`{key.name}`" for key in chosen)
            if chosen
            else f"no foreign key `{via}` from {of.label} to {to.label}{nearest(via, names)}"
        )
        self.problems.add((*path, "via"), problem)
        return None


def _shortest(key: ForeignKey) -> str:
    return key.columns[0] if len(key.columns) == 1 else key.name


def _include(includes: Mapping[str, Include], chain: tuple[Member, ...]) -> Include:
    """What the file says of the last of these members."""
    found = includes[chain[0].name]
    return found if len(chain) == 1 else _include(found.include, chain[1:])


def _with_sql(
    entity: Entity,
    config: Config,
    catalogue: Catalogue,
    tables: Mapping[str, CapturedTable],
    connection: psycopg.Connection[Any],
    problems: Problems,
) -> Entity | None:
    """The entity with its SQL tried and the types of its computed fields, or None with problems noted."""
    trial = resolving_sql.Trial.of(entity, catalogue, tables, connection, problems)
    includes = config.entities[entity.name].include
    good = [trial.check_member(chain, matched=bool(_include(includes, chain).match)) for chain in entity.chains()]
    if not all(good):
        return None
    computed: list[Computed] = []
    for name, text in config.entities[entity.name].compute.items():
        type_ = trial.type_of(name, text)
        if type_ is not None:
            computed.append(Computed(name, text, type_))
    if len(computed) < len(config.entities[entity.name].compute):
        return None
    return msgspec.structs.replace(entity, computed=tuple(computed))
