"""One cycle: what is applied ahead, what is told when, and to whom the position belongs."""

from __future__ import annotations

import json
from typing import Any

import psycopg
import pytest

from cdc_consumer.cycle import AHEAD
from tests.harness.debezium import LogWriter, insert, update
from tests.harness.replay import Recorder, Recording
from tests.unit.cdc_consumer.tables import BOOKING, CUSTOMER, FLIGHT, SOURCE, NewLedger, plan
from wakestream.capture import Entity, Member
from wakestream.errors import TakenOverError

IDLE, IN_TRANSACTION = psycopg.pq.TransactionStatus.IDLE, psycopg.pq.TransactionStatus.INTRANS
BOOKED = Entity(
    "booking", "public.booking", (Member("flight", "public.flight", columns=("flight_id",), references=("id",)),)
)
PLAIN = plan(FLIGHT, CUSTOMER, BOOKING)
WITH_ENTITY = plan(FLIGHT, CUSTOMER, BOOKING, entities={"booking": BOOKED})


def recording(compiled: Any = PLAIN, *, count: int = 3) -> Recording:
    """So many transactions: an insert, and changes of the same row."""
    log = LogWriter()
    log.transaction(insert("flight", {"id": 1}, flight(0)))
    for seats in range(1, count):
        log.transaction(update("flight", {"id": 1}, flight(seats)))
    revision = compiled.revision
    return Recording(SOURCE, revision.catalogue, revision.capture, b"k" * 32, 1, log.records)


def flight(seats: int) -> dict[str, Any]:
    return {"status": None, "seats": seats, "big": None}


def stored(url: str) -> tuple[int, int | None]:
    """The position's offset, and the seats in the mirror."""
    with psycopg.connect(url) as other:
        row = other.execute(
            'select "offset", (select seats from unit__public.flight) from wake.source_position'
        ).fetchone()
        assert row is not None
        return row


def test_pieces_are_told_while_the_next_ones_are_applied(new_ledger: NewLedger) -> None:
    log, recorder = recording(count=AHEAD + 2), Recorder()
    with new_ledger() as url, log.cycle(url, recorder) as (_, cycle):
        pieces = log.pieces()
        for number, piece in enumerate(pieces, 1):
            cycle.add([piece])
            assert len(recorder.messages) == max(0, number - AHEAD)
            assert not cycle.is_told
        cycle.tell()
        assert len(recorder.messages) == len(pieces)
        assert cycle.is_told
        assert stored(url) == (-1, None)
        assert (cycle.size, cycle.offset) == (2 * len(pieces), pieces[-1].offset)
        cycle.finish(99, pieces[-1].commit)
        assert cycle.size == 0
        assert stored(url) == (pieces[-1].offset, AHEAD + 1)
    assert [json.loads(message.value)["data"]["after"]["seats"] for message in recorder.messages] == list(
        range(AHEAD + 2)
    )


def test_what_needs_answers_is_told_at_once(new_ledger: NewLedger) -> None:
    log, recorder = recording(WITH_ENTITY), Recorder()
    with new_ledger() as url, log.cycle(url, recorder) as (_, cycle):
        cycle.add(log.pieces())
        assert cycle.is_told
        assert len(recorder.messages) == 3


def test_a_position_that_was_claimed_in_vain_is_left(new_ledger: NewLedger) -> None:
    log, recorder = recording(), Recorder()
    with new_ledger() as url, log.cycle(url, recorder) as (connection, cycle):
        cycle.leave()
        cycle.open()
        cycle.leave()
        assert connection.info.transaction_status == IDLE
        with psycopg.connect(url) as other:
            other.execute("select from wake.source_position for update nowait")
        cycle.open()
        cycle.add(log.pieces())
        cycle.open()
        cycle.tell()
        assert connection.info.transaction_status == IN_TRANSACTION
        cycle.finish(9, None)
    assert len(recorder.messages) == 3


def test_nothing_is_told_by_a_former_owner(new_ledger: NewLedger) -> None:
    log, recorder = recording(), Recorder()
    with new_ledger() as url, log.cycle(url, recorder) as (connection, cycle):
        with psycopg.connect(url) as other:
            other.execute("update wake.source_position set epoch = epoch + 1")
        cycle.open()
        cycle.add(log.pieces())
        with pytest.raises(TakenOverError):
            cycle.finish(9, None)
        connection.rollback()
        assert stored(url) == (-1, None)
    assert recorder.messages == []
