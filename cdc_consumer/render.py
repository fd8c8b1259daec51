"""From what became of a piece to its context events: CloudEvents as text, put together around PostgreSQL's own JSON."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime

import msgspec

from cdc_consumer.collect import Piece
from cdc_consumer.store import WHOLE_ROW, Row
from wakestream import events
from wakestream.events import Cause

_TYPES = {"c": "row.inserted", "u": "row.updated", "d": "row.deleted", "r": "row.read", "t": "table.truncated"}
_OPS = {"c": "insert", "u": "update", "d": "delete", "r": "read", "t": "truncate"}

_fields = msgspec.json.Decoder(dict[str, msgspec.Raw])
_keys = msgspec.json.Decoder(dict[str, object])


def dumps(value: object) -> str:
    """Compact JSON of plain data."""
    return msgspec.json.encode(value).decode()


@dataclasses.dataclass(slots=True)
class Draft:
    """An event without its place among the events of its piece."""

    subject: str
    head: str
    """The text up to the position's `seq`."""
    tail: str
    """The text from behind the position's `of`."""
    id: str
    broadcast: bool = False


@dataclasses.dataclass(slots=True)
class Message:
    """One event for one partition, or for all of them."""

    subject: str
    value: str
    partition: int | None


class Renderer:
    """Writes the events of one source's pieces."""

    def __init__(self, source: str, log: int, partitions: int) -> None:
        self._source = source
        self._log = log
        self._partitions = partitions

    def place(self, draft: Draft, seq: int, of: int) -> Message:
        """The event at its place among those of its piece."""
        head = draft.head.replace("{id}", draft.id.replace("{seq}", str(seq)), 1)
        partition = None if draft.broadcast else events.partition_of(draft.subject, self._partitions)
        return Message(draft.subject, f'{head}{seq},"of":{of},{draft.tail}', partition)

    def place_all(self, drafts: Sequence[Draft]) -> Iterator[Message]:
        """The events of one piece: `seq` from one, `of` in all."""
        for seq, draft in enumerate(drafts, 1):
            yield self.place(draft, seq, len(drafts))

    def row(self, piece: Piece, row: Row, cause: str) -> Draft:
        """The event of one row change."""
        change, plan = row.change, row.plan
        before, after = row.before, row.after
        missing: list[str] = []
        before = _withhold(before, row.missing_before)
        after = _withhold(after, row.missing_after)
        if not row.before_known:
            before = None
            missing.append("before")
        if before is not None:
            missing += [f"before.{name}" for name in (*plan.lost, *sorted(row.missing_before))]
        if change.op != "d":
            missing += _missing_after(row)
        changed = _changed(before, after) if change.op in ("u", "r") else None
        key = row.key
        subject = events.subject(plan.label, _keys.decode(key))
        order = piece.commit is not None
        return Draft(
            subject=subject,
            id=self._row_id(piece, change.order),
            head=self._head(piece, plan.label, _TYPES[change.op], subject)
            + f'"op":"{_OPS[change.op]}","key":{key},"before":{before or "null"},"after":{after or "null"}'
            f',"changed":{dumps(changed)},"missing":{dumps(missing)},"untrusted":{dumps(plan.untrusted)}'
            + self._position(piece),
            tail=f'"commit":{piece.commit if order else "null"},"tx":{piece.tx if order else "null"}'
            f',"order":{change.order if order else "null"},"lsn":{change.lsn if order and change.lsn else "null"}}}'
            f',"snapshot":{"false" if order else "true"},"cause":{cause}}}}}',
        )

    def truncate(self, piece: Piece, label: str, order: int | None, lsn: int | None, cause: str) -> Draft:
        """The event of a truncate, for every partition."""
        return Draft(
            subject=label,
            id=self._row_id(piece, order),
            head=self._head(piece, label, "table.truncated", label)
            + '"op":"truncate","key":null,"before":null,"after":null,"changed":null,"missing":[],"untrusted":[]'
            + self._position(piece),
            tail=f'"commit":{piece.commit},"tx":{piece.tx},"order":{order},"lsn":{lsn if lsn else "null"}}}'
            f',"snapshot":false,"cause":{cause}}}}}',
            broadcast=True,
        )

    def entity(
        self,
        piece: Piece,
        name: str,
        *,
        subject: str,
        key: str,
        before: str | None,
        after: str | None,
        rows: Sequence[str],
        missing: Sequence[str],
        untrusted: Sequence[str],
        cause: str,
    ) -> Draft:
        """The event of one entity that a piece changed."""
        known = "before" not in missing
        changed = changed_paths(before, after) if known and before is not None and after is not None else None
        place = piece.commit if piece.commit is not None else f"r{piece.offset}.{{seq}}"
        return Draft(
            subject=subject,
            id=f"{self._source}/{self._log}/{place}/{subject}",
            head=self._head(piece, name, "entity.changed", subject)
            + f'"entity":"{name}","key":{key},"before":{before or "null"},"after":{after or "null"}'
            f',"changed":{dumps(changed)},"rows":{dumps(rows)},"missing":{dumps(missing)}'
            f',"untrusted":{dumps(untrusted)}' + self._position(piece),
            tail=self._outside_rows(piece) + f',"snapshot":{dumps(piece.commit is None)},"cause":{cause}}}}}',
        )

    def clock(self, piece: Piece) -> Draft:
        """The source's time at this position, for every partition."""
        return Draft(
            subject=f"{self._source}/clock",
            id=f"{self._source}/{self._log}/clock/{piece.commit}",
            head=self._head(piece, "", "context.clock", f"{self._source}/clock") + self._position(piece)[1:],
            tail=self._outside_rows(piece) + "}}",
            broadcast=True,
        )

    def gap(self, piece: Piece, number: int, state: str, tables: Sequence[str], reason: str) -> Draft:
        """A stretch that may be missing begins to be known, or is closed; for every partition."""
        return Draft(
            subject=f"{self._source}/gap",
            id=f"{self._source}/{self._log}/gap/{number}/{state}",
            head=self._head(piece, "", "context.gap", f"{self._source}/gap")
            + f'"number":{number},"state":"{state}","tables":{dumps(tables)},"reason":{dumps(reason)}'
            + self._position(piece),
            tail=self._outside_rows(piece) + "}}",
            broadcast=True,
        )

    def row_id(self, piece: Piece, order: int | None, seq: int) -> str:
        """The id that a row's event has or will have."""
        return self._row_id(piece, order).replace("{seq}", str(seq))

    def _row_id(self, piece: Piece, order: int | None) -> str:
        if piece.commit is None:
            return f"{self._source}/{self._log}/r{piece.offset}.{{seq}}"
        return f"{self._source}/{self._log}/{piece.commit}.{order}"

    def _head(self, piece: Piece, table: str, kind: str, subject: str) -> str:
        source = f"wake://{self._source}/{table}" if table else f"wake://{self._source}"
        return (
            f'{{"specversion":"1.0","id":"{{id}}","source":{dumps(source)},"type":"{kind}","subject":{dumps(subject)}'
            f',"time":"{iso(piece.ts_ms)}","data":{{'
        )

    def _position(self, piece: Piece) -> str:
        return f',"position":{{"log":{self._log},"offset":{piece.offset},"seq":'

    @staticmethod
    def _outside_rows(piece: Piece) -> str:
        commit, tx = (dumps(piece.commit), dumps(piece.tx))
        return f'"commit":{commit},"tx":{tx},"order":null,"lsn":null}}'


