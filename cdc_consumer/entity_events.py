"""One `entity.changed` for each root that a piece changed: its document before and after, whole.

Where a piece changes many documents, those before wait in a temporary table of the ledger, and events are put together
part by part: memory does not grow with the fan-out.
"""

from __future__ import annotations

import bisect
import dataclasses
from collections.abc import Callable, Sequence
from functools import partial

from cdc_consumer import roots
from cdc_consumer.collect import Piece
from cdc_consumer.entities import EntityPlan
from cdc_consumer.entity_changes import Comparison, RowId
from cdc_consumer.entity_documents import Asked
from cdc_consumer.grouping import Group
from cdc_consumer.render import Draft, EntityChange, Message, Place, Renderer
from cdc_consumer.roots import Touched
from cdc_consumer.store import Store
from cdc_consumer.waiting_documents import WaitingDocuments
from wakestream.ledger import Connection

AT_ONCE = 500  # documents held in memory


@dataclasses.dataclass(slots=True)
class _Found:
    """What a piece may change of one entity."""

    plan: EntityPlan
    roots: dict[str, Touched]
    before: Asked | None
    """None where they wait in the temporary table."""
    after: Asked | None = None

    def parts(self) -> list[dict[str, Touched]]:
        """The roots in order of subject, as many as are held at once."""
        subjects = sorted(self.roots)
        starts = range(0, len(subjects), AT_ONCE)
        return [{each: self.roots[each] for each in subjects[start : start + AT_ONCE]} for start in starts]


class EntityEvents:
    """Reads the documents that a piece changes, once before it is applied and once after."""

    def __init__(
        self,
        connection: Connection,
        plans: Sequence[EntityPlan],
        store: Store,
        renderer: Renderer,
        topic: str,
    ) -> None:
        self._connection = connection
        self._plans = plans
        self._store = store
        self._render = renderer
        self._comparison = Comparison(connection, store, topic)
        self._waiting = WaitingDocuments(connection)
        self._found: list[_Found] = []
        self._parts: list[list[dict[str, Touched]]] = []
        """Of each entity the roots of each transaction of a group."""

    def before(self, piece: Piece) -> None:
        """Find the roots and read their documents; call before the piece is applied."""
        tables = {change.table for change in piece.changes}
        self._found = []
        self._waiting.clear()
        for plan in self._plans:
            if plan.watched & tables:
                found, overflows = roots.find(plan, self._connection, self._store, piece.changes)
                for overflow in overflows:
                    self._comparison.letter_overflow(piece, plan, overflow)
                self._found.append(self._read_before(plan, found))

    def before_group(self, group: Group) -> None:
        """The same for transactions that are applied as one."""
        self._waiting.clear()
        self._found = [self._read_before(plan, found) for plan, found in group.found]
        self._parts = [[{} for _ in group.pieces] for _ in self._found]
        for parts, found in zip(self._parts, self._found, strict=True):
            for subject, root in sorted(found.roots.items()):
                parts[bisect.bisect_right(group.ends, min(root.rows))][subject] = root

    def ask_after(self) -> None:
        """Ask for the documents as the piece leaves them; call when its changes are asked to be applied."""
        for found in self._found:
            if found.before is not None:
                found.after = Asked(found.plan, self._connection, self._store, found.roots)

    def after(self, piece: Piece, place: Place, row_ids: dict[int, str], cause: str) -> list[Draft]:
        """The events, ordered by entity and subject; call after the piece is applied."""
        drafts: list[Draft] = []
        render = partial(self._render.entity, place)
        for found in self._found:
            for part in found.parts():
                changes = self._changes(found, piece, part, row_ids.get)
                if found.before is not None:
                    drafts += [partial(render, change, cause) for change in changes]
                elif changes:
                    kept = {change.subject: part[change.subject] for change in changes}
                    again = partial(self._changes, found, piece, kept, row_ids.get)
                    drafts += _Part(again, render, cause, len(kept)).drafts()
        return drafts

    def of_piece(self, number: int, piece: Piece, place: Place, row_ids: dict[int, str], cause: str) -> list[Draft]:
        """The events of one of the transactions that were applied as one; `row_ids` by place among all changes."""
        drafts: list[Draft] = []
        for parts, found in zip(self._parts, self._found, strict=True):
            changes = self._changes(found, piece, parts[number], row_ids.get) if parts[number] else []
            drafts += [partial(self._render.entity, place, change, cause) for change in changes]
        return drafts

    def _read_before(self, plan: EntityPlan, found: dict[str, Touched]) -> _Found:
        if len(found) <= AT_ONCE:
            # The answer is taken after the piece is applied, so that both questions travel together.
            return _Found(plan, found, Asked(plan, self._connection, self._store, found))
        result = _Found(plan, found, None)
        for part in result.parts():
            self._waiting.keep(plan.entity.name, Asked(plan, self._connection, self._store, part).take())
        return result

    def _changes(self, found: _Found, piece: Piece, part: dict[str, Touched], row_id: RowId) -> list[EntityChange]:
        """What became of these roots; those that stay as they were are absent."""
        plan = found.plan
        old = found.before.take() if found.before is not None else self._waiting.take(plan.entity.name, list(part))
        new = (found.after or Asked(plan, self._connection, self._store, part)).take()
        truncated = any(c.op == "t" and c.table == plan.entity.root for c in piece.changes)
        return self._comparison.changes(plan, piece, part, old, new, row_id, truncated=truncated)


class _Part:
    """Some of many events: their documents are read again when the first of them is told, and let go after the last."""

    def __init__(
        self,
        read: Callable[[], list[EntityChange]],
        render: Callable[[EntityChange, str, int, int], Message],
        cause: str,
        count: int,
    ) -> None:
        self._read = read
        self._render = render
        self._cause = cause
        self._count = count
        self._changes: list[EntityChange] = []

    def drafts(self) -> list[Draft]:
        """One for each event, to be called in order."""
        return [partial(self._draft, number) for number in range(self._count)]

    def _draft(self, number: int, seq: int, of: int) -> Message:
        if not self._changes:
            self._changes = self._read()
        change = self._changes[number]
        if number == self._count - 1:
            self._changes = []
        return self._render(change, self._cause, seq, of)
