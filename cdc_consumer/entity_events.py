"""One `entity.changed` for each root that a piece changed: its document before and after, whole."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import psycopg

from cdc_consumer import entities
from cdc_consumer.collect import Piece
from cdc_consumer.entities import EntityPlan, Touched
from cdc_consumer.render import Draft, EntityChange, Place, Renderer
from cdc_consumer.store import Store

_Found = tuple[EntityPlan, dict[str, Touched], dict[str, tuple[str, tuple[str, ...]]]]


class EntityEvents:
    """Reads the documents that a piece changes, once before it is applied and once after."""

    def __init__(
        self, connection: psycopg.Connection[Any], plans: Sequence[EntityPlan], store: Store, renderer: Renderer
    ) -> None:
        self._connection = connection
        self._plans = plans
        self._store = store
        self._render = renderer
        self._found: list[_Found] = []

    def before(self, piece: Piece) -> None:
        """Find the roots and read their documents; call before the piece is applied."""
        tables = {change.table for change in piece.changes}
        self._found = []
        for plan in self._plans:
            if plan.watched & tables:
                roots = entities.touched(plan, self._connection, self._store, piece.changes)
                self._found.append((plan, roots, self._read(plan, roots)))

    def after(self, piece: Piece, place: Place, row_ids: dict[int, str], cause: str) -> list[Draft]:
        """The events, ordered by entity and subject; call after the piece is applied."""
        drafts: list[Draft] = []
        for plan, roots, old in self._found:
            new = self._read(plan, roots)
            truncated = any(c.op == "t" and c.table == plan.entity.root for c in piece.changes)
            for subject in sorted(roots):
                if truncated and subject not in new:
                    continue  # the truncate's own event ends them all
                change = self._change(plan, subject, roots[subject], old, new, row_ids)
                if change is not None:
                    drafts.append(partial(self._render.entity, place, change, cause))
        return drafts

    def _read(self, plan: EntityPlan, roots: dict[str, Touched]) -> dict[str, tuple[str, tuple[str, ...]]]:
        documents = entities.read(plan, self._connection, roots)
        return {subject: entities.withhold_missing(plan, self._store, text) for subject, text in documents.items()}

    def _change(
        self,
        plan: EntityPlan,
        subject: str,
        root: Touched,
        old: dict[str, tuple[str, tuple[str, ...]]],
        new: dict[str, tuple[str, tuple[str, ...]]],
        row_ids: dict[int, str],
    ) -> EntityChange | None:
        before, missing_before = old.get(subject, (None, ()))
        after, missing_after = new.get(subject, (None, ()))
        known = not (plan.involved & self._store.untrusted)
        if before == after and known:
            return None
        missing: list[str] = [] if known else ["before"]
        if known and before is not None:
            missing += [f"before.{path}" for path in (*plan.lost, *missing_before)]
        if after is not None:
            missing += [f"after.{path}" for path in (*plan.lost, *missing_after)]
            missing += [f"after.{m.name}" for m in plan.entity.members if m.table in self._store.untrusted]
        return EntityChange(
            entity=plan.entity.name,
            subject=subject,
            key=root.text,
            before=before if known else None,
            after=after,
            rows=[row_ids[place] for place in sorted(root.rows) if place in row_ids],
            missing=missing,
            untrusted=plan.untrusted,
        )
