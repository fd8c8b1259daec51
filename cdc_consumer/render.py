"""From what became of a piece to its context events: CloudEvents as text, put together around PostgreSQL's own JSON."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime

import msgspec

from cdc_consumer.collect import Piece
from cdc_consumer.tables import TablePlan
from cdc_consumer.unknown import WHOLE_ROW
from cdc_consumer.waves import NO_KEY, Row
from wakestream import events
from wakestream.events import Cause

_TYPES = {"c": "row.inserted", "u": "row.updated", "d": "row.deleted", "r": "row.read", "t": "table.truncated"}
_OPS = {"c": "insert", "u": "update", "d": "delete", "r": "read", "t": "truncate"}

_INTEGERS = {"int2", "int4", "int8"}

_fields = msgspec.json.Decoder(dict[str, msgspec.Raw])


def dumps(value: object) -> str:
    """Compact JSON of plain data."""
    return msgspec.json.encode(value).decode()


class Message(msgspec.Struct, gc=False):
    """One event for one partition, or for all of them."""

    subject: str
    value: str
    partition: int | None


Singles = dict[str, "Singles"]
"""To-one members by name, each with its own."""

Draft = Callable[[int, int], Message]
"""An event that waits for its place among those of its piece: `seq` from one, `of` in all."""


class Place:
    """What all events of one piece say alike, written once."""

    __slots__ = ("id", "lsn", "outside", "piece", "position", "row_tail", "snapshot", "time", "words")

    def __init__(self, source: str, log: int, piece: Piece) -> None:
        commit, tx = ("null", "null") if piece.commit is None else (str(piece.commit), str(piece.tx))
        self.piece = piece
        self.words: dict[tuple[str, str], tuple[str, str, str, str]] = {}
        self.id = f"{source}/{log}/r{piece.offset}" if piece.commit is None else f"{source}/{log}/{piece.commit}"
        self.snapshot = "true" if piece.commit is None else "false"
        self.time = iso(piece.ts_ms)
        self.position = f',"position":{{"log":{log},"offset":{piece.offset},"seq":'
        self.row_tail = f',"commit":{commit},"tx":{tx},"order":'
        self.outside = f'{self.row_tail}null,"lsn":null}}'
        self.lsn = "null"
        """Of all its rows, where they are outside of a transaction."""

    def row_id(self, order: int | None, seq: int) -> str:
        """The id of a row's event."""
        return f"{self.id}.{seq if self.piece.commit is None else order}"


