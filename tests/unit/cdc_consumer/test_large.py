"""Transactions that are too large for memory make the bytes that they would make in memory."""

from __future__ import annotations

import random
from typing import Any

import pytest

from cdc_consumer import collect, entity_events, large, large_entities
from cdc_consumer.plan import Plan
from tests.harness.context import ContextLog
from tests.harness.debezium import LogWriter, clock, delete, insert, message, move, truncate, update
from tests.unit.cdc_consumer.tables import BOOKING, CUSTOMER, FLIGHT, NewLedger, plan
from tests.unit.cdc_consumer.test_batch import ENTITY, PLAIN, WITH_ENTITY, consumed, started
from tests.unit.cdc_consumer.test_entity_limits import limited

Letters = list[tuple[str, str]]


def both(
    new_ledger: NewLedger, monkeypatch: pytest.MonkeyPatch, log: LogWriter, compiled: Plan
) -> tuple[ContextLog, Letters, ContextLog, Letters]:
    in_memory = consumed(new_ledger, log, compiled)
    monkeypatch.setattr(collect, "LARGEST", 3)
    monkeypatch.setattr(large, "PART", 2)
    monkeypatch.setattr(large_entities, "AT_ONCE", 2)
    return *in_memory, *consumed(new_ledger, log, compiled, seed=1, largest=7, crashes=0.3)


def values(context: ContextLog) -> list[bytes]:
    return [each.value for each in context.unique]


def changes() -> list[dict[str, Any]]:
    return [
        insert("flight", {"id": 1}, {"status": "on time"}),
        *(insert("booking", {"id": number}, {"flight_id": 1, "customer": "a"}) for number in range(1, 6)),
        message("somebody", b"else"),
        update("flight", {"id": 1}, {"status": "late"}),
        insert("seat", {"id": 1}, {}),
        delete("booking", {"id": 2}),
        *move("booking", {"id": 3}, {"id": 9}, {"flight_id": 1}, lsn=10**6),
        insert("customer", {"code": "a"}, {"name": "Ada"}),
        clock(),
    ]


@pytest.mark.parametrize("compiled", [PLAIN, WITH_ENTITY], ids=["rows", "documents"])
def test_the_same_bytes_as_in_memory(new_ledger: NewLedger, monkeypatch: pytest.MonkeyPatch, compiled: Plan) -> None:
    log = started()
    log.transaction(insert("customer", {"code": "b"}, {}), insert("booking", {"id": 4}, {"customer": "b"}))
    log.transaction(delete("booking", {"id": 4}))
    log.transaction(*changes())
    log.transaction(truncate("flight"), *(update("booking", {"id": number}, {}) for number in (1, 4, 5, 9)))
    log.transaction(*(insert("customer", {"code": code}, {}) for code in "cdefg"))
    small, letters, great, letters_of_great = both(new_ledger, monkeypatch, log, compiled)
    assert values(great) == values(small)
    assert len(values(small)) > 20
    assert letters_of_great == letters == [("unknown table", "public.seat")]


def test_what_is_sent_again_from_the_middle_counts_once(new_ledger: NewLedger, monkeypatch: pytest.MonkeyPatch) -> None:
    log, listed = started(), [{**insert("flight", {"id": n}, {}), "lsn": 5000 + n} for n in range(1, 9)]
    tx = log.next_tx()
    log.begin(tx)
    for start, end in ((0, 6), (3, 7), (1, 8)):
        for order in range(start, end):
            log.change(tx, order + 1, listed[order])
    log.end(tx, 8)
    small, _, great, letters = both(new_ledger, monkeypatch, log, PLAIN)
    assert values(great) == values(small)
    assert (len(great.of_type("row.inserted")), letters) == (8, [])


def test_one_that_lost_changes_opens_a_gap_and_tells_the_rest(
    new_ledger: NewLedger, monkeypatch: pytest.MonkeyPatch
) -> None:
    log, listed = started(), [insert("flight", {"id": number}, {}) for number in range(1, 9)]
    tx = log.next_tx()
    log.begin(tx)
    for order in (0, 1, 2, 5, 6, 7):
        log.change(tx, order + 1, listed[order])
    log.end(tx, 8, tables={"flight": 8})
    small, _, great, _ = both(new_ledger, monkeypatch, log, WITH_ENTITY)
    assert values(great) == values(small)
    (gap,) = great.of_type("context.gap")
    assert (gap.data["tables"], gap.data["reason"]) == (
        ["public.flight"],
        f"transaction {tx} has 8 changes, 6 of them arrived",
    )


def test_a_fan_out_beyond_the_limit_is_the_same_over_many_parts(
    new_ledger: NewLedger, monkeypatch: pytest.MonkeyPatch
) -> None:
    compiled = plan(FLIGHT, CUSTOMER, BOOKING, entities={"booking": limited(fan_out=3)})
    log = started()
    for number in range(1, 6):
        log.transaction(insert("flight", {"id": number}, {}), insert("booking", {"id": number}, {"flight_id": number}))
    log.transaction(*(update("flight", {"id": number}, {"status": "late"}) for number in range(1, 6)))
    small, letters, great, letters_of_great = both(new_ledger, monkeypatch, log, compiled)
    assert values(great) == values(small)
    assert letters == letters_of_great == [("fan-out too large", "booking.flight")]
    assert ENTITY.members[1].fan_out == 10_000


def test_a_value_that_cannot_be_read_is_a_dead_letter_and_costs_nothing_else(
    new_ledger: NewLedger, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = started()
    good = [insert("flight", {"id": number}, {"seats": number}) for number in range(1, 7)]
    bad = insert("flight", {"id": 7}, {"seats": 10**12})
    random.Random(0).shuffle(good)
    log.transaction(*good[:3], bad, *good[3:])
    small, letters, great, letters_of_great = both(new_ledger, monkeypatch, log, WITH_ENTITY)
    assert values(great) == values(small)
    assert letters_of_great == letters == [("unreadable value", "public.flight/7")]


def test_a_wide_and_a_large_transaction_in_one_cycle(new_ledger: NewLedger, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(entity_events, "AT_ONCE", 1)
    log = started()
    log.transaction(insert("booking", {"id": 1}, {}), insert("booking", {"id": 2}, {}))
    for note in "abc":
        log.transaction(*(update("booking", {"id": number}, {"note": note}) for number in (1, 2)))
        log.transaction(*(update("booking", {"id": number}, {"note": note * 2}) for number in (1, 2, 1, 2)))
    small, _, great, letters = both(new_ledger, monkeypatch, log, WITH_ENTITY)
    assert values(great) == values(small)
    assert (len(great.of_type("entity.changed")), letters) == (14, [])
