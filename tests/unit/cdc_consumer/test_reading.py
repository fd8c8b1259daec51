from __future__ import annotations

from typing import Any

import pytest
from confluent_kafka import KafkaError
from hypothesis import given
from hypothesis import strategies as st

from cdc_consumer import collect, reading
from cdc_consumer.collect import Collector, Piece
from cdc_consumer.position import Position
from cdc_consumer.reading import Read, Reading
from tests.harness.debezium import LogWriter, Stored, clock, insert
from wakestream import change_log
from wakestream.change_log import Control
from wakestream.errors import TransientError


class Lost(Stored):
    """What is said where the log no longer has what was to be read next."""

    def error(self) -> KafkaError | None:
        return KafkaError(KafkaError._AUTO_OFFSET_RESET)


class Log:
    """A consumer over a log that is there whole."""

    def __init__(self, records: list[Any]) -> None:
        self._records = records
        self._next = 0

    def assign(self, places: list[Any]) -> None:
        self._next = places[0].offset

    def poll(self, _: float) -> Any:
        return next(iter(self.consume(1, 0)), None)

    def consume(self, count: int, _: float) -> list[Any]:
        found = self._records[self._next : self._next + count]
        self._next += len(found)
        return found

    def get_watermark_offsets(self, *_: object, **__: object) -> tuple[int, int]:
        return 0, len(self._records)


def written(log: LogWriter) -> list[Stored]:
    return [Stored(*record) for record in log.records]


def begin(records: list[Stored], *, offset: int = -1, commit: int | None = None, read_from: int = 0) -> Reading:
    at = Position(1, "", "", 1, offset, commit, read_from, 1, 1)
    return Reading(Log(records), "shop", at, ())  # type: ignore[arg-type]


def seen(piece: Piece) -> tuple[object, ...]:
    return piece.kind, piece.offset, piece.commit, piece.reason, tuple(change.key for change in piece.changes)


def of(read: Read) -> list[tuple[object, ...]]:
    return [seen(piece) for piece in [*read.pieces, *([read.border] if read.border else [])]]


def everything(records: list[Stored], **start: Any) -> list[tuple[object, ...]]:
    """What one look after another finds."""
    looking = begin(records, **start)
    found: list[tuple[object, ...]] = []
    last = None
    while (read := looking.read(0.0)).last != last:
        last = read.last
        found += of(read)
    return found


@st.composite
def logs(draw: st.DrawFn) -> list[Stored]:
    """Interleaved transactions, stretches that are sent again, snapshot rows and borders."""
    log = LogWriter(tx=100)
    for step in draw(st.lists(st.sampled_from(["one", "two", "again", "read", "border", "clock"]), max_size=25)):
        if step == "one":
            log.transaction(*(insert("flight", {"id": number}, {}) for number in range(draw(st.integers(0, 4)))))
        elif step == "two":
            outer, inner = log.next_tx(), log.next_tx()
            log.begin(outer)
            log.change(outer, 1, insert("flight", {"id": 1}, {}))
            log.read(insert("flight", {"id": 5}, {}))
            log.begin(inner)
            log.change(inner, 1, insert("flight", {"id": 2}, {}))
            log.end(inner, 1)
            log.end(outer, 1)
        elif step == "again":
            tx = log.next_tx()
            for _ in range(2):
                log.begin(tx)
                log.change(tx, 1, insert("flight", {"id": 3}, {}))
            log.end(tx, 1)
        elif step == "read":
            log.read(insert("flight", {"id": 4}, {}))
        elif step == "border":
            log.raw(change_log.key("revision"), change_log.encode(Control(revision="r", ts_ms=1)))
        else:
            log.transaction(clock())
    return written(log)