class Renderer:
    """Writes the events of one source's pieces."""

    def __init__(self, source: str, log: int, partitions: int) -> None:
        self._source = source
        self._log = log
        self._partitions = partitions

    def at(self, piece: Piece) -> Place:
        """What the events of this piece share."""
        return Place(self._source, self._log, piece)

    @staticmethod
    def place_all(drafts: Sequence[Draft]) -> Iterator[Message]:
        """The events of one piece, each at its place."""
        of = len(drafts)
        for seq, draft in enumerate(drafts, 1):
            yield draft(seq, of)

    def row(self, place: Place, row: Row, cause: str, seq: int, of: int) -> Message:
        """The event of one row change."""
        change, said = row.change, _said(row.plan)
        op = change.op
        before = _withhold(row.before, row.missing_before) if row.missing_before else row.before
        after = _withhold(row.after, row.missing_after) if row.missing_after else row.after
        if not row.before_known:
            before = None
        certain = row.before_known and not row.missing_before and not row.missing_after and not said.lost
        missing = "[]" if certain else _missing(row, before)
        changed = "null" if op in "cd" or before is None or after is None else dumps(_changed(before, after))
        subject, quoted = said.subject(row.key)
        of_log = place.piece.commit is not None
        order, lsn = (change.order, change.lsn or "null") if of_log else ("null", place.lsn)
        identifier = change.order if of_log else seq
        words = place.words.get((said.label, op)) or said.words(place, op)
        value = (
            f'{words[0]}{identifier}{words[1]}{quoted}{words[2]}{row.key},"before":{before or "null"}'
            f',"after":{after or "null"},"changed":{changed},"missing":{missing}{words[3]}{seq},"of":{of}'
            f'{place.row_tail}{order},"lsn":{lsn}}},"snapshot":{place.snapshot},"cause":{cause}}}}}'
        )
        return Message(subject, value, events.partition_of(subject, self._partitions))

    def truncate(self, place: Place, row: Row, cause: str, seq: int, of: int) -> Message:
        """The event of a truncate, for every partition."""
        label, change = row.plan.label, row.change
        value = (
            self._head(place, place.row_id(change.order, seq), "table.truncated", label, label)
            + '"op":"truncate","key":null,"before":null,"after":null,"changed":null,"missing":[],"untrusted":[]'
            f'{place.position}{seq},"of":{of}{place.row_tail}{change.order or "null"},"lsn":{change.lsn or "null"}}}'
            f',"snapshot":false,"cause":{cause}}}}}'
        )
        return Message(label, value, None)

    def entity(self, place: Place, event: EntityChange, cause: str, seq: int, of: int) -> Message:
        """The event of one entity that a piece changed."""
        before, after = event.before, event.after
        known = before is not None and after is not None
        changed = changed_paths(before or "", after or "", event.singles) if known else None
        identifier = place.id if place.piece.commit is not None else f"{place.id}.{seq}"
        value = (
            self._head(place, f"{identifier}/{event.subject}", "entity.changed", event.subject, event.entity)
            + f'"entity":{dumps(event.entity)},"key":{event.key},"before":{before or "null"},"after":{after or "null"}'
            f',"changed":{dumps(changed)},"rows":{dumps(event.rows)},"missing":{dumps(event.missing)}'
            f',"untrusted":{dumps(event.untrusted)}{place.position}{seq},"of":{of}{place.outside}'
            f',"snapshot":{place.snapshot},"cause":{cause}}}}}'
        )
        return Message(event.subject, value, events.partition_of(event.subject, self._partitions))

    def clock(self, place: Place, seq: int, of: int) -> Message:
        """The source's time at this position, for every partition."""
        subject = f"{self._source}/clock"
        identifier = f"{self._source}/{self._log}/clock/{place.piece.commit}"
        head = self._head(place, identifier, "context.clock", subject)
        return Message(subject, f'{head}{place.position[1:]}{seq},"of":{of}{place.outside}}}}}', None)

    def gap(
        self, place: Place, number: int, state: str, tables: Sequence[str], reason: str, seq: int, of: int
    ) -> Message:
        """A stretch that may be missing begins to be known, or is closed; for every partition."""
        subject = f"{self._source}/gap"
        value = (
            self._head(place, f"{self._source}/{self._log}/gap/{number}/{state}", "context.gap", subject)
            + f'"number":{number},"state":"{state}","tables":{dumps(tables)},"reason":{dumps(reason)}'
            f'{place.position}{seq},"of":{of}{place.outside}}}}}'
        )
        return Message(subject, value, None)

    def _head(self, place: Place, identifier: str, kind: str, subject: str, table: str = "") -> str:
        source = f"wake://{self._source}/{table}" if table else f"wake://{self._source}"
        return (
            f'{{"specversion":"1.0","id":{dumps(identifier)},"source":{dumps(source)},"type":"{kind}"'
            f',"subject":{dumps(subject)},"time":"{place.time}","data":{{'
        )


@dataclasses.dataclass(frozen=True, slots=True)
class EntityChange:
    """What became of one entity."""

    entity: str
    subject: str
    key: str
    before: str | None
    after: str | None
    rows: Sequence[str]
    missing: Sequence[str]
    untrusted: Sequence[str]
    singles: Singles
    """Its to-one members, each with its own."""


