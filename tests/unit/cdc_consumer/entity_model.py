"""Entity documents worked out in plain Python from rows in memory: slow, and easy to believe."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from wakestream.capture import Entity, Member

Row = dict[str, Any]
Rows = dict[str, list[Row]]
"""Every table's rows by `schema.table`."""

Orders = dict[str, Callable[[Row], Any]]
"""What the SQL in `order` sorts by, by its text."""


class Model:
    """Documents of one entity over rows that the caller changes."""

    def __init__(self, entity: Entity, key: tuple[str, ...], orders: Orders) -> None:
        self._entity = entity
        self._key = key
        self._orders = orders

    def documents(self, rows: Rows) -> dict[tuple[Any, ...], Row]:
        """All documents by root key."""
        entity = self._entity
        return {
            tuple(row[name] for name in self._key): self._document(entity.members, entity.fields, row, rows)
            for row in rows[entity.root]
        }

    def _document(self, members: Iterable[Member], fields: tuple[str, ...] | None, row: Row, rows: Rows) -> Row:
        shown = {name: value for name, value in row.items() if fields is None or name in fields}
        return {**shown, **{member.name: self._member(member, row, rows) for member in members}}

    def _member(self, member: Member, above: Row, rows: Rows) -> Any:
        wanted = [above[name] for name in member.columns]
        found = [
            row
            for row in rows[member.table]
            if None not in wanted and [row[name] for name in member.references] == wanted
        ]
        found.sort(key=lambda row: [row[name] for name in member.key])
        if member.order is not None:
            found.sort(key=self._orders[member.order])
        documents = [self._document(member.members, member.fields, row, rows) for row in found[: member.limit]]
        return documents if member.many else next(iter(documents), None)
