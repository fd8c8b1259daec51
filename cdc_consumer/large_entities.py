"""Entity events of a transaction that is too large for memory: its roots and documents wait in temporary tables."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from cdc_consumer import roots
from cdc_consumer.collect import Piece
from cdc_consumer.decode import Change
from cdc_consumer.entities import EntityPlan, path
from cdc_consumer.entity_changes import Comparison
from cdc_consumer.entity_documents import Asked
from cdc_consumer.render import EntityChange, Place
from cdc_consumer.roots import Overflow, Touched
from cdc_consumer.store import Store
from cdc_consumer.waiting_documents import WaitingDocuments
from wakestream.ledger import Connection

AT_ONCE = 500  # documents held in memory


class LargeEntities:
    """What one large transaction does to documents. Its changes are shown twice: to `find`, and when it is applied."""

    def __init__(
        self,
        connection: Connection,
        plans: Sequence[EntityPlan],
        store: Store,
        piece: Piece,
        place: Place,
        topic: str,
    ) -> None:
        tables = set(piece.large.counts) if piece.large else set[str]()
        self._connection = connection
        self._plans = [plan for plan in plans if plan.watched & tables]
        self._store = store
        self._piece = piece
        self._place = place
        self._comparison = Comparison(connection, store, topic)
        self._waiting = WaitingDocuments(connection)
        self._truncated: set[str] = set()
        self._overflown: set[tuple[str, str]] = set()
        self._waiting.clear()
        connection.execute("drop table if exists pg_temp.wake_root")
        connection.execute(
            'create temp table wake_root (entity text, member text, subject text collate "C", key text,'
            " places bigint[], primary key (entity, subject, member)) on commit drop"
        )

    def find(self, part: Sequence[Change]) -> None:
        """Find the roots that these changes may change; call with every part before the first is applied."""
        for change in part:
            if change.op == "t":
                self._truncated.add(change.table)
        for plan in self._plans:
            for way in roots.ways(plan, self._connection, self._store, part):
                if way.limit is not None and len(way.roots) > way.limit:
                    self._overflow(plan, way.member, way.limit)
                else:
                    self._keep(plan, way, [change.order or 0 for change in part])

    def read_before(self) -> None:
        """Read the documents of all roots as they are; call before the first part is applied."""
        for plan in self._plans:
            for chain in plan.watched_chains:
                self._limit(plan, path(chain), chain[-1].fan_out)
            for page in self._pages(plan):
                self._waiting.keep(plan.entity.name, Asked(plan, self._connection, self._store, page).take())

    def changes(self) -> Iterator[EntityChange]:
        """What became of the roots, by entity and subject; call after the last part was applied."""
        for plan in self._plans:
            for page in self._pages(plan):
                old = self._waiting.take(plan.entity.name, list(page))
                new = Asked(plan, self._connection, self._store, page).take()
                truncated = plan.entity.root in self._truncated
                yield from self._comparison.changes(
                    plan, self._piece, page, old, new, self._row_id, truncated=truncated
                )

    def _row_id(self, order: int) -> str:
        return self._place.row_id(order, 0)

    def _keep(self, plan: EntityPlan, way: roots.Way, orders: Sequence[int]) -> None:
        self._connection.execute(
            "insert into pg_temp.wake_root as w select %s, %s, x.subject, x.key,"
            " array(select json_array_elements_text(x.places)::int8)"
            " from unnest(%s::text[], %s::text[], %s::json[]) as x(subject, key, places)"
            " on conflict (entity, subject, member) do update set places = w.places || excluded.places",
            (
                plan.entity.name,
                way.member,
                list(way.roots),
                [root.text for root in way.roots.values()],
                [f"[{','.join(str(orders[place]) for place in root.rows)}]" for root in way.roots.values()],
            ),
        )

    def _limit(self, plan: EntityPlan, member: str, limit: int) -> None:
        """Follow no member through which there are more roots than it may have."""
        row = self._connection.execute(
            "select count(*) from pg_temp.wake_root where entity = %s and member = %s", (plan.entity.name, member)
        ).fetchone()
        if row is not None and row[0] > limit:
            self._overflow(plan, member, limit)
        if (plan.entity.name, member) in self._overflown:
            self._connection.execute(
                "delete from pg_temp.wake_root where entity = %s and member = %s", (plan.entity.name, member)
            )

    def _overflow(self, plan: EntityPlan, member: str, limit: int) -> None:
        if (plan.entity.name, member) not in self._overflown:
            self._overflown.add((plan.entity.name, member))
            self._comparison.letter_overflow(self._piece, plan, Overflow(member, limit))

    def _pages(self, plan: EntityPlan) -> Iterator[dict[str, Touched]]:
        """All roots in order of subject, as many as are held at once."""
        last = ""
        while True:
            rows = self._connection.execute(
                "select r.subject, min(r.key), array_agg(distinct p) from (select distinct subject from"
                " pg_temp.wake_root where entity = %s and subject > %s order by subject limit %s) as page"
                " join pg_temp.wake_root r on r.entity = %s and r.subject = page.subject, unnest(r.places) p"
                " group by r.subject order by r.subject",
                (plan.entity.name, last, AT_ONCE, plan.entity.name),
            ).fetchall()
            if not rows:
                return
            yield {subject: Touched(key, set(places)) for subject, key, places in rows}
            last = rows[-1][0]