class _Said:
    """What every event of one table says alike."""

    __slots__ = ("_number", "_prefix", "_quoted", "label", "lost", "source", "untrusted")

    def __init__(self, plan: TablePlan) -> None:
        self._prefix = self.label = plan.label
        self._quoted = dumps(plan.label)[:-1]
        self.lost = plan.lost
        self.source = f',"source":{dumps(f"wake://{plan.source}/{plan.label}")}'
        self.untrusted = dumps(plan.untrusted)
        key = plan.key_columns
        # A key of one integer reads `{"id":7}`: its subject is cut out, not parsed.
        self._number = f"{{{dumps(key[0].name)}:" if len(key) == 1 and key[0].base in _INTEGERS else None

    def words(self, place: Place, op: str) -> tuple[str, str, str, str]:
        """What stands between the values of every event of one piece, table and operation."""
        words = place.words[self.label, op] = (
            f'{{"specversion":"1.0","id":"{place.id}.',
            f'"{self.source},"type":"{_TYPES[op]}","subject":',
            f',"time":"{place.time}","data":{{"op":"{_OPS[op]}","key":',
            f',"untrusted":{self.untrusted}{place.position}',
        )
        return words

    def subject(self, key: str) -> tuple[str, str]:
        if key == NO_KEY:
            return self._prefix, f'{self._quoted}"'
        if self._number is not None and key.startswith(self._number):
            number = key[len(self._number) : -1]
            return f"{self._prefix}/{number}", f'{self._quoted}/{number}"'
        subject = events.subject(self._prefix, events.spelt(key))
        return subject, dumps(subject)


@functools.lru_cache(maxsize=1000)
def _said(plan: TablePlan) -> _Said:
    return _Said(plan)


def iso(ts_ms: int) -> str:
    """Milliseconds since 1970 as an ISO time in UTC."""
    moment = datetime.fromtimestamp(ts_ms / 1000, UTC)
    return moment.strftime("%Y-%m-%dT%H:%M:%S.") + f"{ts_ms % 1000:03d}Z"


def cause_json(cause: Cause | None) -> str:
    """A cause as it stands in events."""
    return dumps(cause)


def changed_paths(before: str, after: str, singles: Singles) -> list[str]:
    """Paths at which two documents differ; inside a to-one member by its columns, a list as a whole."""
    old, new = _fields.decode(before), _fields.decode(after)
    names = [*old, *(name for name in new if name not in old)]
    return sorted(path for name in names for path in _differing(name, old, new, singles))


def _differing(name: str, old: dict[str, msgspec.Raw], new: dict[str, msgspec.Raw], singles: Singles) -> Iterator[str]:
    left, right = bytes(old.get(name, b"")), bytes(new.get(name, b""))
    if left == right:
        return
    if name not in singles or not left.startswith(b"{") or not right.startswith(b"{"):
        yield name
        return
    old, new = _fields.decode(left), _fields.decode(right)
    for inner in new.keys() & old.keys():
        for path in _differing(inner, old, new, singles[name]):
            yield f"{name}.{path}"


def _changed(before: str, after: str) -> list[str]:
    old, new = _fields.decode(before), _fields.decode(after)
    return [name for name, value in new.items() if name in old and bytes(old[name]) != bytes(value)]


def _withhold(image: str | None, missing: frozenset[str]) -> str | None:
    if image is None:
        return None
    fields = _fields.decode(image)
    return dumps({name: value for name, value in fields.items() if name not in missing})


def _missing(row: Row, before: str | None) -> str:
    """The paths that the event cannot tell, as JSON."""
    lost = row.plan.lost
    if row.before_known and not lost and not row.missing_before and not row.missing_after:
        return "[]"
    paths = [] if row.before_known else ["before"]
    if before is not None:
        paths += [f"before.{name}" for name in (*lost, *sorted(row.missing_before))]
    if row.change.op != "d":
        gone = row.after is None or WHOLE_ROW in row.missing_after
        paths += ["after"] if gone else [f"after.{name}" for name in (*lost, *sorted(row.missing_after))]
    return dumps(paths)
