"""Snapshots over mirrors that have rows, where what they show is of another moment or of another form."""

from __future__ import annotations

import base64
import random
from typing import Any, LiteralString

import psycopg
import pytest

from cdc_consumer.plan import Plan
from tests.harness.context import ContextLog
from tests.harness.debezium import LogWriter, insert, truncate, update
from tests.harness.replay import Recording
from tests.unit.cdc_consumer.tables import FLIGHT, SOURCE, NewLedger, column, plan, table
from tests.unit.cdc_consumer.test_batch import KEY, started, summary, whole
from wakestream import change_log

GAP = change_log.encode(change_log.Control(reason="somebody says so", ts_ms=1_795_363_190_994))


def replayed(
    new_ledger: NewLedger, log: LogWriter, compiled: Plan, *queries: LiteralString, largest: int = 10**6
) -> tuple[ContextLog, list[Any]]:
    """The context, and what the ledger answers at the end."""
    revision = compiled.revision
    records = [(offset, key, whole(compiled, value)) for offset, key, value in log.records]
    recording = Recording(SOURCE, revision.catalogue, revision.capture, KEY, 3, records)
    with new_ledger() as url:
        context = recording.replay(url, random.Random(0), largest=largest)
        with psycopg.connect(url) as connection:
            return context, [connection.execute(query).fetchall() for query in queries]


STATE = "select complete, doubt, snapshot from wake.mirror_state"
LETTERS = "select kind, subject from wake.dead_letter order by id"


@pytest.mark.parametrize(
    ("base", "keys"),
    [
        ("bytea", [base64.b64encode(each).decode() for each in (b"\x01\x02\x03", b"\x02abcdef", b"\x09")]),
        ("jsonb", ['"a"', '{"b": 1}', "[3]"]),
        ("timestamptz", ["2026-01-01T00:00:00.5Z", "2026-01-02T00:00:00Z", "2026-01-03T00:00:00Z"]),
        ("numeric", ["1.50", "2", "3.0"]),
        ("text", [random.Random(seed).randbytes(1_330).hex() for seed in (1, 2, 3)]),
    ],
)
def test_keys_that_the_ledger_prints_otherwise_than_debezium(new_ledger: NewLedger, base: str, keys: list[str]) -> None:
    """One row differs, one is gone, one is new; and the gap is closed only over a mirror that is right."""
    changed, gone, new = keys
    log = started("thing")
    log.transaction(*(insert("thing", {"id": each}, {"n": 1}) for each in (changed, gone)))
    log.raw(change_log.key("gap"), GAP)
    log.notice("STARTED", "Incremental Snapshot", data_collections="public.thing")
    log.read(insert("thing", {"id": changed}, {"n": 5}))
    log.read(insert("thing", {"id": new}, {"n": 6}))
    log.notice("COMPLETED", "Incremental Snapshot", data_collections="public.thing")
    log.settle()
    things = table("thing", "id", column("id", base), column("n", "int4"))
    rows = f"select n from {SOURCE}__public.thing order by n"
    context, (found, letters, gaps) = replayed(
        new_ledger, log, plan(things), rows, LETTERS, "select state from wake.gap"
    )
    assert (found, letters, gaps) == ([(5,), (6,)], [], [("closed",)])
    assert sorted(each.type for each in context.unique)[-5:] == [
        "row.deleted",
        "row.inserted",
        "row.inserted",
        "row.read",
        "row.read",
    ]


def test_a_row_of_a_snapshot_that_cannot_be_read_is_a_letter(new_ledger: NewLedger) -> None:
    documents = table("thing", "id", column("id", "int4"), column("doc", "json"))
    log = started("thing")
    log.transaction(insert("thing", {"id": 1}, {"doc": "1"}))
    log.notice("STARTED", "Incremental Snapshot", data_collections="public.thing")
    log.read(insert("thing", {"id": 2}, {"doc": '"\\u0000"'}))
    log.notice("COMPLETED", "Incremental Snapshot", data_collections="public.thing")
    log.settle()
    context, (letters,) = replayed(new_ledger, log, plan(documents), LETTERS)
    assert letters == [("unreadable value", "public.thing/2")]
    assert [each.data["missing"] for each in context.of_type("row.read")] == [["after"]]


@pytest.mark.parametrize("largest", [1, 10**6])
@pytest.mark.parametrize("ended", [False, True])
def test_nothing_comes_back_that_a_truncate_has_taken(new_ledger: NewLedger, ended: bool, largest: int) -> None:
    """Of what a snapshot read before it, part may be shown only behind it; what came after it tells itself."""
    log = started("flight")
    log.transaction(insert("flight", {"id": 1}, {"status": "late"}))
    log.notice("STARTED", "Incremental Snapshot", data_collections="public.flight")
    log.read(insert("flight", {"id": 1}, {"status": "read"}))
    log.read(insert("flight", {"id": 2}, {"status": "read"}))
    if ended:
        log.notice("COMPLETED", "Incremental Snapshot", data_collections="public.flight")
    log.transaction(truncate("flight"))
    log.transaction(insert("flight", {"id": 4}, {"status": "new"}))
    if not ended:
        log.read(insert("flight", {"id": 3}, {"status": "read"}))
        log.notice("COMPLETED", "Incremental Snapshot", data_collections="public.flight")
    log.settle()
    log.transaction(update("flight", {"id": 4}, {"status": "newer"}))
    rows = f"select id, status from {SOURCE}__public.flight"
    context, (found, state) = replayed(new_ledger, log, plan(FLIGHT), rows, STATE, largest=largest)
    assert (found, state) == ([(4, "newer")], [(True, None, None)])
    kinds = [each for each in summary(context.unique) if each[1] != "unit/clock"]
    assert kinds == [
        ("row.inserted", "public.flight/1"),
        ("table.truncated", "public.flight"),
        ("row.inserted", "public.flight/4"),
        ("row.updated", "public.flight/4"),
    ]
    assert context.unique[-1].data["before"]["status"] == "new"


def test_a_truncate_while_a_first_snapshot_reads_ahead(new_ledger: NewLedger) -> None:
    """Into an empty mirror rows go at once; behind the truncate none does."""
    log = started("flight")
    log.notice("STARTED", "Incremental Snapshot", data_collections="public.flight")
    log.read(insert("flight", {"id": 1}, {"status": "read"}))
    log.transaction(truncate("flight"))
    log.read(insert("flight", {"id": 2}, {"status": "read"}))
    log.notice("COMPLETED", "Incremental Snapshot", data_collections="public.flight")
    log.settle()
    context, (found, state) = replayed(new_ledger, log, plan(FLIGHT), f"select id from {SOURCE}__public.flight", STATE)
    assert (found, state) == ([], [(True, None, None)])
    assert summary(context.unique)[-2:] == [("row.read", "public.flight/1"), ("table.truncated", "public.flight")]
