"""From single messages to whole pieces: transactions, snapshot rows, notifications, control records.

Debezium sends a stretch again after a crash, also from the middle of a transaction. A transaction is therefore
collected by its id until END and folded by `total_order`; END's LSN tells whether it was applied before.

Transactions come one after another in the order of their commits. One that was begun, and behind whose last record
another stands whole that is new, has been passed over and never ends: its changes are lost (docs/decisions/0013).
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Collection
from typing import Any, Literal

import msgspec

from cdc_consumer import decode
from cdc_consumer.decode import Change, Envelope
from wakestream import change_log, marks
from wakestream.errors import EventError

INITIAL = "Initial Snapshot"
ENDED = 10_000  # transactions that are remembered, more than Debezium sends again
LARGEST = 20_000  # changes of one transaction that are kept in memory
LARGEST_SIZE = 16 * 1024**2  # bytes of their images

Kind = Literal["transaction", "snapshot", "notice", "control", "broken"]


@dataclasses.dataclass(frozen=True, slots=True)
class Large:
    """A transaction of which only this is kept in memory: its changes are read from the log again, part by part."""

    first_offset: int
    counts: dict[str, int]
    """How many changes of each `schema.table` arrived."""
    whole: bool
    """Whether every one of them arrived."""


@dataclasses.dataclass(slots=True)
class Piece:
    """What is applied as one, at the place of its last record."""

    kind: Kind
    offset: int
    ts_ms: int = 0
    commit: int | None = None
    """END's LSN."""
    tx: int | None = None
    changes: list[Change] = dataclasses.field(default_factory=list)
    marks: list[bytes] = dataclasses.field(default_factory=list)
    """The contents of its `wake` messages."""
    clock: bool = False
    body: dict[str, Any] = dataclasses.field(default_factory=dict)
    reason: str = ""
    """Why it is broken, or why changes of it are missing."""
    behind: list[str] = dataclasses.field(default_factory=list[str])
    """The tables whose changes are missing; empty when that is not known."""
    detail: str = ""
    digest: str = ""
    large: Large | None = None
    """Of a transaction whose changes are not here, since they are too many."""

    @property
    def rows(self) -> int:
        """How many changes it has."""
        return len(self.changes) if self.large is None else sum(self.large.counts.values())


def is_revision(piece: Piece) -> bool:
    """Whether another revision is in force from this piece on."""
    return piece.kind == "control" and piece.body["kind"] == "revision"


def is_border(piece: Piece) -> bool:
    """Whether what follows is read in another way: under another revision, or as another history."""
    return piece.kind == "control" and piece.body["kind"] in ("revision", "restored")


class _Open:
    """A transaction whose END has not come."""

    __slots__ = ("counts", "covered", "entries", "first_offset", "last_offset", "passed", "size", "up_to")

    def __init__(self, offset: int) -> None:
        self.first_offset = self.last_offset = offset
        self.covered = False
        """Whether a gap over all tables was declared, or a first snapshot began, since it did."""
        self.entries: dict[int, Change | tuple[str, bytes]] = {}
        self.size = 0
        """Bytes of the images that are kept in memory."""
        self.up_to: int | None = None
        """The highest place of an entry; None while they are kept in memory."""
        self.passed = 0
        """How many entries were only counted."""
        self.counts: Counter[str] = Counter()

    def add(self, order: int, entry: Change | tuple[str, bytes]) -> None:
        """Take an entry, or only count it where there are too many."""
        if self.up_to is None:
            self.entries[order] = entry
            if isinstance(entry, Change):
                self.size += len(entry.after or b"") + len(entry.before or b"")
            if len(self.entries) > LARGEST or self.size > LARGEST_SIZE:
                self._let_go()
        else:
            self._count(order, entry)

    @property
    def arrived(self) -> int:
        """How many entries have come, each once."""
        return len(self.entries) if self.up_to is None else self.passed

    def _let_go(self) -> None:
        entries, self.entries, self.up_to = sorted(self.entries.items()), {}, 0
        for order, entry in entries:
            self._count(order, entry)

    def _count(self, order: int, entry: Change | tuple[str, bytes]) -> None:
        """What is sent again is passed over."""
        if order <= (self.up_to or 0):
            return
        self.up_to = order
        self.passed += 1
        if isinstance(entry, Change):
            self.counts[entry.table] += 1
        elif entry[0] in (marks.CLOCK_PREFIX, marks.PREFIX):
            self.entries[order] = entry


