"""The messages of one stretch of an adopted connector on their way through the mirrors to their events.

What the mirror has of a row is what its last message said, so it is a true `before` wherever it is there. A row that no
message has told is not known: then `before` is missing, unless the change is an insert.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import Literal

from cdc_consumer import causes, waves
from cdc_consumer.adopted_position import Inputs
from cdc_consumer.collect import Piece
from cdc_consumer.decode import Change
from cdc_consumer.foreign_messages import Entry
from cdc_consumer.plan import Plan
from cdc_consumer.render import Message, Place, Renderer
from cdc_consumer.store import Store
from cdc_consumer.unknown import WHOLE_ROW
from cdc_consumer.waves import Row
from wakestream.ledger import Connection

CHUNK = 2000  # changes that one statement takes at most

Manner = Literal["plain", "early", "read", "truncate"]
_Told = tuple[int, Entry, Change]
"""An entry with its number and its change."""


def _manner_of(each: tuple[Manner, _Told]) -> Manner:
    return each[0]


class AdoptedPlace(Place):
    """What the event of one message says of its place."""

    __slots__ = ()

    def __init__(self, source: str, log: int, entry: Entry, number: int) -> None:
        super().__init__(source, log, Piece("snapshot", number, ts_ms=entry.ts_ms))
        read = entry.kind == "read"
        self.id = f"{source}/{log}/{entry.topic}.{entry.partition}.{entry.offset}"
        self.snapshot = "true" if read else "false"
        self.row_tail = f',"commit":null,"tx":{"null" if read or entry.tx is None else entry.tx},"order":'
        self.lsn = "null" if read or entry.lsn is None else str(entry.lsn)


class AdoptedBatch:
    """Applies entries in their order, inside the cycle's transaction, and gives their messages."""

    def __init__(self, connection: Connection, plan: Plan, renderer: Renderer, log: int, *, careful: bool) -> None:
        self._connection = connection
        self._plan = plan
        self._source = plan.revision.source
        self._render = renderer
        self._log = log
        self._store = Store(connection, self._source, plan.tables, careful=careful)

    def messages(self, entries: Sequence[Entry], before: int, inputs: Inputs) -> Iterator[Message]:
        """The events of these entries, numbered behind `before`; notes in `inputs` where snapshots stand."""
        told = list(self._unseen(entries, before))
        with_manner: list[tuple[Manner, _Told]] = [(self._manner(each[1], each[2], inputs), each) for each in told]
        for manner, group in groupby(with_manner, key=_manner_of):
            yield from self._apply(manner, [each for _, each in group], inputs)

    def doubt(self, labels: Sequence[str]) -> None:
        """Changes of these tables may be missing: what the mirrors have of them is not certain any more."""
        for label in labels:
            if label in self._plan.tables:
                self._store.unknown.doubt_all(self._plan.tables[label])

    def _unseen(self, entries: Sequence[Entry], before: int) -> Iterator[_Told]:
        """The entries that say something new; those that nobody can read become dead letters."""
        last = self._last([each.change for each in entries if each.change is not None and each.kind != "read"])
        rose: dict[tuple[str, str], int] = {}
        for number, entry in enumerate(entries, before + 1):
            change = entry.change
            if entry.kind == "broken":
                self._letter(entry, entry.reason, entry.detail)
            if change is None or change.table not in self._plan.tables:
                continue
            place = change.table, change.key.decode()
            if entry.kind != "read":
                if (entry.lsn or 0) <= last.get(place, -1):
                    continue  # sent again after a crash of theirs
                last[place] = rose[place] = entry.lsn or 0
            yield number, entry, change
        self._remember(rose)

    def _last(self, changes: Sequence[Change]) -> dict[tuple[str, str], int]:
        """The LSN of the last change of each of these keys."""
        rows = self._connection.ask(
            'select "table", subject, lsn from wake.adopted_row join unnest(%s::text[], %s::text[]) as x("table",'
            ' subject) using ("table", subject) where source = %s',
            ([change.table for change in changes], [change.key.decode() for change in changes], self._source),
        ).fetchall()
        return {(label, subject): lsn for label, subject, lsn in rows}

    def _remember(self, rose: dict[tuple[str, str], int]) -> None:
        if not rose:
            return
        self._connection.ask(
            'insert into wake.adopted_row (source, "table", subject, lsn)'
            " select %s, * from unnest(%s::text[], %s::text[], %s::int8[])"
            ' on conflict (source, "table", subject) do update set lsn = excluded.lsn',
            (self._source, [label for label, _ in rose], [subject for _, subject in rose], list(rose.values())),
        )

    @staticmethod
    def _manner(entry: Entry, change: Change, inputs: Inputs) -> Manner:
        if entry.kind == "truncate":
            return "truncate"
        of_topic = inputs[entry.topic]
        snapshot = of_topic.snapshot_lsn
        if entry.kind == "read":
            if entry.lsn is not None and not entry.incremental:
                of_topic.snapshot_lsn = max(entry.lsn, snapshot or 0)
            return "read"
        return "early" if snapshot is not None and (change.lsn or 0) < snapshot else "plain"

    def _apply(self, manner: Manner, told: Sequence[_Told], inputs: Inputs) -> Iterator[Message]:
        if manner == "truncate":
            for each in told:
                yield self._truncate(*each, ordered=len(inputs[each[1].topic].next) == 1)
            return
        # What a snapshot has read, and what was changed before it: the mirror may be ahead of it.
        self._store.untrusted = set() if manner == "plain" else {change.table for _, _, change in told}
        changes = [change for _, _, change in told]
        rows = [row for part in waves.parts(changes, CHUNK) for row in self._store.apply(part)]
        if manner == "read":
            told, rows = self._news(told, rows)
        for (number, entry, _), row in zip(told, rows, strict=True):
            yield self._row(number, entry, row)

    def _news(self, told: Sequence[_Told], rows: Sequence[Row]) -> tuple[list[_Told], list[Row]]:
        """The rows that the mirror did not have so. One over a row that it had may be newer than its place."""
        found: list[tuple[_Told, Row]] = []
        for each, row in zip(told, rows, strict=True):
            mirrored = row.plan.settings.mirror and row.error is None
            known = mirrored and row.before is not None
            same = known and row.before == row.after
            doubted = WHOLE_ROW in row.missing_before
            if mirrored and (doubted or (not same and (known or each[1].incremental))):
                self._store.unknown.doubt(row.plan, [row.key])
            if not same:
                found.append((each, row))
        return [each for each, _ in found], [row for _, row in found]

    def _row(self, number: int, entry: Entry, row: Row) -> Message:
        message = self._render.row(AdoptedPlace(self._source, self._log, entry, number), row, "null", 1, 1)
        if row.error is not None:
            self._letter(entry, "unreadable value", row.error, message.subject)
        return message

    def _truncate(self, number: int, entry: Entry, change: Change, *, ordered: bool) -> Message:
        """With several partitions nobody knows which rows were changed before it and which after."""
        plan = self._plan.tables[change.table]
        if ordered:
            self._store.apply([change])
        else:
            self._store.unknown.doubt_all(plan)
        return self._render.truncate(
            AdoptedPlace(self._source, self._log, entry, number), Row(change, plan), "null", 1, 1
        )

    def _letter(self, entry: Entry, reason: str, detail: str, subject: str = "") -> None:
        broken = Piece("broken", entry.offset, reason=reason, detail=detail, digest=entry.digest)
        causes.letter(self._connection, entry.topic, broken, subject=subject, partition=entry.partition)
