"""Entity documents: compiled to SQL over the mirrors, read as they are before and after a transaction."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal
from functools import cached_property
from typing import Any

import msgspec
import psycopg
from psycopg import sql

from cdc_consumer.decode import Change
from cdc_consumer.store import WHOLE_ROW, Store
from cdc_consumer.tables import TablePlan
from wakestream import documents, events, exact_json
from wakestream.capture import Entity, Member

_keys = msgspec.json.Decoder(dict[str, Any], float_hook=Decimal)
_fields = msgspec.json.Decoder(dict[str, msgspec.Raw])
_elements = msgspec.json.Decoder(list[msgspec.Raw])

# In a subject a number stands with every digit that it has in the key.
_subject_keys = msgspec.json.Decoder(dict[str, Any], float_hook=str)


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
    def watched(self) -> frozenset[str]:
        """Tables whose changes may change a document: the root's and those of to-one members."""
        return frozenset({self.entity.root, *(m.table for m in self.entity.members if not m.many)})

    @cached_property
    def involved(self) -> frozenset[str]:
        """Every table that a document shows."""
        return frozenset({self.entity.root, *(m.table for m in self.entity.members)})

    @cached_property
    def query(self) -> sql.Composed:
        """Documents for root keys (one JSON array): place from one, and the document as text."""
        key = self.root.key_columns
        place = sql.SQL(", ").join(sql.Identifier(column.name) for column in key)
        same = sql.SQL(" and ").join(
            sql.SQL("{}.{} = x.{}").format(
                self._alias(self.entity.name), sql.Identifier(c.name), sql.Identifier(c.name)
            )
            for c in key
        )
        definitions = sql.SQL(", ").join(
            sql.SQL("{} {}").format(sql.Identifier(c.name), documents.type_name(self.root.mirror_type(c))) for c in key
        )
        return sql.SQL(
            "select x.wake__place, {document}::text from rows from (json_to_recordset(%s::json) as ({definitions}))"
            " with ordinality as x({place}, wake__place) join {root} as {alias} on {same}{joins}"
        ).format(
            document=documents.document(self.entity),
            definitions=definitions,
            place=place,
            root=self.root.mirror,
            alias=self._alias(self.entity.name),
            same=same,
            joins=documents.joins(self.entity, {label: plan.mirror for label, plan in self.tables.items()}),
        )

    @cached_property
    def indexes(self) -> list[sql.Composed]:
        """Indexes on the mirrors that finding the roots of a changed member needs."""
        return [
            sql.SQL("create index if not exists {} on {} ({})").format(
                sql.Identifier(f"{self.root.table.name}_{'_'.join(m.columns)}_idx"[:63]),
                self.root.mirror,
                sql.SQL(", ").join(sql.Identifier(name) for name in m.columns),
            )
            for m in self.entity.members
            if not m.many
        ]

    @cached_property
    def lost(self) -> tuple[str, ...]:
        """Paths that no document of this entity can hold."""
        paths = list(self.root.lost)
        for member in self.entity.members:
            paths += [f"{member.name}.{name}" for name in self.tables[member.table].lost]
        return tuple(paths)

    @cached_property
    def untrusted(self) -> tuple[str, ...]:
        """Paths whose text somebody else wrote."""
        paths = list(self.root.untrusted)
        for member in self.entity.members:
            paths += [f"{member.name}.{name}" for name in self.tables[member.table].untrusted]
        return tuple(paths)

    def roots_of(self, member: Member) -> sql.Composed:
        """Root keys by changed members (one JSON array of records): place from one, and the key."""
        plan = self.tables[member.table]
        record = sql.SQL(", ").join(
            sql.SQL("{} {}").format(sql.Identifier(name), documents.type_name(plan.mirror_type(column)))
            for name in member.references
            if (column := plan.table.column(name)) is not None
        )
        same = sql.SQL(" and ").join(
            sql.SQL("r.{} = x.{}").format(sql.Identifier(own), sql.Identifier(other))
            for own, other in zip(member.columns, member.references, strict=True)
        )
        return sql.SQL(
            "select x.wake__place, {key}::text from rows from (json_to_recordset(%s::json) as ({record}))"
            " with ordinality as x({names}, wake__place) join {root} as r on {same}"
        ).format(
            key=self._key_object("r"),
            record=record,
            names=sql.SQL(", ").join(sql.Identifier(name) for name in member.references),
            root=self.root.mirror,
            same=same,
        )

    def all_roots(self, member: Member) -> sql.Composed:
        """Root keys that have this member, after all its rows went away at once."""
        has = sql.SQL(" and ").join(sql.SQL("r.{} is not null").format(sql.Identifier(c)) for c in member.columns)
        return sql.SQL("select {}::text from {} as r where {}").format(self._key_object("r"), self.root.mirror, has)

    def _key_object(self, alias: str) -> sql.Composed:
        return sql.SQL("json_build_object({})").format(
            sql.SQL(", ").join(
                sql.SQL("{}, {}.{}").format(sql.Literal(c.name), sql.Identifier(alias), sql.Identifier(c.name))
                for c in self.root.key_columns
            )
        )

    @staticmethod
    def _alias(name: str) -> sql.Identifier:
        return sql.Identifier(name)