class Collector:
    """Takes the log's messages in order and gives each piece when it is whole."""

    def __init__(self, applied: int | None = None, keyless: Collection[str] = ()) -> None:
        self._open: dict[str, _Open] = {}
        self.keyless = keyless
        """The tables without a primary key."""
        self.applied = applied
        """END's LSN of the last transaction that was given out."""
        self._ended: dict[str, None] = {}
        """The newest transactions that have ended: what comes of one again is known, whether END comes again or not."""

    def read_from(self, offset: int) -> int:
        """The first record that a restart must see, when everything up to `offset` is applied."""
        return min((each.first_offset for each in self._open.values()), default=offset + 1)

    def take(self, offset: int, key: bytes | None, value: bytes | None) -> Piece | None:
        """The piece that this message completes, or None. A transaction that was applied before makes none."""
        try:
            if key is not None and key.startswith(b'{"wake"'):
                body = _control(key, value)
                return self._control(Piece("control", offset, body=body, digest=decode.digest(value)))
            return self._take(offset, key, decode.decode(value))
        except EventError as error:
            return Piece("broken", offset, reason=error.reason, detail=error.detail, digest=decode.digest(value))

    def _take(self, offset: int, key: bytes | None, envelope: Envelope) -> Piece | None:
        if envelope.op is not None:
            return self._change(offset, key, envelope)
        if envelope.status == "BEGIN":
            self._open.setdefault(transaction_id(envelope.id), _Open(offset)).last_offset = offset
            return None
        if envelope.status == "END":
            return self._end(offset, envelope)
        if envelope.aggregate_type is not None:
            if (envelope.aggregate_type, envelope.type) == (INITIAL, "STARTED"):
                self._cover()
            said = {"id": envelope.id, "type": envelope.type, "aggregate": envelope.aggregate_type}
            body = {**(envelope.additional_data or {}), **said}
            return Piece("notice", offset, ts_ms=envelope.timestamp or 0, body=body)
        if key is not None and key.startswith(b'{"serverName"'):
            return None  # a heartbeat; the clock in the log says more
        raise EventError("unknown message", detail="neither a change nor a border, notification or heartbeat")

    def _change(self, offset: int, key: bytes | None, envelope: Envelope) -> Piece | None:
        block = envelope.transaction
        if block is None:
            change = decode.change_of(envelope, key, self.keyless)
            ts_ms = (envelope.source.ts_ms if envelope.source else None) or 0
            return Piece("snapshot", offset, ts_ms=ts_ms, changes=[change])
        opened = self._open.get(block.id.partition(":")[0])
        if opened is None:  # looked at closely only where it is new
            opened = self._open[transaction_id(block.id)] = _Open(offset)
        opened.last_offset = offset
        if envelope.op == "m":
            message = envelope.message
            if message is None:
                raise EventError("incomplete change", detail="a logical message without content")
            opened.add(block.total_order, (message.prefix, decode.content_of(message)))
        else:
            opened.add(block.total_order, decode.change_of(envelope, key, self.keyless))
        return None

    def _end(self, offset: int, envelope: Envelope) -> Piece | None:
        txid, commit = transaction_id(envelope.id), _lsn(envelope.id)
        collected = self._open.pop(txid, None)
        self._ended[txid] = None
        if len(self._ended) > ENDED:
            del self._ended[next(iter(self._ended))]
        if self.applied is not None and commit <= self.applied:
            return None
        self.applied = commit
        entries = collected.entries if collected else {}
        piece = Piece("transaction", offset, ts_ms=envelope.ts_ms or 0, commit=commit, tx=int(txid))
        for _, entry in sorted(entries.items()):
            if isinstance(entry, Change):
                piece.changes.append(entry)
            elif entry[0] == marks.CLOCK_PREFIX:
                piece.clock = True
            elif entry[0] == marks.PREFIX:
                piece.marks.append(entry[1])
        number = collected.arrived if collected else 0
        whole = envelope.event_count is None or number == envelope.event_count
        if collected is not None and collected.up_to is not None:
            piece.large = Large(collected.first_offset, dict(collected.counts), whole)
        if not whole:
            piece.reason = f"transaction {txid} has {envelope.event_count} changes, {number} of them arrived"
            arrived = piece.large.counts if piece.large else Counter(change.table for change in piece.changes)
            counts = decode.counts_of(envelope)
            piece.behind = sorted(label for label, count in counts.items() if count != arrived.get(label, 0))
        lost = self._passed_over(offset if collected is None else collected.first_offset)
        if lost:  # of which tables, only its END could have told
            piece.reason = "; ".join([*([piece.reason] if piece.reason else []), *lost])
            piece.behind = []
        return piece

    def _passed_over(self, begun: int) -> list[str]:
        """Forget the transactions all of which stands in front of one that began there; what is lost with them."""
        passed = {txid: each for txid, each in self._open.items() if each.last_offset < begun}
        for txid in passed:
            del self._open[txid]
        return [
            f"transaction {txid}, begun at offset {each.first_offset}, never ended"
            for txid, each in passed.items()
            if not each.covered and txid not in self._ended
        ]

    def _control(self, piece: Piece) -> Piece:
        if piece.body["kind"] == "restored" or (piece.body["kind"] == "gap" and piece.body["tables"] is None):
            self._cover()
        return piece

    def _cover(self) -> None:
        """Whatever may be missing of what is open now is known to be missing."""
        for each in self._open.values():
            each.covered = True


def transaction_id(identifier: str | None) -> str:
    """The transaction's id in an identifier of Debezium's. Raises `EventError` where there is none.

    The part before the colon: the LSN behind it may differ when a transaction is sent again.
    """
    number, colon, _ = (identifier or "").partition(":")
    if not colon or not number.isdigit():
        raise EventError("incomplete change", detail=f"no transaction id in {identifier!r}")
    return number


def _lsn(identifier: str | None) -> int:
    """The part behind the colon; in END's id it is the commit."""
    text = (identifier or "").partition(":")[2]
    if not text.isdigit():
        raise EventError("incomplete change", detail=f"no LSN in {identifier!r}")
    return int(text)


def _control(key: bytes, value: bytes | None) -> dict[str, Any]:
    try:
        kind = msgspec.json.decode(key)["wake"]
        return {**msgspec.structs.asdict(change_log.decode(value)), "kind": kind}
    except (msgspec.DecodeError, UnicodeDecodeError, TypeError, RecursionError) as error:
        raise EventError("broken control record", detail=str(error)) from error
