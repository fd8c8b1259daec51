"""The mirrors' tables in the ledger, and what is known of each: complete, being read by a snapshot, behind a gap.

The initial snapshot of a new slot is at one place of the log: what it read is whole at its end. Any other one reads
ahead of the log, so that it is settled only by a control record behind the moment at which it ended (`snapshot_rows`).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from psycopg import sql

from cdc_consumer.decode import Change
from cdc_consumer.snapshot_rows import SnapshotRows, Told
from cdc_consumer.store import Store
from cdc_consumer.tables import TablePlan
from wakestream import change_log
from wakestream.ledger import Connection

SETTLED_AT_ONCE = 2000  # waiting rows that one control record lets in
WHOLE_SCANS = ("SUCCEEDED", "EMPTY")  # how Debezium says that it has read a table to its end


@dataclasses.dataclass(slots=True)
class MirrorState:
    """What is known of one table's mirror."""

    complete: bool = False
    log: int | None = None
    """The log in which its snapshot completed."""
    snapshot_from: int | None = None
    snapshot: str | None = None
    """`fresh` into an empty mirror, `again` over one with rows, `emptied` when the table is truncated meanwhile."""
    ahead: bool = False
    """Whether its rows may be newer than their place in the log."""
    whole: bool = True
    """Whether the snapshot reads every row, so that one it has not shown is gone."""
    snapshot_ended: int | None = None
    """Offset at which such a snapshot ended that is not settled yet."""
    doubt: str | None = None
    """Why the last snapshot of it does not suffice: another one is asked for."""


class _Gap(NamedTuple):
    tables: list[str]
    place: tuple[int, int]
    """`log` and offset at which it opened."""


