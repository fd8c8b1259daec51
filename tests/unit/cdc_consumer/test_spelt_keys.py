"""Keys that are one value in two spellings, as 1.0 and 1.00: a change of the key, though they are equal."""

from __future__ import annotations

import random

import psycopg
import pytest

from tests.harness.context import ContextLog
from tests.harness.debezium import LogWriter, delete, insert, move, update
from tests.harness.replay import Recording
from tests.unit.cdc_consumer.tables import SOURCE, NewLedger, column, plan, table
from tests.unit.cdc_consumer.test_batch import KEY, started
from wakestream.capture import Entity, Member

PRICE = table("price", "amount", column("amount", "numeric"), column("n", "int4"))
OFFER = table("offer", "id", column("id", "int4"), column("price", "numeric"))
PRICES = Entity(
    "tag",
    "public.price",
    (Member("offers", "public.offer", many=True, columns=("amount",), references=("price",), limit=5, key=("id",)),),
)
PLAN = plan(PRICE, OFFER, entities={"tag": PRICES})
ROWS_ONLY = plan(PRICE, OFFER)


def applied(
    new_ledger: NewLedger, log: LogWriter, compiled=ROWS_ONLY, largest: int = 10**6
) -> tuple[ContextLog, list[str]]:
    """The context, and what the mirror holds at the end."""
    revision = compiled.revision
    recording = Recording(SOURCE, revision.catalogue, revision.capture, KEY, 3, log.records)
    with new_ledger() as url:
        context = recording.replay(url, random.Random(3), largest=largest)
        with psycopg.connect(url) as connection:
            rows = connection.execute(f"select amount || ' ' || n from {SOURCE}__public.price order by n").fetchall()
    return context, [text for (text,) in rows]


@pytest.mark.parametrize("largest", [1, 10**6])
def test_a_key_that_is_spelt_anew(new_ledger: NewLedger, largest: int) -> None:
    log = started("price", "offer")
    log.transaction(insert("price", {"amount": "1.0"}, {"n": 1}))
    log.transaction(*move("price", {"amount": "1.0"}, {"amount": "1.00"}, {"n": 2}, lsn=10**6))
    context, rows = applied(new_ledger, log, largest=largest)
    assert rows == ["1.00 2"]
    told = [(each.type, each.data["before"] and each.data["before"]["n"]) for each in context.unique]
    assert told == [("row.inserted", None), ("row.deleted", 1), ("row.inserted", None)]


def test_one_batch_tells_nothing_of_the_future(new_ledger: NewLedger) -> None:
    log = started("price", "offer")
    log.transaction(insert("price", {"amount": "1.0"}, {"n": 1}), insert("price", {"amount": "2"}, {"n": 9}))
    log.transaction(delete("price", {"amount": "1.0"}))
    log.transaction(insert("price", {"amount": "1.00"}, {"n": 2}))
    log.transaction(update("price", {"amount": "1.00"}, {"n": 3}), update("price", {"amount": "2"}, {"n": 10}))
    context, rows = applied(new_ledger, log)
    assert rows == ["1.00 3", "2 10"]
    told = [(each.type, each.data["before"] and each.data["before"]["n"]) for each in context.unique]
    assert told == [
        ("row.inserted", None),
        ("row.inserted", None),
        ("row.deleted", 1),
        ("row.inserted", None),
        ("row.updated", 2),
        ("row.updated", 9),
    ]


def test_the_document_of_the_old_spelling_is_gone(new_ledger: NewLedger) -> None:
    log = started("price", "offer")
    log.transaction(insert("price", {"amount": "1.0"}, {"n": 1}), insert("offer", {"id": 5}, {"price": "1"}))
    log.transaction(*move("price", {"amount": "1.0"}, {"amount": "1.00"}, {"n": 2}, lsn=10**6))
    context, _ = applied(new_ledger, log, PLAN)
    told = {
        each.event["subject"]: (each.data["before"] and each.data["before"]["n"], each.data["after"])
        for each in context.of_type("entity.changed")[1:]
    }
    assert told["tag/1.0"] == (1, None)
    assert told["tag/1.00"][0] is None
    assert [each["id"] for each in told["tag/1.00"][1]["offers"]] == [5]


def test_a_number_of_more_digits_than_python_reads(new_ledger: NewLedger) -> None:
    long = "9" * 5_000
    log = started("price", "offer")
    log.transaction(insert("price", {"amount": long}, {"n": 1}))
    log.transaction(update("price", {"amount": long}, {"n": 2}))
    context, _ = applied(new_ledger, log, PLAN)
    assert [each.event["subject"] for each in context.unique] == [f"public.price/{long}", f"tag/{long}"] * 2
