"""What snapshots tell of themselves, and gaps: how they begin, and what is certain at their end."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from functools import partial

from cdc_consumer import recent
from cdc_consumer.collect import INITIAL, Piece
from cdc_consumer.mirrors import Mirrors
from cdc_consumer.printed import Printed
from cdc_consumer.render import Draft, Renderer
from cdc_consumer.rereading import Log
from cdc_consumer.store import Store
from cdc_consumer.tables import TablePlan
from wakestream import change_log

UNANNOUNCED = "the connector has lost its place and reads the tables anew; changes before that may be missing"


class Snapshots:
    """Moves the mirrors of one source through their snapshots, inside the cycle's transaction."""

    def __init__(
        self,
        tables: Mapping[str, TablePlan],
        mirrors: Mirrors,
        store: Store,
        printed: Printed,
        renderer: Renderer,
        records: Log,
        changes: Callable[[Piece], list[Draft]],
    ) -> None:
        self._tables = tables
        self._mirrors = mirrors
        self._store = store
        self._printed = printed
        self._render = renderer
        self._records = records
        self._changes = changes
        """Applies rows, and gives their events."""

    def notice(self, piece: Piece) -> list[Draft]:
        """A snapshot's own messages: where it starts, and where everything it read is in."""
        kind = piece.body.get("type")
        if kind in ("STARTED", "DATA_COLLECTIONS_RESOLVED"):
            return self._begin(piece)
        if kind == "TABLE_SCAN_COMPLETED":
            rows = str(piece.body.get("total_rows") or "0")  # counted when it began; what is read twice counts once
            self._mirrors.scanned(str(piece.body.get("scanned_collection")), str(piece.body.get("status")), int(rows))
        if kind in ("ABORTED", "SKIPPED"):
            # One that starts again says that it skips the initial snapshot, and goes on with an incremental one.
            self._mirrors.abandon_snapshot(ahead=piece.body.get("aggregate") != INITIAL)
            return []
        return self._end(piece) if kind == "COMPLETED" else []

    def settle(self, piece: Piece) -> list[Draft]:
        """The log has passed what snapshots have read ahead of it: tell what waited, and what they have not shown."""
        labels = self._mirrors.unsettled(piece.body["ended"])
        if not labels:
            return []
        changes, all_told = self._mirrors.settle(labels)
        found = Piece("snapshot", piece.offset, ts_ms=piece.ts_ms, changes=changes)
        drafts = self._changes(found) if changes else []
        if not all_told:
            return drafts
        return drafts + self._whole(piece, self._mirrors.settled(labels))

    def open_gap(self, piece: Piece, tables: list[str]) -> list[Draft]:
        """Changes of these tables may be missing before this piece."""
        number = self._mirrors.open_gap(tables, piece.reason, piece.offset)
        self._store.untrusted = self._mirrors.untrusted()
        draft = partial(self._render.gap, self._render.at(piece), number, "open", tables, piece.reason)
        self._mirrors.keep_event(number, draft(1, 1).value)
        return [draft]

    def _begin(self, piece: Piece) -> list[Draft]:
        listed = str(piece.body.get("data_collections") or "")
        labels = [label.strip() for label in listed.split(",") if label.strip()]
        drafts: list[Draft] = []
        if piece.body.get("aggregate") != INITIAL:
            whole = change_log.reads_whole(piece.body.get("id"))
            self._track_recent(piece, self._mirrors.begin_snapshot(labels, piece.offset, ahead=True, whole=whole))
        elif not self._mirrors.begin_history(labels, piece.offset):
            piece.reason = UNANNOUNCED
            drafts = self.open_gap(piece, labels)
        self._store.untrusted = self._mirrors.untrusted()
        return drafts

    def _track_recent(self, piece: Piece, labels: Sequence[str]) -> None:
        """Rows that the log has told of shortly before a snapshot of these tables began; behind a gap it has not."""
        behind = {label: self._mirrors.newest_gap(label) for label in labels if self._mirrors.tracks(label)}
        if not behind:
            return
        found = recent.keys(self._records, piece.offset, piece.ts_ms, behind)
        changes = self._printed.turn(dataclasses.replace(piece, changes=found)).changes
        for label in behind:
            own = [change for change in changes if change.table == label]
            if own:
                self._mirrors.track(label, self._store.readable_keys(self._tables[label], own), "before")

    def _end(self, piece: Piece) -> list[Draft]:
        """What the snapshot has not shown is gone; what it has read is whole; gaps that it covers are closed."""
        unseen = Piece("snapshot", piece.offset, ts_ms=piece.ts_ms, changes=self._mirrors.unseen())
        drafts = self._changes(unseen) if unseen.changes else []
        completed = self._mirrors.end_snapshot(piece.offset)
        return drafts + self._whole(piece, completed)

    def _whole(self, piece: Piece, begun: Mapping[str, int]) -> list[Draft]:
        """These tables' mirrors are whole, as read from these offsets on; returns the ends of gaps that this closes."""
        place, reason = self._render.at(piece), "a snapshot has read the tables whole"
        closed = self._mirrors.close_gaps(begun)
        self._store.untrusted = self._mirrors.untrusted()
        return [partial(self._render.gap, place, number, "closed", tables, reason) for number, tables in closed]
