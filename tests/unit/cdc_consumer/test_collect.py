from __future__ import annotations

import pytest

from cdc_consumer import collect
from cdc_consumer.collect import Collector, Piece
from tests.harness.debezium import LogWriter, clock, delete, insert, message, update
from tests.harness.replay import Record
from wakestream import change_log
from wakestream.change_log import Control


def collected(records: list[Record], collector: Collector | None = None) -> list[Piece]:
    taking = collector or Collector()
    return [piece for record in records if (piece := taking.take(*record)) is not None]


def keys(piece: Piece) -> list[bytes]:
    return [change.key for change in piece.changes]


def three(log: LogWriter, tx: int, *, count: int = 3, first: int = 1) -> None:
    for order in range(first, first + count):
        log.change(tx, order, insert("flight", {"id": 10 * tx + order}, {}))


def test_a_transaction_is_given_out_at_its_end() -> None:
    log = LogWriter()
    commit = log.transaction(
        insert("flight", {"id": 1}, {}), message("wake", b"mark"), clock(), delete("flight", {"id": 1})
    )
    (piece,) = collected(log.records)
    assert (piece.kind, piece.offset, piece.commit, piece.tx) == ("transaction", 5, commit, 701)
    assert [(change.op, change.order) for change in piece.changes] == [("c", 1), ("d", 4)]
    assert (piece.marks, piece.clock, piece.reason) == ([b"mark"], True, "")


def test_an_empty_transaction_moves_the_position_and_has_no_changes() -> None:
    log = LogWriter()
    commit = log.transaction()
    collector = Collector()
    (piece,) = collected(log.records, collector)
    assert (piece.changes, collector.applied) == ([], commit)


def test_a_transaction_sent_again_from_its_middle_is_whole_once() -> None:
    log = LogWriter(tx=0)
    log.begin(1)
    three(log, 1, count=2)
    three(log, 1, count=2, first=2)  # Debezium died and came back one change before
    commit = log.end(1, 3)
    log.begin(1)
    three(log, 1, count=1, first=3)  # and once more, when it had not noted that it was done
    log.end(1, 3, lsn=commit)
    (piece,) = collected(log.records)
    assert (keys(piece), piece.reason) == ([b'{"id":11}', b'{"id":12}', b'{"id":13}'], "")


def test_begin_may_be_missing_when_a_transaction_is_sent_again() -> None:
    log = LogWriter()
    three(log, 9, count=1)
    log.end(9, 1)
    assert keys(collected(log.records)[0]) == [b'{"id":91}']


def test_interleaved_transactions_are_given_out_in_the_order_of_their_ends() -> None:
    log = LogWriter()
    log.begin(1)
    log.begin(2)
    three(log, 1, count=1)
    three(log, 2)
    log.end(2, 3)
    three(log, 1, count=1, first=2)
    log.end(1, 2)
    assert [piece.tx for piece in collected(log.records)] == [2, 1]


