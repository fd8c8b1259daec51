"""What became of entities: their documents before and after, compared; those that are too large are said."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from cdc_consumer import causes
from cdc_consumer.collect import Piece
from cdc_consumer.entities import EntityPlan, path
from cdc_consumer.entity_documents import Shown
from cdc_consumer.render import EntityChange
from cdc_consumer.roots import Overflow, Touched
from cdc_consumer.store import Store
from cdc_consumer.waiting_documents import Documents
from wakestream.ledger import Connection

RowId = Callable[[int], str | None]
"""The id of a row's event by the place of its change; None where it made none."""


class Comparison:
    """Compares documents, and writes the dead letters of those that cannot be told."""

    def __init__(self, connection: Connection, store: Store, topic: str) -> None:
        self._connection = connection
        self._store = store
        self._topic = topic

    def changes(
        self,
        plan: EntityPlan,
        piece: Piece,
        part: Mapping[str, Touched],
        old: Documents,
        new: Documents,
        row_id: RowId,
        *,
        truncated: bool,
    ) -> list[EntityChange]:
        """What became of these roots; those that stay as they were, or cannot be told, are absent.

        `truncated` says that the root's table was: the truncate's own event ends what is gone.
        """
        changes: list[EntityChange] = []
        for subject, root in part.items():
            if truncated and subject not in new:
                continue
            if not self._is_worked_out(plan, piece, subject, new.get(subject)):
                continue
            change = self._change(plan, subject, root, old.get(subject), new.get(subject), row_id)
            if change is not None and self._fits(plan, piece, change):
                changes.append(change)
        return changes

    def present(
        self, plan: EntityPlan, piece: Piece, part: Mapping[str, Touched], documents: Documents
    ) -> list[EntityChange]:
        """These documents as they are, told anew: which of them readers have is not known.

        Those that are gone, which was told, and those that cannot be told are absent.
        """
        found = [
            self._event(plan, subject, root, None, documents[subject], lambda _: None, ["before"])
            for subject, root in part.items()
            if subject in documents and self._is_worked_out(plan, piece, subject, documents[subject])
        ]
        return [change for change in found if self._fits(plan, piece, change)]

    def letter_overflow(self, piece: Piece, plan: EntityPlan, overflow: Overflow) -> None:
        """Say that a member changes more documents than it may."""
        name = plan.entity.name
        detail = (
            f"one transaction changes more than {overflow.limit} documents of entity `{name}` through"
            f" `{overflow.member}`, and none was told; raise its `fan_out`, or set `watch: false` there"
        )
        broken = Piece("broken", piece.offset, reason="fan-out too large", detail=detail)
        causes.letter(self._connection, self._topic, broken, subject=f"{name}.{overflow.member}")

    def _change(
        self,
        plan: EntityPlan,
        subject: str,
        root: Touched,
        old: Shown | None,
        new: Shown | None,
        row_id: RowId,
    ) -> EntityChange | None:
        known = not (plan.involved & self._store.untrusted) and not (old and old.error)
        if known and old == new:
            return None
        before = old if known else None
        too_large = before is not None and len(before.text.encode()) > plan.entity.max_size
        if too_large:
            before = None
        missing: list[str] = ["before"] if not known or too_large else []
        if before is not None:
            missing += [f"before.{each}" for each in (*plan.lost, *before.missing)]
        return self._event(plan, subject, root, before, new, row_id, missing)

    def _event(
        self,
        plan: EntityPlan,
        subject: str,
        root: Touched,
        before: Shown | None,
        new: Shown | None,
        row_id: RowId,
        missing: list[str],
    ) -> EntityChange:
        if new is not None:
            missing += [f"after.{each}" for each in (*plan.lost, *new.missing)]
            missing += [f"after.{path(c)}" for c in plan.chains if c[-1].table in self._store.untrusted]
        elif self._store.unknown.lacks(plan.entity.root, root.text):
            missing.append("after")  # it is there, and cannot be read
        return EntityChange(
            entity=plan.entity.name,
            subject=subject,
            key=root.text,
            before=None if before is None else before.text,
            after=None if new is None else new.text,
            rows=[found for each in sorted(root.rows) if (found := row_id(each)) is not None],
            missing=missing,
            untrusted=plan.untrusted,
            singles=plan.singles,
        )

    def _is_worked_out(self, plan: EntityPlan, piece: Piece, subject: str, shown: Shown | None) -> bool:
        """Whether PostgreSQL gave the document; one that it could not work out becomes a dead letter."""
        if shown is None or not shown.error:
            return True
        detail = (
            f"{subject} cannot be worked out from its rows ({shown.error}); have `compute`, `where` and `order` of"
            f" entity `{plan.entity.name}` allow for what they hold"
        )
        broken = Piece("broken", piece.offset, reason="document not worked out", detail=detail)
        causes.letter(self._connection, self._topic, broken, subject=subject)
        return False

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