@dataclasses.dataclass(slots=True)
class Touched:
    """One root that a transaction may have changed."""

    key: dict[str, Any]
    text: str
    """The key as a JSON object."""
    rows: set[int] = dataclasses.field(default_factory=set[int])
    """Places of the changes that touched it."""


def touched(
    plan: EntityPlan, connection: psycopg.Connection[Any], store: Store, changes: Sequence[Change]
) -> dict[str, Touched]:
    """The roots that these changes may change, by subject; asked before the changes are applied.

    A root that starts or stops to refer to a changed member is changed itself, so what the store knows now suffices.
    """
    found: dict[str, Touched] = {}

    def add(text: str, place: int) -> None:
        key = _keys.decode(text)
        subject = events.subject(plan.entity.name, _subject_keys.decode(text))
        found.setdefault(subject, Touched(key, exact_json.dump(key))).rows.add(place)

    own = [(i, c) for i, c in enumerate(changes) if c.table == plan.entity.root and c.op != "t"]
    if own:
        for (place, _), text in zip(own, store.keys(plan.root, [c for _, c in own]), strict=True):
            add(text, place)
    for member in plan.entity.members:
        if member.many:
            continue
        of_member = [(i, c) for i, c in enumerate(changes) if c.table == member.table]
        for place, text in _roots(plan, member, connection, store, of_member):
            add(text, place)
    return found


def _roots(
    plan: EntityPlan,
    member: Member,
    connection: psycopg.Connection[Any],
    store: Store,
    changes: list[tuple[int, Change]],
) -> Iterable[tuple[int, str]]:
    """Place of the change and key of the root, for each root that refers to a changed member."""
    truncates = [i for i, c in changes if c.op == "t"]
    if truncates:
        yield from ((truncates[0], text) for (text,) in connection.execute(plan.all_roots(member)).fetchall())
    rows = [(i, c) for i, c in changes if c.op != "t"]
    if not rows:
        return
    table = plan.tables[member.table]
    records = [(i, k) for (i, _), k in zip(rows, store.keys(table, [c for _, c in rows]), strict=True)]
    if set(member.references) != set(table.table.key):
        records = _referenced(table, connection, rows)
    if records:
        listed = "[" + ",".join(text for _, text in records) + "]"
        for place, text in connection.execute(plan.roots_of(member), (listed,)).fetchall():
            yield records[place - 1][0], text


def _referenced(
    table: TablePlan, connection: psycopg.Connection[Any], rows: list[tuple[int, Change]]
) -> list[tuple[int, str]]:
    """Old and new images of members that are referred to by other columns than their key."""
    listed = "[" + ",".join(c.key.decode() for _, c in rows) + "]"
    old: list[tuple[int, str]] = [
        (rows[place - 1][0], text) for place, text in connection.execute(table.present, (listed,)).fetchall()
    ]
    changed = [(i, c.after) for i, c in rows if c.after is not None]
    new = connection.execute(table.show, ("[" + ",".join(after.decode() for _, after in changed) + "]",)).fetchall()
    return old + [(i, text) for (i, _), (text,) in zip(changed, new, strict=True)]


def read(plan: EntityPlan, connection: psycopg.Connection[Any], roots: Mapping[str, Touched]) -> dict[str, str]:
    """The documents of these roots as they stand now, by subject; roots that do not exist are absent."""
    subjects = list(roots)
    if not subjects:
        return {}
    listed = "[" + ",".join(roots[subject].text for subject in subjects) + "]"
    rows = connection.execute(plan.query, (listed,)).fetchall()
    return {subjects[place - 1]: text for place, text in rows}


def withhold_missing(plan: EntityPlan, store: Store, document: str) -> tuple[str, tuple[str, ...]]:
    """The document without stored values that are not known, and their paths; everything else keeps its text."""
    tables = [plan.root, *(plan.tables[member.table] for member in plan.entity.members)]
    if not any(store.has_missing(table.label) for table in tables):
        return document, ()
    fields = _fields.decode(document)
    paths = set(_withhold(plan.root, store, fields))
    for member in plan.entity.members:
        table, image = plan.tables[member.table], bytes(fields[member.name])
        if member.many:
            parts = [_withhold_text(table, store, bytes(each)) for each in _elements.decode(image)]
            text, inner = (
                b"[%s]" % b", ".join(part for part, _ in parts),
                {name for _, names in parts for name in names},
            )
        else:
            text, inner = _withhold_text(table, store, image)
        if inner:
            fields[member.name] = msgspec.Raw(text)
            paths |= {f"{member.name}.{name}" for name in inner}
    return (msgspec.json.encode(fields).decode(), tuple(sorted(paths))) if paths else (document, ())


def _withhold_text(table: TablePlan, store: Store, image: bytes) -> tuple[bytes, frozenset[str]]:
    if not image.startswith(b"{"):
        return image, frozenset()
    fields = _fields.decode(image)
    names = _withhold(table, store, fields)
    return (msgspec.json.encode(fields), names) if names else (image, names)


def _withhold(table: TablePlan, store: Store, fields: dict[str, msgspec.Raw]) -> frozenset[str]:
    """Remove a row's columns that are not known; returns their names."""
    key = Store.key_of(table, fields)
    names = store.missing(table.label, [key]).get(key, frozenset[str]()) - {WHOLE_ROW}
    for name in names:
        fields.pop(name, None)
    return names
