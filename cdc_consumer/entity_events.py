"""One `entity.changed` for each root that a piece changed: its document before and after, whole.

Where a piece changes many documents, those before wait in a temporary table of the ledger, and events are put together
part by part: memory does not grow with the fan-out.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import msgspec
import psycopg

from cdc_consumer import causes, roots
from cdc_consumer.collect import Piece
from cdc_consumer.entities import EntityPlan, path
from cdc_consumer.entity_documents import Asked, Shown
from cdc_consumer.render import Draft, EntityChange, Message, Place, Renderer
from cdc_consumer.roots import Touched
from cdc_consumer.store import Store

AT_ONCE = 500  # documents held in memory

Documents = Mapping[str, Shown]


@dataclasses.dataclass(slots=True)
class _Found:
    """What a piece may change of one entity."""

    plan: EntityPlan
    roots: dict[str, Touched]
    before: Asked | None
    """None where they wait in the temporary table."""

    def parts(self) -> list[dict[str, Touched]]:
        """The roots in order of subject, as many as are held at once."""
        subjects = sorted(self.roots)
        starts = range(0, len(subjects), AT_ONCE)
        return [{each: self.roots[each] for each in subjects[start : start + AT_ONCE]} for start in starts]


class EntityEvents:
    """Reads the documents that a piece changes, once before it is applied and once after."""

    def __init__(
        self,
        connection: psycopg.Connection[Any],
        plans: Sequence[EntityPlan],
        store: Store,
        renderer: Renderer,
        topic: str,
    ) -> None:
        self._connection = connection
        self._plans = plans
        self._store = store
        self._render = renderer
        self._topic = topic
        self._waiting = _WaitingDocuments(connection)
        self._found: list[_Found] = []

    def before(self, piece: Piece) -> None:
        """Find the roots and read their documents; call before the piece is applied."""
        tables = {change.table for change in piece.changes}
        self._found = []
        self._waiting.clear()
        for plan in self._plans:
            if plan.watched & tables:
                found, overflows = roots.find(plan, self._connection, self._store, piece.changes)
                for overflow in overflows:
                    self._letter_overflow(piece, plan, overflow)
                self._found.append(self._read_before(plan, found))

    def after(self, piece: Piece, place: Place, row_ids: dict[int, str], cause: str) -> list[Draft]:
        """The events, ordered by entity and subject; call after the piece is applied."""
        drafts: list[Draft] = []
        for found in self._found:
            truncated = any(c.op == "t" and c.table == found.plan.entity.root for c in piece.changes)
            for part in found.parts():
                changes = self._changes(found, part, row_ids, truncated=truncated)
                changes = [change for change in changes if self._fits(found.plan, piece, change)]
                if found.before is not None:
                    drafts += [partial(self._render.entity, place, change, cause) for change in changes]
                elif changes:
                    kept = {change.subject: part[change.subject] for change in changes}
                    again = partial(self._changes, found, kept, row_ids, truncated=truncated)
                    drafts += _Part(again, partial(self._render.entity, place), cause, len(kept)).drafts()
        return drafts

    def _read_before(self, plan: EntityPlan, found: dict[str, Touched]) -> _Found:
        if len(found) <= AT_ONCE:
            # The answer is taken after the piece is applied, so that both questions travel together.
            return _Found(plan, found, Asked(plan, self._connection, self._store, found))
        result = _Found(plan, found, None)
        for part in result.parts():
            self._waiting.keep(plan.entity.name, self._read(plan, part))
        return result

    def _read(self, plan: EntityPlan, part: dict[str, Touched]) -> Documents:
        return Asked(plan, self._connection, self._store, part).take()

    def _changes(
        self, found: _Found, part: dict[str, Touched], row_ids: Mapping[int, str], *, truncated: bool
    ) -> list[EntityChange]:
        """What became of these roots; those that stay as they were are absent."""
        old = (
            found.before.take() if found.before is not None else self._waiting.take(found.plan.entity.name, list(part))
        )
        new = self._read(found.plan, part)
        changes: list[EntityChange] = []
        for subject, root in part.items():
            if truncated and subject not in new:
                continue  # the truncate's own event ends them all
            change = self._change(found.plan, subject, root, old.get(subject), new.get(subject), row_ids)
            if change is not None:
                changes.append(change)
        return changes

    def _change(
        self,
        plan: EntityPlan,
        subject: str,
        root: Touched,
        old: Shown | None,
        new: Shown | None,
        row_ids: Mapping[int, str],
    ) -> EntityChange | None:
        known = not (plan.involved & self._store.untrusted)
        if known and (old and old.text) == (new and new.text):
            return None
        before = old if known else None
        too_large = before is not None and new is not None and len(before.text.encode()) > plan.entity.max_size
        if too_large:
            before = None
        missing: list[str] = ["before"] if not known or too_large else []
        if before is not None:
            missing += [f"before.{each}" for each in (*plan.lost, *before.missing)]
        if new is not None:
            missing += [f"after.{each}" for each in (*plan.lost, *new.missing)]
            missing += [f"after.{path(c)}" for c in plan.chains if c[-1].table in self._store.untrusted]
        return EntityChange(
            entity=plan.entity.name,
            subject=subject,
            key=root.text,
            before=None if before is None else before.text,
            after=None if new is None else new.text,
            rows=[row_ids[each] for each in sorted(root.rows) if each in row_ids],
            missing=missing,
            untrusted=plan.untrusted,
        )

    def _fits(self, plan: EntityPlan, piece: Piece, change: EntityChange) -> bool:
        """Whether the document is not too large; one that is becomes a dead letter."""
        size = len((change.after or "").encode())
        if size <= plan.entity.max_size:
            return True
        detail = (
            f"{change.subject} has {size} bytes, and `max_size` of entity `{plan.entity.name}` is"
            f" {plan.entity.max_size}; show fewer `fields`, lower a `limit`, or raise it"
        )
        broken = Piece("broken", piece.offset, reason="document too large", detail=detail)
        causes.letter(self._connection, self._topic, broken, subject=change.subject)
        return False

    def _letter_overflow(self, piece: Piece, plan: EntityPlan, overflow: roots.Overflow) -> None:
        name = plan.entity.name
        detail = (
            f"one transaction changes more than {overflow.limit} documents of entity `{name}` through"
            f" `{overflow.member}`, and none was told; raise its `fan_out`, or set `watch: false` there"
        )
        broken = Piece("broken", piece.offset, reason="fan-out too large", detail=detail)
        causes.letter(self._connection, self._topic, broken, subject=f"{name}.{overflow.member}")


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


class _WaitingDocuments:
    """Documents before a piece, in a temporary table that ends with the transaction."""

    def __init__(self, connection: psycopg.Connection[Any]) -> None:
        self._connection = connection
        self._used = False

    def clear(self) -> None:
        """Forget those of the piece before."""
        if self._used:
            self._connection.execute("drop table if exists pg_temp.wake_before")
            self._used = False

    def keep(self, entity: str, documents: Documents) -> None:
        """Put documents aside."""
        if not self._used:
            self._connection.execute(
                "create temp table if not exists wake_before"
                " (entity text, subject text, document text, missing text[], primary key (entity, subject))"
                " on commit drop"
            )
            self._used = True
        rows = [
            {"subject": subject, "document": shown.text, "missing": list(shown.missing)}
            for subject, shown in documents.items()
        ]
        self._connection.execute(
            "insert into pg_temp.wake_before select %s, x.subject, x.document,"
            " array(select json_array_elements_text(x.missing))"
            " from json_to_recordset(%s::json) as x(subject text, document text, missing json)",
            (entity, msgspec.json.encode(rows).decode()),
        )

    def take(self, entity: str, subjects: list[str]) -> Documents:
        """Documents that were put aside."""
        rows = self._connection.execute(
            "select subject, document, missing from pg_temp.wake_before where entity = %s and subject = any(%s)",
            (entity, subjects),
        ).fetchall()
        return {subject: Shown(document, tuple(missing)) for subject, document, missing in rows}