def test_few_changes_with_large_rows_are_not_kept_either(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(collect, "LARGEST_SIZE", 1000)
    log = LogWriter()
    log.transaction(*(insert("flight", {"id": number}, {"status": "x" * 300}) for number in range(3)))
    log.transaction(*(insert("flight", {"id": number}, {"status": "x" * 300}) for number in range(9)))
    collector = Collector()
    small, great = [piece for record in log.records if (piece := collector.take(*record)) is not None]
    assert (len(small.changes), small.large) == (3, None)
    assert (len(great.changes), great.rows, great.large and great.large.whole) == (0, 9, True)


def test_what_was_applied_makes_no_piece() -> None:
    log = LogWriter()
    first = log.transaction(insert("flight", {"id": 1}, {}))
    log.transaction(insert("flight", {"id": 2}, {}))
    collector = Collector(first)
    assert [keys(piece) for piece in collected(log.records, collector)] == [[b'{"id":2}']]


def test_a_transaction_id_may_come_again() -> None:
    log = LogWriter(tx=2**32 - 2)
    for number in (1, 2, 3):
        log.transaction(insert("flight", {"id": number}, {}))
    log.begin(2**32 - 1)
    log.change(2**32 - 1, 1, update("flight", {"id": 1}, {}))
    log.end(2**32 - 1, 1)
    pieces = collected(log.records)
    assert [piece.tx for piece in pieces] == [2**32 - 1, 0, 1, 2**32 - 1]
    assert [len(piece.changes) for piece in pieces] == [1, 1, 1, 1]


def test_changes_that_did_not_arrive_are_named() -> None:
    log = LogWriter()
    log.begin(5)
    three(log, 5, count=1)
    log.end(5, 2)
    (piece,) = collected(log.records)
    assert piece.reason == "transaction 5 has 2 changes, 1 of them arrived"


def test_a_restart_reads_from_the_oldest_open_transaction() -> None:
    log = LogWriter()
    log.transaction(insert("flight", {"id": 1}, {}))  # offsets 0 to 2
    log.begin(2)  # 3
    log.begin(1)  # 4
    log.end(2, 0)  # 5
    collector = Collector()
    collected(log.records, collector)
    assert collector.read_from(5) == 4
    collector.take(6, None, log.records[-1][2])
    log.end(1, 0)
    collector.take(*log.records[-1])
    assert collector.read_from(6) == 7


def test_a_transaction_that_was_passed_over_is_lost_and_pins_nothing() -> None:
    log = LogWriter(tx=5)
    first = log.transaction(insert("flight", {"id": 1}, {}))  # offsets 0 to 2
    log.begin(9)  # 3
    three(log, 9, count=1)  # 4
    log.begin(6)  # 5: what was applied already is sent again
    three(log, 6, count=1)
    log.end(6, 1, lsn=first)  # 7
    collector = Collector()
    collected(log.records, collector)
    assert collector.read_from(7) == 3, "it may still be sent again"
    rest = len(log.records)
    log.transaction(insert("flight", {"id": 2}, {}))
    log.transaction(insert("flight", {"id": 3}, {}))
    passing, after = collected(log.records[rest:], collector)
    assert passing.reason == "transaction 9, begun at offset 3, never ended"
    assert (keys(passing), passing.behind) == ([b'{"id":2}'], [])
    assert (after.reason, collector.read_from(after.offset)) == ("", after.offset + 1)


def test_a_transaction_that_was_passed_over_beside_one_that_is_not_whole() -> None:
    log = LogWriter()
    log.begin(9)
    log.begin(10)
    log.end(10, 1, tables={"flight": 1})
    (piece,) = collected(log.records)
    assert piece.reason == (
        "transaction 10 has 1 changes, 0 of them arrived; transaction 9, begun at offset 0, never ended"
    )
    assert piece.behind == []


def test_a_transaction_that_is_sent_again_whole_was_not_passed_over() -> None:
    log = LogWriter(tx=5)
    first = log.transaction(insert("flight", {"id": 1}, {}))
    log.begin(9)
    three(log, 9, count=2)
    log.begin(6)
    log.end(6, 1, lsn=first)
    log.begin(9)
    three(log, 9)
    log.end(9, 3)
    log.transaction(clock())
    assert [piece.reason for piece in collected(log.records)] == ["", "", ""]


def test_the_beginning_of_what_was_applied_may_come_again_without_its_end() -> None:
    log = LogWriter(tx=5)
    log.transaction(insert("flight", {"id": 1}, {}))
    log.begin(6)
    three(log, 6, count=1)
    log.transaction(clock())
    collector = Collector()
    pieces = collected(log.records, collector)
    assert [piece.reason for piece in pieces] == ["", ""]
    assert collector.read_from(pieces[-1].offset) == pieces[-1].offset + 1


@pytest.mark.parametrize("covered", ["gap", "restored", "snapshot"])
def test_what_is_lost_behind_a_gap_is_not_lost_a_second_time(covered: str) -> None:
    log = LogWriter()
    log.begin(9)
    if covered == "snapshot":
        log.notice("STARTED", "Initial Snapshot", data_collections="public.flight")
    else:
        log.raw(change_log.key(covered), change_log.encode(Control(reason="slot lost", ts_ms=1)))
    log.transaction(clock())
    collector = Collector()
    pieces = collected(log.records, collector)
    assert [piece.reason for piece in pieces] == ["", ""]
    assert collector.read_from(pieces[-1].offset) == pieces[-1].offset + 1


def test_a_gap_over_some_tables_covers_nothing_else() -> None:
    log = LogWriter()
    log.begin(9)
    log.raw(change_log.key("gap"), change_log.encode(Control(reason="by hand", tables=["public.seat"], ts_ms=1)))
    log.transaction(clock())
    assert collected(log.records)[-1].reason == "transaction 9, begun at offset 0, never ended"


def test_snapshot_rows_stand_alone_inside_a_transaction_too() -> None:
    log = LogWriter()
    log.begin(1)
    log.read(insert("flight", {"id": 7}, {}))
    three(log, 1, count=1)
    log.end(1, 1)
    assert [(piece.kind, piece.offset) for piece in collected(log.records)] == [("snapshot", 1), ("transaction", 3)]


def test_notices_and_heartbeats() -> None:
    log = LogWriter()
    log.notice("STARTED", "Incremental Snapshot", data_collections="public.flight")
    log.raw(b'{"serverName":"unit"}', b'{"ts_ms":5}')
    (piece,) = collected(log.records)
    assert (piece.kind, piece.body["type"], piece.body["data_collections"]) == ("notice", "STARTED", "public.flight")


def test_a_control_record() -> None:
    (piece,) = collected([(0, b'{"wake":"gap"}', b'{"reason":"restored"}')])
    assert (piece.kind, piece.body["kind"], piece.body["reason"]) == ("control", "gap", "restored")


@pytest.mark.parametrize(
    ("key", "value", "reason"),
    [
        (None, b"hello", "not a change"),
        (None, None, "no value"),
        (None, b"{}", "unknown message"),
        (b'{"wake":"gap"}', b"{", "broken control record"),
        (b'{"wake":', b"{}", "broken control record"),
        (b'{"wake":"gap"}', b"[1]", "broken control record"),
        (None, b'{"status":"END","id":"12"}', "incomplete change"),
        (None, b'{"status":"END","id":"12:abc"}', "incomplete change"),
        (None, b'{"status":"BEGIN"}', "incomplete change"),
    ],
)
def test_what_is_broken_says_why_and_keeps_a_digest(key: bytes | None, value: bytes | None, reason: str) -> None:
    log = LogWriter()
    log.raw(key, value)
    log.transaction(insert("flight", {"id": 1}, {}))
    broken, piece = collected(log.records)
    assert (broken.kind, broken.reason, len(broken.digest)) == ("broken", reason, 64)
    assert keys(piece) == [b'{"id":1}']