@given(logs(), st.data())
def test_who_restarts_behind_any_read_finds_the_rest(records: list[Stored], data: st.DataObject) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(reading, "BATCH", data.draw(st.integers(1, 8)))
        patch.setattr(reading, "READ_AT_ONCE", data.draw(st.integers(1, 4)))
        collector = Collector()
        taken = [collector.take(each.offset(), each.key(), each.value()) for each in records]
        whole = [seen(piece) for piece in taken if piece is not None]
        looking, found = begin(records), list[tuple[object, ...]]()
        while len(found) < len(whole):
            if data.draw(st.booleans()):
                looking.read_on(lambda: data.draw(st.booleans()))
            read = looking.read(0.0)
            found += of(read)
            assert found == whole[: len(found)]
            if read.pieces:  # committed, and the border behind them is not
                behind = len(found) - (read.border is not None)
                at = {"offset": read.pieces[-1].offset, "commit": read.commit, "read_from": read.read_from}
                assert everything(records, **at) == whole[behind:]
            if read.border is not None:
                at = {"offset": read.border.offset, "commit": read.commit, "read_from": looking.behind(read.border)}
                assert everything(records, **at) == whole[len(found) :]


def test_only_who_is_behind_reads_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "BATCH", 6)
    monkeypatch.setattr(reading, "READ_AT_ONCE", 1)
    log = LogWriter()
    for number in range(4):
        log.transaction(insert("flight", {"id": number}, {}))  # three records each
    looking = begin(written(log))
    looking.read_on(lambda: False)
    assert len(looking.read(0.0).pieces) == 2
    looking.read_on(lambda: True)
    assert looking.is_behind
    looking.read_on(lambda: False)
    read = looking.read(0.0)
    assert ([piece.offset for piece in read.pieces], read.read_from) == ([8, 11], 12)
    assert (looking.read(0.0).pieces, looking.is_behind) == ([], False)


def test_no_more_is_read_on_than_a_cycle_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "BATCH", 3)
    monkeypatch.setattr(reading, "READ_AT_ONCE", 1)
    log = LogWriter()
    for number in range(reading.READ_ON + 5):
        log.transaction(insert("flight", {"id": number}, {}))
    records = written(log)
    looking = begin(records)
    looking.read(0.0)
    looking.read_on(lambda: False)
    consumer: Any = looking._consumer
    assert consumer._next == 3 * (reading.READ_ON + 1)


def test_nothing_behind_a_border_is_read_before_who_reads_knows_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "BATCH", 3)
    monkeypatch.setattr(reading, "READ_AT_ONCE", 2)
    log = LogWriter()
    log.transaction(insert("flight", {"id": 1}, {}))
    log.raw(change_log.key("revision"), change_log.encode(Control(revision="r", ts_ms=1)))
    log.transaction(insert("keyless", {"id": 2}, {}))
    looking = begin(written(log))
    assert looking.read(0.0).border is None
    looking.read_on(lambda: False)
    looking.read_on(lambda: False)
    read = looking.read(0.0)
    assert read.border is not None
    assert (read.pieces, read.border.offset, read.read_from, looking.behind(read.border)) == ([], 3, 3, 4)
    looking.switch(("public.keyless",))
    (piece,) = looking.read(0.0).pieces
    assert [change.table for change in piece.changes] == ["public.keyless"]
    assert piece.changes[0].key != b'{"id":2}', "it is decoded as a row of a table without a key"


@pytest.mark.parametrize(("last", "calls"), [("end", 1), ("change", 0)])
def test_an_end_that_is_there_is_told_before_anything_is_decoded(
    last: str, calls: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = LogWriter()
    log.begin(1)
    log.change(1, 1, insert("flight", {"id": 1}, {}))
    if last == "end":
        log.end(1, 1)
    told: list[str] = []
    original = collect.Collector.take

    def take(self: Collector, *message: Any) -> Piece | None:
        told.append("decoded")
        return original(self, *message)

    monkeypatch.setattr(collect.Collector, "take", take)
    begin(written(log)).read(0.0, lambda: told.append("end"))
    assert told[:1] == (["end"] if calls else ["decoded"])


def test_a_log_that_has_lost_what_comes_next_is_looked_at_again() -> None:
    with pytest.raises(TransientError, match="no longer has what was to be read next"):
        begin([Lost(0, None, None)]).read(0.0)
