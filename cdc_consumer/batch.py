"""The pieces of one cycle on their way through the mirrors to their events."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from itertools import count, groupby, islice, takewhile
from typing import Literal

from cdc_consumer import causes, grouping, large, waves
from cdc_consumer.collect import Piece, is_revision
from cdc_consumer.decode import Change
from cdc_consumer.entity_events import EntityEvents
from cdc_consumer.grouping import Group, Grouping
from cdc_consumer.large_entities import LargeEntities
from cdc_consumer.mirrors import Mirrors
from cdc_consumer.plan import Plan
from cdc_consumer.printed import Printed
from cdc_consumer.render import Draft, Message, Place, Renderer, cause_json
from cdc_consumer.rereading import Log
from cdc_consumer.retries import Retries
from cdc_consumer.snapshots import Snapshots
from cdc_consumer.store import Store
from cdc_consumer.waves import Row
from wakestream import topics
from wakestream.ledger import Connection

CHUNK = 1000  # changes that one statement takes at most
AT_ONCE = 4000  # changes that are asked for before the first answer is looked at


class Batch:
    """Applies pieces in their order, inside the cycle's transaction, and gives their messages as they are known."""

    def __init__(
        self,
        connection: Connection,
        plan: Plan,
        renderer: Renderer,
        log: int,
        mark_key: bytes,
        records: Log,
        *,
        careful: bool,
    ) -> None:
        self._connection = connection
        self._records = records
        self._plan = plan
        self._source = plan.revision.source
        self._topic = topics.changes(self._source)
        self._render = renderer
        self._log = log
        self._mark_key = mark_key
        self._mirrors = Mirrors(connection, self._source, log, plan.tables)
        self._store = Store(connection, self._source, plan.tables, careful=careful)
        self._store.untrusted = self._mirrors.untrusted()
        self._printed = Printed(plan.tables)
        shown = partial(self._changes, cause="null", first_seq=1)
        self._snapshots = Snapshots(plan.tables, self._mirrors, self._store, self._printed, renderer, records, shown)
        self._entities = EntityEvents(connection, plan.entities, self._store, renderer, self._topic)
        self._grouping = Grouping(plan.entities, connection, self._store)
        self._retries = Retries(connection, plan, self._store, self._mirrors, renderer, self._topic)

    def ask(self, pieces: Sequence[Piece]) -> Iterator[Message] | None:
        """The events of pieces that the ledger is at work on when this returns; the next ones may be asked meanwhile.

        None for pieces whose events have to be worked out while they are applied, and where there are too many.
        """
        if not all(self._manner(piece) == "together" for piece in pieces):
            return None
        turned = [self._printed.turn(piece) for piece in pieces]
        changes = [change for piece in turned for change in piece.changes]
        if len(changes) > AT_ONCE:
            return None
        asked = [self._ask(chunk) for chunk in waves.parts(changes, CHUNK)]
        return self._told(turned, (row for take in asked for row in take()))

    def messages(self, pieces: Sequence[Piece]) -> Iterator[Message]:
        """The events of these pieces, in order."""
        touching = any(change.table in self._plan.watched for piece in pieces for change in piece.changes)
        manner_of = partial(self._manner, touching=touching)
        for manner, group in groupby(map(self._printed.turn, pieces), key=manner_of):
            if manner == "together":
                yield from self._together(list(group))
            elif manner == "joined":
                yield from self._joined(list(group))
            elif manner == "held":
                self._mirrors.hold(self._store, [change for piece in group for change in piece.changes])
            elif manner == "sifted":
                yield from self._sifted(list(group))
            elif manner == "large":
                for piece in group:
                    yield from self._large(piece)
            else:
                for piece in group:
                    drafts = self._snapshots.notice(piece) if piece.kind == "notice" else self._alone(piece)
                    yield from self._render.place_all(drafts)

    def _manner(
        self, piece: Piece, *, touching: bool = False
    ) -> Literal["together", "joined", "alone", "held", "sifted", "large"]:
        """How a piece is applied; `touching` says that others beside it touch documents."""
        if piece.large is not None:
            return "large"
        if piece.kind == "snapshot" and all(change.table in self._plan.tables for change in piece.changes):
            if all(self._mirrors.holds(change.table) for change in piece.changes):
                return "held"
            if any(self._mirrors.tells(change.table) for change in piece.changes):
                return "sifted"
        alone = self._stands_alone(piece)
        if (alone or touching) and self._may_join(piece):
            return "joined"
        return "alone" if alone else "together"

    def _may_join(self, piece: Piece) -> bool:
        """Whether a piece is a transaction of known rows, of tables that no snapshot reads."""
        return (
            piece.kind == "transaction"
            and not piece.reason
            and all(
                change.op != "t" and change.table in self._plan.tables and self._mirrors.reading(change.table) is None
                for change in piece.changes
            )
        )

    def _stands_alone(self, piece: Piece) -> bool:
        """Whether a piece's events depend on more than the images of its rows."""
        if piece.kind not in ("transaction", "snapshot") or piece.reason:
            return True
        for change in piece.changes:
            reading = self._mirrors.reading(change.table) if change.table in self._plan.tables else "again"
            if reading == "again" or (reading is not None and change.op == "t"):
                return True
            if reading is not None and piece.kind == "transaction" and self._mirrors.tracks(change.table):
                return True
            if change.table in self._plan.watched and piece.kind == "transaction":
                return True
        return False

    def _together(self, pieces: Sequence[Piece]) -> Iterator[Message]:
        """Pieces whose every change makes one event: applied in large sets, however many transactions they are."""
        return self._told(pieces, self._apply([change for piece in pieces for change in piece.changes]))

    def _sifted(self, pieces: Sequence[Piece]) -> Iterator[Message]:
        """Rows that a snapshot shows of an empty mirror: of those that the log has told of, only what they lack."""
        for label, group in groupby(pieces, key=lambda piece: piece.changes[0].table):
            listed = list(group)
            told = self._mirrors.told(self._store, label, [piece.changes[0] for piece in listed])
            self._mirrors.hold(self._store, [p.changes[0] for p, known in zip(listed, told, strict=True) if known])
            yield from self._together([piece for piece, known in zip(listed, told, strict=True) if not known])

    def _told(self, pieces: Sequence[Piece], rows: Iterator[Row]) -> Iterator[Message]:
        """The events of these, where each row makes one."""
        render = self._render.row
        for piece in pieces:
            place, cause = self._render.at(piece), self._cause(piece)
            of = len(piece.changes) + piece.clock
            for seq, change in enumerate(piece.changes, 1):
                row = next(rows)
                if change.op == "t" or row.error is not None:
                    yield self._row(place, row, cause, seq, of)
                else:
                    yield render(place, row, cause, seq, of)
            if piece.clock:
                yield self._render.clock(place, of, of)

    def _apply(self, changes: Sequence[Change]) -> Iterator[Row]:
        """What became of each change; the ledger is at work at once, and ahead of who takes the rows."""
        chunks = waves.parts(changes, CHUNK)
        return self._rows(self._ask(next(chunks, ())), chunks)

    def _rows(self, asked: Callable[[], list[Row]], chunks: Iterator[Sequence[Change]]) -> Iterator[Row]:
        for chunk in chunks:
            following = self._ask(chunk)
            yield from asked()
            asked = following
        yield from asked()

    def _ask(self, changes: Sequence[Change]) -> Callable[[], list[Row]]:
        asked = self._store.ask(changes)
        self._connection.send()
        return asked

    def _joined(self, pieces: Sequence[Piece]) -> Iterator[Message]:
        """Transactions that touch documents: as many as one as can be, so that nobody sees that they were."""
        at = 0
        while at < len(pieces):
            group = self._grouping.first(pieces[at : at + grouping.WINDOW])
            if group is not None:
                yield from self._as_one(group)
                at += len(group.pieces)
            elif self._stands_alone(pieces[at]):
                yield from self._render.place_all(self._alone(pieces[at]))
                at += 1
            else:
                plain = list(takewhile(lambda piece: not self._stands_alone(piece), islice(pieces, at, None)))
                yield from self._together(plain)
                at += len(plain)

    def _as_one(self, group: Group) -> Iterator[Message]:
        self._entities.before_group(group)
        changes = [change for piece in group.pieces for change in piece.changes]
        asked = [self._store.ask(chunk) for chunk in waves.parts(changes, CHUNK)]
        self._entities.ask_after()
        rows = enumerate([row for take in asked for row in take()])
        for number, piece in enumerate(group.pieces):
            place, cause = self._render.at(piece), self._cause(piece)
            own = list(islice(rows, len(piece.changes)))
            row_ids = {at: place.row_id(row.change.order, 0) for at, row in own}
            drafts: list[Draft] = [partial(self._row, place, row, cause) for _, row in own]
            drafts += self._entities.of_piece(number, piece, place, row_ids, cause)
            if piece.clock:
                drafts.append(partial(self._render.clock, place))
            yield from self._render.place_all(drafts)

    def _alone(self, piece: Piece) -> list[Draft]:
        if piece.kind == "broken":
            causes.letter(self._connection, self._topic, piece)
            return []
        if piece.kind == "control":
            return self._control(piece)
        cause = self._cause(piece)
        drafts = self._snapshots.open_gap(piece, piece.behind or sorted(self._plan.tables)) if piece.reason else []
        piece = self._without_unknown(piece)
        drafts += self._changes(piece, cause, first_seq=len(drafts) + 1)
        if piece.clock:
            drafts.append(partial(self._render.clock, self._render.at(piece)))
        return drafts

    def _changes(self, piece: Piece, cause: str, first_seq: int) -> list[Draft]:
        """Row events, then entity events, of one transaction or of what a snapshot found."""
        fresh = all(self._mirrors.reading(change.table) == "fresh" for change in piece.changes)
        with_entities = piece.kind == "transaction" or not fresh
        if with_entities:
            self._entities.before(piece)
        drafts: list[Draft] = []
        row_ids: dict[int, str] = {}
        place = self._render.at(piece)
        asked = [self._store.ask(chunk) for chunk in waves.parts(piece.changes, CHUNK)]
        if with_entities:
            self._entities.ask_after()
        rows = [row for take in asked for row in take()]
        self._note(rows)
        for number, row in enumerate(rows):
            if piece.kind == "snapshot" and not fresh and row.error is None and row.before == row.after:
                continue  # the store knew it
            row_ids[number] = place.row_id(row.change.order, first_seq + len(drafts))
            drafts.append(partial(self._row, place, row, cause))
        if with_entities:
            drafts += self._entities.after(piece, place, row_ids, cause)
        return drafts

    def _large(self, piece: Piece) -> Iterator[Message]:
        """The events of a transaction whose changes are read from the log again."""
        place, cause = self._render.at(piece), self._cause(piece)
        drafts = self._snapshots.open_gap(piece, piece.behind or sorted(self._plan.tables)) if piece.reason else []
        counts = piece.large.counts if piece.large else {}
        self._letter_unknown(piece, counts)
        rows = sum(number for label, number in counts.items() if label in self._plan.tables)
        entities, changed = None, 0
        if self._plan.watched & counts.keys():
            entities = LargeEntities(self._connection, self._plan.entities, self._store, piece, place, self._topic)
            for part in self._parts(piece):
                entities.find(part)
            entities.read_before()
            with large.undone(self._connection):
                for _ in self._apply_parts(piece):
                    pass
                changed = sum(1 for _ in entities.changes())
        of, places = len(drafts) + rows + changed + piece.clock, count(1)
        yield from (draft(next(places), of) for draft in drafts)
        for row in self._apply_parts(piece):
            yield self._row(place, row, cause, next(places), of)
        for change in entities.changes() if entities is not None else ():
            yield self._render.entity(place, change, cause, next(places), of)
        if piece.clock:
            yield self._render.clock(place, of, of)

    def _parts(self, piece: Piece) -> Iterator[list[Change]]:
        for part in large.parts(piece, self._records, self._plan.keyless):
            known = [change for change in part if change.table in self._plan.tables]
            yield self._printed.turn(dataclasses.replace(piece, changes=known)).changes

    def _apply_parts(self, piece: Piece) -> Iterator[Row]:
        for part in self._parts(piece):
            rows = list(self._apply(part))
            self._note(rows)
            yield from rows

    def _note(self, rows: Sequence[Row]) -> None:
        """Of tables that a snapshot reads, what the log has told itself."""
        keys: dict[str, list[str]] = {}
        for row in rows:
            label = row.plan.label
            if self._mirrors.reading(label) is None:
                continue
            if row.change.op == "t":
                self._mirrors.truncated(label)
                keys.pop(label, None)
            elif self._mirrors.tracks(label):
                keys.setdefault(label, []).append(row.key)
        for label, told in keys.items():
            self._mirrors.track(label, told)

    def _row(self, place: Place, row: Row, cause: str, seq: int, of: int) -> Message:
        if row.change.op == "t":
            return self._render.truncate(place, row, cause, seq, of)
        message = self._render.row(place, row, cause, seq, of)
        if row.error is not None:
            broken = Piece("broken", place.piece.offset, reason="unreadable value", detail=row.error)
            causes.letter(self._connection, self._topic, broken, subject=message.subject)
        return message

    def _cause(self, piece: Piece) -> str:
        if not piece.marks:
            return "null"
        key = self._mark_key
        return cause_json(causes.find_cause(self._connection, self._source, self._log, self._topic, key, piece))

    def _without_unknown(self, piece: Piece) -> Piece:
        """The piece without changes of tables that this revision does not capture; those become dead letters."""
        self._letter_unknown(piece, (change.table for change in piece.changes))
        known = [change for change in piece.changes if change.table in self._plan.tables]
        return dataclasses.replace(piece, changes=known)

    def _letter_unknown(self, piece: Piece, tables: Iterable[str]) -> None:
        for table in tables:
            if table not in self._plan.tables:
                broken = Piece("broken", piece.offset, reason="unknown table", detail=f"{table} is not captured")
                causes.letter(self._connection, self._topic, broken, subject=table)

    def _control(self, piece: Piece) -> list[Draft]:
        piece.ts_ms = piece.body["ts_ms"]
        if piece.body.get("kind") == "snapshot":
            return self._snapshots.settle(piece)
        if is_revision(piece):
            return []  # `process` has switched to it
        if piece.body.get("kind") == "letter":
            return self._retries.drafts(piece, self._snapshots.open_gap)
        if piece.body.get("kind") != "gap":
            piece.reason, piece.detail = "unknown control record", str(piece.body.get("kind"))
            causes.letter(self._connection, self._topic, piece)
            return []
        piece.reason = piece.body["reason"]
        return self._snapshots.open_gap(piece, list(piece.body["tables"] or self._plan.tables))
