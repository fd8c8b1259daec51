"""What of a change log is read again for a letter, over logs that were put together here."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any, cast

import pytest

from cdc_consumer import decode
from console import rereading
from console.rereading import Place
from tests.harness.debezium import LogWriter, Stored, insert, update
from wakestream.config.models import Kafka
from wakestream.errors import RefusedError

KAFKA = Kafka(bootstrap_servers="nowhere:1")
NOW = datetime(2026, 11, 22, tzinfo=UTC)


class Dated(Stored):
    """Stored at `NOW`."""

    def timestamp(self) -> tuple[int, int]:
        return 1, int(NOW.timestamp() * 1000)


def kept(monkeypatch: pytest.MonkeyPatch, log: LogWriter, low: int = 0) -> list[int]:
    """Kafka has this log from an offset on; returns where each reading will have begun."""
    begun: list[int] = []

    def records(_: Kafka, place: Place, first: int) -> Iterator[Any]:
        begun.append(first)
        if first < low:
            raise RefusedError("gone")
        yield from (Dated(*record) for record in log.records[first : place.offset + 1])

    monkeypatch.setattr(rereading, "_records", records)
    monkeypatch.setattr(rereading, "_low", lambda *_: low)
    return begun


def place(log: LogWriter) -> Place:
    """Of the newest record."""
    return Place("airline.changes", 0, len(log.records) - 1)


def transaction(at: Place, written: datetime = NOW) -> list[tuple[str, bytes]] | None:
    changes = rereading.transaction(KAFKA, at, written, ())
    return None if changes is None else [(change.table, change.key) for change in changes]


def test_a_transaction_is_looked_for_further_and_further_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rereading, "NEAREST", 2)
    log = LogWriter()
    for number in range(10):
        log.transaction(insert("flight", {"id": number}, {}))
    log.transaction(*(update("flight", {"id": number}, {}) for number in range(5)))
    begun = kept(monkeypatch, log)
    assert transaction(place(log)) == [("public.flight", b'{"id":%d}' % number) for number in range(5)]
    assert begun == [34, 20]


def test_what_retention_has_cut_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    log = LogWriter()
    log.transaction(*(update("flight", {"id": number}, {}) for number in range(5)))
    kept(monkeypatch, log, low=3)
    with pytest.raises(RefusedError, match=r"Kafka no longer has airline.changes\[0\] at 6: retention has deleted it"):
        transaction(place(log))


def test_what_stands_there_is_no_transaction_or_another(monkeypatch: pytest.MonkeyPatch) -> None:
    log = LogWriter()
    log.transaction(update("flight", {"id": 1}, {}))
    kept(monkeypatch, log)
    assert transaction(place(log), NOW - timedelta(minutes=2)) is None
    assert transaction(place(log)) == [("public.flight", b'{"id":1}')]
    log.settle()
    assert transaction(place(log)) is None
    assert transaction(Place("airline.changes", 0, 1)) is None


def test_a_message_is_known_by_its_digest(monkeypatch: pytest.MonkeyPatch) -> None:
    log = LogWriter()
    log.raw(b"k", b"hello")
    kept(monkeypatch, log)
    assert rereading.message(KAFKA, place(log), decode.digest(b"hello")) == (b"k", b"hello")
    assert rereading.message(KAFKA, place(log), "") == (b"k", b"hello")
    with pytest.raises(RefusedError, match="another message stands in airline.changes"):
        rereading.message(KAFKA, place(log), decode.digest(b"other"))
    monkeypatch.setattr(rereading, "_records", lambda *_: iter(cast("list[Any]", [])))
    with pytest.raises(RefusedError, match="retention has deleted it"):
        rereading.message(KAFKA, place(log), "")
