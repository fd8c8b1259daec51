"""Incremental snapshots that something came in between: what they still prove, and when they are asked for again."""

from __future__ import annotations

import random

import psycopg
import pytest

from tests.harness.debezium import LogWriter, insert, update
from tests.harness.replay import Recording
from tests.unit.cdc_consumer.tables import SOURCE, NewLedger, column, plan, table
from tests.unit.cdc_consumer.test_batch import KEY, consumed, started, summary
from tests.unit.cdc_consumer.test_batch import whole as filled

KIND = "Incremental Snapshot"
SEAT = table("seat", "number", column("number", "int4"), column("free", "bool"))


def seat(number: int, *, free: bool) -> dict[str, object]:
    return insert("seat", {"number": number}, {"free": free})


def begun() -> LogWriter:
    log = started("seat")
    log.transaction(*(seat(number, free=True) for number in (1, 2)))
    log.notice("STARTED", KIND, data_collections="public.seat")
    log.read(seat(1, free=False))
    return log


def ended(log: LogWriter) -> LogWriter:
    log.read(seat(2, free=True))
    log.notice("TABLE_SCAN_COMPLETED", KIND, scanned_collection="public.seat", status="SUCCEEDED", total_rows="2")
    log.notice("COMPLETED", KIND)
    log.settle()
    return log


def doubt(new_ledger: NewLedger, log: LogWriter) -> str | None:
    compiled = plan(SEAT)
    records = [(offset, key, filled(compiled, value)) for offset, key, value in log.records]
    recording = Recording(SOURCE, compiled.revision.catalogue, compiled.revision.capture, KEY, 3, records)
    with new_ledger() as url:
        recording.replay(url, random.Random(0), largest=10**6)
        with psycopg.connect(url) as connection:
            row = connection.execute("select doubt from wake.mirror_state").fetchone()
    assert row is not None
    return row[0]


def test_a_connector_that_starts_again_goes_on_with_its_incremental_snapshot(new_ledger: NewLedger) -> None:
    log = begun()
    log.notice("SKIPPED", "Initial Snapshot")
    context, _ = consumed(new_ledger, ended(log), plan(SEAT))
    assert summary([each for each in context.unique if each.data.get("snapshot")]) == [("row.read", "public.seat/1")]


@pytest.mark.parametrize("kind", ["ABORTED", "SKIPPED"])
def test_one_that_was_ended_tells_nothing_more(new_ledger: NewLedger, kind: str) -> None:
    log = begun()
    log.notice(kind, KIND)
    context, _ = consumed(new_ledger, ended(log), plan(SEAT))
    assert [
        each for each in context.unique if each.data.get("snapshot") and each.event["subject"] == "public.seat/1"
    ] == []


def test_one_that_lost_changes_while_it_read_does_not_suffice(new_ledger: NewLedger) -> None:
    log = begun()
    log.begin(9)
    log.end(9, 1, tables={"seat": 1})
    assert doubt(new_ledger, ended(log)) == "while it read: transaction 9 has 1 changes, 0 of them arrived"
    log.snapshot(("seat",), [seat(1, free=False), seat(2, free=True)], kind=KIND)
    assert doubt(new_ledger, log) is None


def test_one_that_shows_more_than_it_has_read_is_believed(new_ledger: NewLedger) -> None:
    log = begun()
    log.transaction(update("seat", {"number": 2}, {"free": False}))
    assert doubt(new_ledger, ended(log)) is None
