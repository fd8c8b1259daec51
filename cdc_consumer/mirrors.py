"""The mirrors' tables in the ledger, and what is known of each: complete, being read by a snapshot, behind a gap."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence
from typing import Any

import msgspec
import psycopg
from psycopg import sql

from cdc_consumer.decode import Change
from cdc_consumer.plan import Plan
from cdc_consumer.store import Store
from cdc_consumer.tables import TablePlan
from wakestream import topics
from wakestream.ledger import settings

_fields = msgspec.json.Decoder(dict[str, msgspec.Raw])


@dataclasses.dataclass(slots=True)
class MirrorState:
    """What is known of one table's mirror."""

    complete: bool = False
    log: int | None = None
    """The log in which its snapshot completed."""
    snapshot_from: int | None = None
    snapshot: str | None = None
    """`fresh` into an empty mirror, `again` over one with rows."""


class Mirrors:
    """The state of a source's mirrors; read at the start, moved inside the cycle's transaction."""

    def __init__(
        self, connection: psycopg.Connection[Any], source: str, log: int, tables: dict[str, TablePlan]
    ) -> None:
        self._connection = connection
        self._source = source
        self._log = log
        self._tables = tables
        self._states = {label: MirrorState() for label in tables}
        self._gaps: dict[int, list[str]] = {}
        self._load()

    def untrusted(self) -> set[str]:
        """Tables whose mirror may lack rows or changes."""
        behind = {label for tables in self._gaps.values() for label in tables}
        return {
            label
            for label, state in self._states.items()
            if not state.complete or state.log != self._log or label in behind
        }

    def reading(self, label: str) -> str | None:
        """Which kind of snapshot reads this table now: `fresh`, `again`, or None."""
        return self._states[label].snapshot

    def begin_snapshot(self, labels: Iterable[str], offset: int, *, initial: bool) -> None:
        """A snapshot of these tables starts. An initial one means that the mirror's history has ended."""
        for label in labels:
            plan = self._tables.get(label)
            if plan is None or (self._states[label].snapshot_from is not None and not initial):
                continue
            state = self._states[label]
            state.snapshot_from = offset
            state.snapshot = "fresh" if self._is_empty(plan) else "again"
            if initial:
                state.complete = False
            self._forget_shown(label)
            self._save(label)

    def track(self, plan: TablePlan, keys: Sequence[str]) -> None:
        """Remember that these rows were read or changed while the snapshot ran."""
        with self._connection.cursor() as cursor:
            cursor.executemany(
                'insert into wake.snapshot_row (source, "table", subject) values (%s, %s, %s) on conflict do nothing',
                [(self._source, plan.label, key) for key in keys],
            )

    def unseen(self) -> list[Change]:
        """Deletes for the mirrored rows that the snapshot that ends now has not shown."""
        changes: list[Change] = []
        for label, state in sorted(self._states.items()):
            if state.snapshot == "again":
                changes += [Change("d", label, key.encode(), None) for key in self._unseen_keys(self._tables[label])]
        return changes

    def end_snapshot(self, *, completed: bool) -> list[str]:
        """The running snapshot ends; returns the tables that it made complete."""
        ended = [label for label, state in self._states.items() if state.snapshot_from is not None]
        for label in ended:
            state = self._states[label]
            state.snapshot_from = state.snapshot = None
            if completed:
                state.complete, state.log = True, self._log
            self._forget_shown(label)
            self._save(label)
        return ended if completed else []

    def open_gap(self, tables: Sequence[str], reason: str) -> int:
        """Declare that changes of these tables may be missing; returns the gap's number."""
        known = [label for label in tables if label in self._tables]
        row = self._connection.execute(
            "insert into wake.gap (source, number, state, tables, reason, event)"
            " select %s, coalesce(max(number), 0) + 1, 'open', %s, %s, '{}' from wake.gap where source = %s"
            " returning number",
            (self._source, known, reason, self._source),
        ).fetchone()
        number = int(row[0]) if row else 0
        self._gaps[number] = known
        return number

    def close_gaps(self, completed: Sequence[str]) -> list[tuple[int, list[str]]]:
        """Close the gaps all of whose tables a snapshot has now read whole."""
        closed = [(n, tables) for n, tables in sorted(self._gaps.items()) if set(tables) <= set(completed)]
        for number, _ in closed:
            del self._gaps[number]
            self._connection.execute(
                "update wake.gap set state = 'closed', closed_at = clock_timestamp() where source = %s and number = %s",
                (self._source, number),
            )
        return closed

    def keep_event(self, number: int, event: str) -> None:
        """The gap's event, which the ledger keeps in full."""
        self._connection.execute(
            "update wake.gap set event = %s where source = %s and number = %s", (event, self._source, number)
        )

    def _load(self) -> None:
        rows = self._connection.execute(
            'select "table", complete, log, snapshot_from, snapshot from wake.mirror_state where source = %s',
            (self._source,),
        ).fetchall()
        for label, *values in rows:
            if label in self._states:
                self._states[label] = MirrorState(*values)
        gaps = self._connection.execute(
            "select number, tables from wake.gap where source = %s and state = 'open'", (self._source,)
        ).fetchall()
        self._gaps = {number: list(tables) for number, tables in gaps}

    def _save(self, label: str) -> None:
        state = self._states[label]
        self._connection.execute(
            'insert into wake.mirror_state (source, "table", complete, log, snapshot_from, snapshot)'
            ' values (%s, %s, %s, %s, %s, %s) on conflict (source, "table") do update set complete = excluded.complete,'
            " log = excluded.log, snapshot_from = excluded.snapshot_from, snapshot = excluded.snapshot",
            (self._source, label, state.complete, state.log, state.snapshot_from, state.snapshot),
        )

    def _forget_shown(self, label: str) -> None:
        self._connection.execute(
            'delete from wake.snapshot_row where source = %s and "table" = %s', (self._source, label)
        )

    def _is_empty(self, plan: TablePlan) -> bool:
        if not plan.settings.mirror:
            return True
        row = self._connection.execute(sql.SQL("select exists (select from {})").format(plan.mirror)).fetchone()
        return row is not None and not row[0]

    def _unseen_keys(self, plan: TablePlan) -> list[str]:
        names = [sql.Identifier(column.name) for column in plan.key_columns]
        columns = sql.SQL(", ").join(sql.SQL("m.{}").format(name) for name in names)
        rows = self._connection.execute(
            sql.SQL("select to_jsonb(k.*)::text from (select {} from {} as m order by {}) as k").format(
                columns, plan.mirror, columns
            )
        ).fetchall()
        seen = {
            row[0]
            for row in self._connection.execute(
                'select subject from wake.snapshot_row where source = %s and "table" = %s', (self._source, plan.label)
            ).fetchall()
        }
        return [key for (text,) in rows if (key := Store.key_of(plan, _fields.decode(text))) not in seen]