def iso(ts_ms: int) -> str:
    """Milliseconds since 1970 as an ISO time in UTC."""
    moment = datetime.fromtimestamp(ts_ms / 1000, UTC)
    return moment.strftime("%Y-%m-%dT%H:%M:%S.") + f"{ts_ms % 1000:03d}Z"


def cause_json(cause: Cause | None) -> str:
    """A cause as it stands in events."""
    return dumps(cause)


def changed_paths(before: str, after: str) -> list[str]:
    """Paths at which two documents differ; inside a to-one member by its columns, a list as a whole."""
    old, new = _fields.decode(before), _fields.decode(after)
    paths: list[str] = []
    for name in [*old, *(name for name in new if name not in old)]:
        left, right = bytes(old.get(name, b"")), bytes(new.get(name, b""))
        if left == right:
            continue
        if left.startswith(b"{") and right.startswith(b"{"):
            paths += [f"{name}.{inner}" for inner in _changed(left.decode(), right.decode()) or ()]
        else:
            paths.append(name)
    return sorted(paths)


def _changed(before: str | None, after: str | None) -> list[str] | None:
    if before is None or after is None:
        return None
    old, new = _fields.decode(before), _fields.decode(after)
    return [name for name, value in new.items() if name in old and bytes(old[name]) != bytes(value)]


def _withhold(image: str | None, missing: frozenset[str]) -> str | None:
    if image is None or not missing:
        return image
    fields = _fields.decode(image)
    return dumps({name: value for name, value in fields.items() if name not in missing})


def _missing_after(row: Row) -> list[str]:
    if row.after is None or WHOLE_ROW in row.missing_after:
        return ["after"]
    return [f"after.{name}" for name in (*row.plan.lost, *sorted(row.missing_after))]