class Mirrors:
    """The state of a source's mirrors; read at the start, moved inside the cycle's transaction."""

    def __init__(self, connection: Connection, source: str, log: int, tables: dict[str, TablePlan]) -> None:
        self._connection = connection
        self._source = source
        self._log = log
        self._tables = tables
        self._states = {label: MirrorState() for label in tables}
        self._gaps: dict[int, _Gap] = {}
        self._rows = SnapshotRows(connection, source, tables)
        self._load()

    def untrusted(self) -> set[str]:
        """Tables whose mirror may lack rows or changes."""
        behind = {label for gap in self._gaps.values() for label in gap.tables}
        return {
            label
            for label, state in self._states.items()
            if not state.complete or state.log != self._log or label in behind
        }

    def reading(self, label: str) -> str | None:
        """Which kind of snapshot reads this table now: `fresh`, `again`, `emptied`, or None."""
        return self._states[label].snapshot

    def holds(self, label: str) -> bool:
        """Whether rows that a snapshot shows of this table wait for its end."""
        state = self._states[label]
        return state.snapshot == "emptied" or (state.snapshot == "again" and state.ahead)

    def tracks(self, label: str) -> bool:
        """Whether a snapshot reads this table so that it has to be remembered which rows it or the log has told.

        Into an empty mirror, rows of the initial snapshot of a new slot are at their place.
        """
        state, keyless = self._states[label], self._tables[label].keyless
        return state.snapshot == "again" or (state.snapshot == "fresh" and state.ahead and not keyless)

    def tells(self, label: str) -> bool:
        """Whether a snapshot goes into this empty mirror, of some of whose rows the log has told itself."""
        return self._states[label].snapshot == "fresh" and self._rows.tells(label)

    def told(self, store: Store, label: str, changes: Sequence[Change]) -> list[bool]:
        """Which of these rows of a table the log has told of itself."""
        keys = store.readable_keys(self._tables[label], changes)
        told = self._rows.told(label, keys)
        return [key in told for key in keys]

    def begin_snapshot(self, labels: Iterable[str], offset: int, *, ahead: bool, whole: bool = True) -> list[str]:
        """A snapshot of these tables starts, unless one of them is being read already; returns where it does."""
        begun: list[str] = []
        for label in labels:
            plan = self._tables.get(label)
            if plan is None or self._is_read(label):
                continue
            state = self._states[label]
            state.snapshot_from, state.snapshot_ended = offset, None
            state.ahead, state.whole, state.doubt = ahead, whole, None
            state.snapshot = "fresh" if self._is_empty(plan) else "again"
            self._rows.forget(label)
            self._save(label)
            begun.append(label)
        return begun

    def newest_gap(self, label: str) -> int:
        """Behind which offset of this log the log has told all of a table."""
        places = [gap.place[1] for gap in self._gaps.values() if label in gap.tables and gap.place[0] == self._log]
        return max(places, default=-1)

    def begin_history(self, labels: Iterable[str], offset: int) -> bool:
        """An initial snapshot starts: the mirrors' history has ended. Whether anybody could expect that.

        One that begins over complete mirrors was announced by nobody: Debezium has lost its place and reads beside a
        slot that is older. So does one that begins before another has ended.
        """
        known = [label for label in labels if label in self._tables]
        before = self.untrusted()
        expected = all(label in before and not self._is_read(label) for label in known)
        for label in known:
            state = self._states[label]
            state.snapshot_from, state.complete = None, False
        self.begin_snapshot(known, offset, ahead=not expected)
        return expected

    def hold(self, store: Store, changes: Sequence[Change]) -> None:
        """Keep what a snapshot shows until its place in the log is certain."""
        self._rows.hold(store, [change for change in changes if self.reading(change.table) != "emptied"])

    def truncated(self, label: str) -> None:
        """The log has emptied a table. All that is in it from here on is told by the log itself.

        What a snapshot that reads ahead has shown of it, and will show, was read before or comes once more as a change.
        """
        state = self._states[label]
        if state.ahead and state.snapshot is not None and self._tables[label].settings.mirror:
            state.snapshot = "emptied"
            self._rows.forget(label)
            self._save(label)

    def track(self, label: str, keys: Sequence[str], told: Told = "since") -> None:
        """Remember that the log has told of these rows itself, since the snapshot began or shortly before."""
        self._rows.track(label, keys, told)

    def unseen(self) -> list[Change]:
        """Deletes for the mirrored rows that the initial snapshot that ends now has not shown."""
        states = self._states.items()
        again = [label for label, s in states if s.snapshot == "again" and s.whole and not s.ahead]
        return self._rows.unseen(again)

    def scanned(self, label: str, status: str, rows: int) -> None:
        """A snapshot has come to the end of a table, of which it says that it has read so many rows.

        One that has given the table up, or that has read more than it has shown, proves no row's absence and
        completes nothing: it has to be taken again. So has one that was to read values only, and gave up.
        """
        if label not in self._states or not self._is_read(label):
            return
        state, given_up = self._states[label], f"Debezium gave the table up: {status}"
        if not state.whole:
            if status not in WHOLE_SCANS and state.doubt is None:
                self._doubt(label, change_log.IN_PART + given_up)
        elif status not in WHOLE_SCANS:
            self._doubt(label, given_up)
        elif (shown := self._shown(label)) is not None and rows > shown:
            self._doubt(label, f"Debezium has counted {rows} rows and sent {shown}")

    def ask_again(self, label: str, why: str, *, whole: bool) -> None:
        """Somebody wants the table read again: the guard asks until a snapshot that begins from here on is believed.

        One that is wanted for its values only proves no row's absence, and never takes the place of one that does.
        """
        state = self._states[label]
        if whole or state.doubt is None:
            state.doubt = why if whole else change_log.IN_PART + why
            self._save(label)

    def _shown(self, label: str) -> int | None:
        """How many rows a snapshot that reads ahead can have shown; None where that is not known.

        What it read and did not send was changed meanwhile, and is known by that change.
        """
        state, plan = self._states[label], self._tables[label]
        if not state.ahead or not plan.settings.mirror:
            return None
        if state.snapshot == "emptied":
            return None
        if state.snapshot == "again":
            return self._rows.count(label)
        row = self._connection.execute(sql.SQL("select count(*) from {}").format(plan.mirror)).fetchone()
        return None if row is None else int(row[0]) + self._rows.gone(label)

    def _doubt(self, label: str, reason: str) -> None:
        self._states[label].whole, self._states[label].doubt = False, reason
        self._save(label)

    def end_snapshot(self, offset: int) -> dict[str, int]:
        """The running snapshot has come to its end; returns the tables that it made complete, and where it had begun.

        One that reads ahead makes none complete yet.
        """
        whole: dict[str, int] = {}
        for label in [label for label in self._states if self._is_read(label)]:
            state = self._states[label]
            if state.ahead:
                state.snapshot_ended = offset
                self._save(label)
                continue
            if state.whole:
                whole[label] = state.snapshot_from or 0
            self._finish(label, completed=state.whole)
        return whole

    def abandon_snapshot(self, *, ahead: bool) -> None:
        """The running snapshot of this kind ends before it has read everything, as somebody wanted."""
        for label in [label for label in self._states if self._is_read(label)]:
            state = self._states[label]
            if state.ahead == ahead:
                state.doubt = None
                self._finish(label, completed=False)

    def unsettled(self, ended: int) -> list[str]:
        """Tables whose snapshot waits since it ended at this offset of the log or before."""
        states = self._states.items()
        return sorted(label for label, s in states if s.snapshot_ended is not None and s.snapshot_ended <= ended)

    def settle(self, labels: Sequence[str]) -> tuple[list[Change], bool]:
        """What waits of these tables, a part at a time, and whether that is all."""
        waiting = [label for label in labels if self._states[label].snapshot != "emptied"]
        changes = self._rows.waiting(waiting, SETTLED_AT_ONCE)
        if len(changes) < SETTLED_AT_ONCE:
            whole = [label for label in labels if self._states[label].snapshot == "again" and self._states[label].whole]
            changes += self._rows.unseen(whole, SETTLED_AT_ONCE - len(changes))
        return changes, len(changes) < SETTLED_AT_ONCE

    def settled(self, labels: Sequence[str]) -> dict[str, int]:
        """These tables' snapshots have told everything; returns those that they have read whole, and from where on."""
        for label in labels:
            self._doubt_contradicted(label)
        whole = {label: state.snapshot_from or 0 for label in labels if (state := self._states[label]).whole}
        for label in labels:
            self._finish(label, completed=self._states[label].whole)
        return whole

    def _doubt_contradicted(self, label: str) -> None:
        state = self._states[label]
        if state.doubt is None and (number := self._rows.contradicted(label, absent=state.whole)):
            why = f"{number} rows are shown otherwise than the log had told just before it began"
            self._doubt(label, why if state.whole else change_log.IN_PART + why)

    def _is_read(self, label: str) -> bool:
        """Whether a snapshot reads this table now."""
        state = self._states[label]
        return state.snapshot_from is not None and state.snapshot_ended is None

    def _finish(self, label: str, *, completed: bool) -> None:
        state = self._states[label]
        state.snapshot_from = state.snapshot = state.snapshot_ended = None
        state.ahead, state.whole = False, True
        if completed:
            state.complete, state.log = True, self._log
        self._rows.forget(label)
        self._save(label)

    def open_gap(self, tables: Sequence[str], reason: str, offset: int) -> int:
        """Declare that changes of these tables may be missing before this offset; returns the gap's number."""
        known = [label for label in tables if label in self._tables]
        row = self._connection.execute(
            "insert into wake.gap (source, number, state, tables, reason, event)"
            " select %s, coalesce(max(number), 0) + 1, 'open', %s, %s, '{}' from wake.gap where source = %s"
            " returning number",
            (self._source, known, reason, self._source),
        ).fetchone()
        number = int(row[0]) if row else 0
        self._gaps[number] = _Gap(known, (self._log, offset))
        for label in known:  # The snapshot that reads it now began before the gap, and cannot close it.
            state = self._states[label]
            if self._is_read(label) and state.ahead and state.whole and state.doubt is None:
                state.doubt = f"while it read: {reason}"
                self._save(label)
        return number

    def close_gaps(self, completed: Mapping[str, int]) -> list[tuple[int, list[str]]]:
        """Close the gaps all of whose tables a snapshot has now read whole that began behind them.

        What is no longer captured is waited for no more; nor is a table without a key, which has no mirror to mend.
        """
        begun = {label: (self._log, offset) for label, offset in completed.items()}
        closed = [
            (number, gap.tables)
            for number, gap in sorted(self._gaps.items())
            if all(label in begun and begun[label] >= gap.place for label in gap.tables if self._is_mended(label))
        ]
        for number, _ in closed:
            del self._gaps[number]
            self._connection.execute(
                "update wake.gap set state = 'closed', closed_at = clock_timestamp() where source = %s and number = %s",
                (self._source, number),
            )
        return closed

    def _is_mended(self, label: str) -> bool:
        plan = self._tables.get(label)
        return plan is not None and not plan.keyless

    def keep_event(self, number: int, event: str) -> None:
        """The gap's event, which the ledger keeps in full."""
        self._connection.execute(
            "update wake.gap set event = %s where source = %s and number = %s", (event, self._source, number)
        )

    def _load(self) -> None:
        rows = self._connection.execute(
            'select "table", complete, log, snapshot_from, snapshot, ahead, whole, snapshot_ended, doubt'
            " from wake.mirror_state where source = %s",
            (self._source,),
        ).fetchall()
        for label, *values in rows:
            if label in self._states:
                self._states[label] = MirrorState(*values)
        gaps = self._connection.execute(
            "select number, tables, (event #>> '{data,position,log}')::int, (event #>> '{data,position,offset}')::int8"
            " from wake.gap where source = %s and state = 'open'",
            (self._source,),
        ).fetchall()
        self._gaps = {number: _Gap(list(tables), (log, offset)) for number, tables, log, offset in gaps}

    def _save(self, label: str) -> None:
        state = self._states[label]
        self._connection.execute(
            'insert into wake.mirror_state (source, "table", complete, log, snapshot_from, snapshot, ahead,'
            " whole, snapshot_ended, doubt) values (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s)"
            ' on conflict (source, "table")'
            " do update set complete = excluded.complete, log = excluded.log, snapshot_from = excluded.snapshot_from,"
            " snapshot = excluded.snapshot, ahead = excluded.ahead, whole = excluded.whole,"
            " snapshot_ended = excluded.snapshot_ended, doubt = excluded.doubt",
            (self._source, label, *dataclasses.astuple(state)),
        )

    def _is_empty(self, plan: TablePlan) -> bool:
        if not plan.settings.mirror:
            return True
        row = self._connection.execute(sql.SQL("select exists (select from {})").format(plan.mirror)).fetchone()
        return row is not None and not row[0]
