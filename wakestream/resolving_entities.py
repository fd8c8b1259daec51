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
    members = [resolver.member(member, include) for member, include in config.entities[name].include.items()]
    if not all(members):
        return None
    # Lists last: their `where` may then speak of every single member, wherever it stands in the file.
    found = sorted((member for member in members if member is not None), key=lambda member: member.many)
    entity = Entity(name, label, tuple(found))
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
        if self.tables[label].mirror:
            return True
        self.problems.add(path, f"{label} has `mirror: false`, and documents come from mirrors; remove that")
        return False

    def member(self, name: str, include: Include) -> Member | None:
        """One member, or None with its problem noted."""
        path: KeyPath = ("entities", self.entity, "include", name)
        where = (*path, "table") if include.table else path
        label = include.table or f"{self.root.schema}.{name}"
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
        if include.many:
            if include.via is not None:
                self.problems.add((*path, "via"), "`via` belongs to single members; a list is found by `where`")
                return None
            return Member(name, label, many=True, where=include.where, order=include.order, limit=include.limit)
        return self._one(name, path, include.via, table)

    def _one(self, name: str, path: KeyPath, via: str | None, table: Table) -> Member | None:
        key = self._foreign_key(path, via, table)
        if key is None:
            return None
        own = first_withheld(self.tables[self.root.label], key.columns)
        other = first_withheld(self.tables[table.label], key.references)
        if own or other:
            owner, column = (self.root, own) if own else (table, other)
            if column in owner.key:
                return None  # That a key's column is withheld has been noted.
            label = owner.label
            self.problems.add(
                path, f"the foreign key {key.name} needs {label}.{column}, which is excluded or masked; remove that"
            )
            return None
        return Member(name, table.label, columns=key.columns, references=key.references)

    def _foreign_key(self, path: KeyPath, via: str | None, table: Table) -> ForeignKey | None:
        known = [key for key in self.root.foreign_keys if key.table == table.label]
        if not known:
            self.problems.add(
                path,
                f"{self.root.label} has no foreign key to {table.label}; "
                "use `many: true` with `where` and `limit: 1`, or remove the member",
            )
            return None
        if via is None:
            if len(known) == 1:
                return known[0]
            listed = ", ".join(f"`via: {_shortest(key)}`" for key in known)
            self.problems.add(path, f"{self.root.label} has several foreign keys to {table.label}: write {listed}")
            return None
        chosen = [key for key in known if via == key.name] or [key for key in known if via in key.columns]
        if len(chosen) == 1:
            return chosen[0]
        names = [name for key in known for name in (key.name, *key.columns)]
        problem = (
            f"`{via}` is in several foreign keys to {table.label}; name the constraint: "
            + ", ".join(f"`{key.name}`" for key in chosen)
            if chosen
            else f"no foreign key `{via}` from {self.root.label} to {table.label}{nearest(via, names)}"
        )
        self.problems.add((*path, "via"), problem)
        return None


def _shortest(key: ForeignKey) -> str:
    return key.columns[0] if len(key.columns) == 1 else key.name


def _with_sql(
    entity: Entity,
    config: Config,
    catalogue: Catalogue,
    tables: Mapping[str, CapturedTable],
    connection: psycopg.Connection[Any],
    problems: Problems,
) -> Entity | None:
    """The entity with its SQL tried and the types of its computed fields, or None with problems noted."""
    trial = resolving_sql.Trial(entity, catalogue, tables, connection, problems)
    good = [trial.check_list(member) for member in entity.members if member.many]
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
