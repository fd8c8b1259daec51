"""Messages as Debezium writes them into a change log, for logs that no Debezium wrote."""

from __future__ import annotations

import base64
import json
from collections.abc import Sequence
from typing import Any

from confluent_kafka import KafkaError

from tests.harness.replay import Record
from wakestream import change_log

Fields = dict[str, Any]

SCHEMA = "public"
TS_MS = 1_795_363_190_994
LATER = TS_MS + 3_600_000


class Stored:
    """One message of a log as Kafka's client gives it."""

    def __init__(self, offset: int, key: bytes | None, value: bytes | None) -> None:
        self._parts = offset, key, value

    def offset(self) -> int:
        return self._parts[0]

    def key(self) -> bytes | None:
        return self._parts[1]

    def value(self) -> bytes | None:
        return self._parts[2]

    def error(self) -> KafkaError | None:
        return None


class LogWriter:
    """Writes a change log record by record; offsets, transaction ids and LSNs rise by themselves."""

    def __init__(self, *, tx: int = 700) -> None:
        self.records: list[Record] = []
        self._tx = tx
        self._lsn = 1000
        self.snapshot_id = f"{change_log.WHOLE}1"

    def raw(self, key: bytes | None, value: bytes | None) -> None:
        self.records.append((len(self.records), key, value))

    def transaction(self, *changes: Fields) -> int:
        """BEGIN, these changes, END; returns END's LSN."""
        tx = self.next_tx()
        self.begin(tx)
        for order, change in enumerate(changes, 1):
            self.change(tx, order, change)
        return self.end(tx, len(changes))

    def next_tx(self) -> int:
        self._tx = (self._tx + 1) % 2**32
        return self._tx

    def begin(self, tx: int) -> None:
        identifier = f"{tx}:{self._next_lsn()}"
        self._put({"id": identifier}, {"status": "BEGIN", "id": identifier, "event_count": None, "ts_ms": TS_MS})

    def change(self, tx: int, order: int, change: Fields) -> None:
        """One change of a transaction, made by `insert`, `update`, `delete`, `truncate` or `message`."""
        body: Fields = {
            **change,
            "transaction": {"id": f"{tx}:1", "total_order": order, "data_collection_order": order},
        }
        key: Any = body.pop("key")
        lsn = body.pop("lsn", None) or self._next_lsn()
        body["source"] = {**body["source"], "lsn": lsn, "txId": tx}
        self._put(key, body)

    def end(self, tx: int, count: int, *, lsn: int | None = None, tables: dict[str, int] | None = None) -> int:
        """END, with the number of changes in all and, where that matters, by table."""
        lsn = lsn or self._next_lsn()
        identifier = f"{tx}:{lsn}"
        listed = [{"data_collection": f"{SCHEMA}.{name}", "event_count": n} for name, n in (tables or {}).items()]
        body = {"status": "END", "id": identifier, "event_count": count, "data_collections": listed or None}
        self._put({"id": identifier}, {**body, "ts_ms": TS_MS})
        return lsn

    def snapshot(self, tables: Sequence[str], rows: Sequence[Fields], *, kind: str = "Initial Snapshot") -> None:
        """A whole snapshot with its notifications; an incremental one is settled too."""
        labels = ",".join(f"{SCHEMA}.{table}" for table in tables)
        self.notice("STARTED", kind, data_collections=labels)
        for row in rows:
            self.read(row)
        self.notice("COMPLETED", kind, data_collections=labels)
        if kind == "Incremental Snapshot":
            self.settle()

    def settle(self, ended: int | None = None) -> None:
        """The control record behind an incremental snapshot, by default one that ended with the newest record."""
        newest = len(self.records) - 1
        control = change_log.Control(ended=newest if ended is None else ended, ts_ms=TS_MS)
        self.raw(change_log.key("snapshot"), change_log.encode(control))

    def retry(self, letter: int) -> None:
        """The control record with which a dead letter is tried again."""
        control = change_log.Control(letter=letter, ts_ms=TS_MS)
        self.raw(change_log.key("letter"), change_log.encode(control))

    def read(self, row: Fields) -> None:
        """One row of a snapshot, made by `insert`."""
        body: Fields = {**row, "op": "r", "transaction": None}
        key: Any = body.pop("key")
        self._put(key, body)

    def notice(self, kind: str, aggregate: str, *, ts_ms: int = LATER, **data: str) -> None:
        """What Debezium tells of a snapshot: by default long after everything else in the log."""
        body = {
            "id": self.snapshot_id,
            "type": kind,
            "aggregate_type": aggregate,
            "additional_data": data,
            "timestamp": ts_ms,
        }
        self._put({"id": self.snapshot_id}, body)

    def _put(self, key: Fields | None, body: Fields) -> None:
        self.raw(None if key is None else _dump(key), _dump(body))

    def _next_lsn(self) -> int:
        self._lsn += 8
        return self._lsn


def insert(table: str, key: Fields, after: Fields) -> Fields:
    return _change("c", table, key, {**key, **after})


def update(table: str, key: Fields, after: Fields) -> Fields:
    return _change("u", table, key, {**key, **after})


def delete(table: str, key: Fields) -> Fields:
    return _change("d", table, key, None)


def keyless(op: str, table: str, before: Fields | None, after: Fields | None, *, key: Fields | None = None) -> Fields:
    """A change of a table without primary key and with whole old rows; `key` is of its unique index, if it has one."""
    return {**_change(op, table, key, after), "before": before}


def truncate(table: str) -> Fields:
    return _change("t", table, None, None)


def move(table: str, old: Fields, new: Fields, after: Fields, *, lsn: int) -> tuple[Fields, Fields]:
    """A change of the key: a delete and an insert at one place of the source's log."""
    return {**delete(table, old), "lsn": lsn}, {**insert(table, new, after), "lsn": lsn}


def message(prefix: str, content: bytes) -> Fields:
    """A logical message."""
    return {
        "op": "m",
        "key": {"prefix": prefix},
        "ts_ms": TS_MS,
        "source": {"schema": "", "table": "", "ts_ms": TS_MS},
        "message": {"prefix": prefix, "content": base64.b64encode(content).decode()},
    }


def clock() -> Fields:
    return message("wake.clock", b"")


def _change(op: str, table: str, key: Fields | None, after: Fields | None) -> Fields:
    return {
        "op": op,
        "key": key,
        "before": None,
        "after": after,
        "ts_ms": TS_MS,
        "source": {"schema": SCHEMA, "table": table, "ts_ms": TS_MS},
    }


def _dump(value: Any) -> bytes:
    """As Jackson does: compact, and what is not ASCII in upper-case escapes where it has to be escaped."""
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode()