def prepare(connection: psycopg.Connection[Any], compiled: Plan) -> None:
    """Make the mirrors that a plan needs. One whose columns no longer fit is made anew, empty and incomplete."""
    source = compiled.revision.source
    reader = settings.read(connection, settings.LOOKUPS_ROLE)
    for plan in compiled.tables.values():
        if not plan.settings.mirror:
            continue
        schema = sql.Identifier(topics.mirror_schema(source, plan.table.schema))
        connection.execute(sql.SQL("create schema if not exists {}").format(schema))
        if not _fits(connection, plan):
            connection.execute(sql.SQL("drop table if exists {}").format(plan.mirror))
            for table in ("mirror_state", "missing_value", "snapshot_row"):
                connection.execute(
                    sql.SQL('delete from {} where source = %s and "table" = %s').format(sql.Identifier("wake", table)),
                    (source, plan.label),
                )
        connection.execute(plan.create)
        if reader is not None:
            role = sql.Identifier(reader)
            connection.execute(sql.SQL("grant usage on schema {} to {}").format(schema, role))
            connection.execute(sql.SQL("grant select on {} to {}").format(plan.mirror, role))
    for index in (index for entity in compiled.entities for index in entity.indexes):
        connection.execute(index)


def _fits(connection: psycopg.Connection[Any], plan: TablePlan) -> bool:
    """Whether the mirror that exists has the columns and types that the plan wants; a missing one does not fit."""
    schema = topics.mirror_schema(plan.source, plan.table.schema)
    rows = connection.execute(
        "select a.attname, format_type(a.atttypid, a.atttypmod)"
        " from pg_attribute a join pg_class c on c.oid = a.attrelid"
        " join pg_namespace n on n.oid = c.relnamespace"
        " where n.nspname = %s and c.relname = %s and a.attnum > 0 and not a.attisdropped",
        (schema, plan.table.name),
    ).fetchall()
    return dict(rows) == {column.name: plan.mirror_type(column) for column in plan.shown}
