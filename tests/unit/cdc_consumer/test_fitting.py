"""Events that are larger than a message may be: an image is missing, which is said, and the stream goes on."""

from __future__ import annotations

from tests.harness.debezium import delete, insert, update
from tests.unit.cdc_consumer.tables import FLIGHT, NewLedger, plan
from tests.unit.cdc_consumer.test_batch import ENTITY, WITH_ENTITY, consumed, started

MOST = 10_000
LONG, LONGER, SHORT = "x" * 5_000, "y" * 12_000, "z"


def test_what_does_not_fit_is_missing(new_ledger: NewLedger) -> None:
    log = started("flight")
    for text in (LONG, LONG + "!", LONGER, SHORT):
        log.transaction(update("flight", {"id": 1}, {"big": text}))
    log.transaction(insert("flight", {"id": 2}, {"big": LONGER}))
    log.transaction(delete("flight", {"id": 2}))
    context, letters = consumed(new_ledger, log, plan(FLIGHT), most=MOST)
    told = [
        (each.data["before"] and each.data["before"]["big"], each.data["after"] and each.data["after"]["big"])
        for each in context.unique
    ]
    assert told == [(None, LONG), (None, LONG + "!"), (None, None), (None, SHORT), (None, None), (None, None)]
    missing = [each.data["missing"] for each in context.unique]
    assert missing == [["before"], ["before"], ["before", "after"], ["before"], ["after"], ["before"]]
    assert all(each.data["changed"] is None for each in context.unique)
    assert letters == [("event too large", "public.flight/1"), ("event too large", "public.flight/2")]
    assert max(len(each.value) for each in context.unique) <= MOST


def test_bytes_count_and_not_characters(new_ledger: NewLedger) -> None:
    log = started("flight")
    log.transaction(insert("flight", {"id": 1}, {"big": "é" * 5_000}))
    log.transaction(insert("flight", {"id": 2}, {"big": "é" * 3_000}))
    context, letters = consumed(new_ledger, log, plan(FLIGHT), most=MOST)
    assert [each.data["missing"] for each in context.unique] == [["after"], []]
    assert letters == [("event too large", "public.flight/1")]


def test_documents_too(new_ledger: NewLedger) -> None:
    log = started()
    log.transaction(insert("booking", {"id": 1}, {"note": LONG}))
    log.transaction(update("booking", {"id": 1}, {"note": LONG + "!"}))
    context, letters = consumed(new_ledger, log, WITH_ENTITY, most=MOST)
    assert [each.data["missing"] for each in context.of_type("entity.changed")] == [[], ["before"]]
    assert context.of_type("entity.changed")[1].data["after"]["note"] == LONG + "!"
    assert (letters, ENTITY.max_size > MOST) == ([], True)


def test_however_the_log_is_cut(new_ledger: NewLedger) -> None:
    log = started("flight")
    for number in range(20):
        log.transaction(update("flight", {"id": number % 3}, {"big": "x" * (number * 900)}))
    whole, letters = consumed(new_ledger, log, plan(FLIGHT), most=MOST)
    cut, same = consumed(new_ledger, log, plan(FLIGHT), most=MOST, largest=4, crashes=0.3, seed=2)
    assert [each.value for each in cut.unique] == [each.value for each in whole.unique]
    assert letters == same
