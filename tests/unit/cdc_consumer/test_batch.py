"""Whole cycles over logs that are put together here: what becomes of each kind of piece, however the log is cut."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from typing import Any

import psycopg
import pytest

from cdc_consumer import mirrors
from cdc_consumer.plan import Plan
from tests.harness.context import ContextLog, Raw
from tests.harness.debezium import LogWriter, clock, delete, insert, message, move, truncate, update
from tests.harness.replay import Recording
from tests.unit.cdc_consumer.tables import (
    BOOKING,
    CUSTOMER,
    FLIGHT,
    PLACEHOLDER,
    SOURCE,
    NewLedger,
    column,
    plan,
    table,
)
from wakestream import change_log, marks
from wakestream.capture import CapturedTable, Entity, Member
from wakestream.events import Cause

KEY = b"k" * 32
ENTITY = Entity(
    "booking",
    "public.booking",
    (
        Member("customer", "public.customer", columns=("customer",), references=("code",)),
        Member("flight", "public.flight", columns=("flight_id",), references=("id",)),
    ),
)
PLAIN = plan(FLIGHT, CUSTOMER, BOOKING)
WITH_ENTITY = plan(FLIGHT, CUSTOMER, BOOKING, entities={"booking": ENTITY})
TABLES = ("flight", "customer", "booking")


def consumed(
    new_ledger: NewLedger,
    log: LogWriter,
    compiled: Plan = PLAIN,
    *,
    seed: int = 0,
    largest: int = 10**6,
    crashes: float = 0.0,
    fill: bool = True,
    most: int = 2**24,
) -> tuple[ContextLog, list[tuple[str, str]]]:
    """The context of this log, and kinds and subjects of its dead letters.

    `fill` completes the images as Debezium sends them: with every column of their table.
    """
    revision = compiled.revision
    records = [(offset, key, whole(compiled, value)) for offset, key, value in log.records] if fill else log.records
    recording = Recording(SOURCE, revision.catalogue, revision.capture, KEY, 3, records)
    with new_ledger() as url:
        context = recording.replay(url, random.Random(seed), largest=largest, crashes=crashes, most=most)
        with psycopg.connect(url) as connection:
            query = 'select kind, subject from wake.dead_letter order by "offset", kind, subject'
            letters = connection.execute(query).fetchall()
    context.verify_contract()
    return context, letters


def whole(compiled: Plan, value: bytes | None) -> bytes | None:
    """A message whose image has all columns, null where the test says nothing."""
    if value is None or b'"after":{' not in value:
        return value
    body = json.loads(value)
    label = f"{body['source']['schema']}.{body['source']['table']}"
    if label not in compiled.tables:
        return value
    columns = compiled.tables[label].table.columns
    body["after"] = {**{each.name: None for each in columns}, **body["after"]}
    return json.dumps(body, separators=(",", ":")).encode()


def started(*tables: str) -> LogWriter:
    """A log that begins with a snapshot of empty tables."""
    log = LogWriter()
    log.snapshot(tables or TABLES, [])
    return log


def summary(events: Sequence[Raw]) -> list[tuple[str, str]]:
    return [(each.type, each.event["subject"]) for each in events]


def test_rows_of_several_transactions_in_one_batch(new_ledger: NewLedger) -> None:
    log = started()
    log.transaction(insert("flight", {"id": 1}, {"status": "late"}), clock())
    log.transaction(update("flight", {"id": 1}, {"status": "on time"}), delete("flight", {"id": 1}))
    context, letters = consumed(new_ledger, log)
    assert summary(context.unique) == [
        ("row.inserted", "public.flight/1"),
        ("context.clock", "unit/clock"),
        ("row.updated", "public.flight/1"),
        ("row.deleted", "public.flight/1"),
    ]
    assert [each.data["before"] and each.data["before"]["status"] for each in context.of_type("row.updated")] == [
        "late"
    ]
    assert letters == []


def test_changes_of_a_table_that_is_not_captured(new_ledger: NewLedger) -> None:
    log = started()
    log.transaction(insert("seat", {"id": 1}, {}), insert("flight", {"id": 1}, {}))
    log.transaction(insert("flight", {"id": 2}, {}))
    context, letters = consumed(new_ledger, log)
    assert summary(context.unique) == [("row.inserted", "public.flight/1"), ("row.inserted", "public.flight/2")]
    assert letters == [("unknown table", "public.seat")]


def test_a_batch_with_a_value_that_cannot_be_read_loses_nothing_else(new_ledger: NewLedger) -> None:
    documents = table("documents", "id", column("id", "int4"), column("doc", "json"))
    log = started("documents")
    log.transaction(insert("seat", {"id": 1}, {}))
    log.transaction(insert("documents", {"id": 1}, {"doc": "{}"}))
    log.transaction(update("documents", {"id": 1}, {"doc": '"\\u0000"'}), insert("documents", {"id": 2}, {"doc": "1"}))
    context, letters = consumed(new_ledger, log, plan(documents))
    assert [(each.event["subject"], each.data["missing"]) for each in context.unique] == [
        ("public.documents/1", []),
        ("public.documents/1", ["after"]),
        ("public.documents/2", []),
    ]
    assert letters == [("unknown table", "public.seat"), ("unreadable value", "public.documents/1")]


def test_a_key_that_cannot_be_read(new_ledger: NewLedger) -> None:
    keyed = table("keyed", "day", column("day", "date"), column("n", "int4"))
    log = started("keyed")
    log.transaction(
        insert("keyed", {"day": "2026-13-45Z"}, {"n": 1}), insert("keyed", {"day": "2026-11-22Z"}, {"n": 2})
    )
    context, letters = consumed(new_ledger, log, plan(keyed))
    assert [each.event["subject"] for each in context.unique] == ["public.keyed/2026-13-45Z", "public.keyed/2026-11-22"]
    assert letters == [("unreadable value", "public.keyed/2026-13-45Z")]


def test_changes_that_did_not_arrive_open_a_gap_that_a_snapshot_closes(new_ledger: NewLedger) -> None:
    log = started()
    log.transaction(insert("flight", {"id": 1}, {"seats": 1}))
    log.begin(9)
    log.change(9, 1, update("flight", {"id": 1}, {"seats": 2}))
    log.end(9, 2, tables={"flight": 2})
    log.transaction(update("flight", {"id": 1}, {"seats": 3}))
    log.snapshot(("flight",), [insert("flight", {"id": 1}, {"seats": 3})], kind="Incremental Snapshot")
    log.transaction(update("flight", {"id": 1}, {"seats": 4}))
    context, _ = consumed(new_ledger, log)
    opened, closed = context.of_type("context.gap")
    assert (opened.data["state"], closed.data["state"]) == ("open", "closed")
    assert (opened.data["tables"], closed.data["tables"]) == (["public.flight"], ["public.flight"])
    assert "2 changes, 1 of them arrived" in opened.data["reason"]
    assert [each.data["missing"] for each in context.of_type("row.updated")] == [["before"], ["before"], []]


def test_a_transaction_that_does_not_say_whose_changes_are_missing_leaves_no_table_certain(
    new_ledger: NewLedger,
) -> None:
    log = started()
    log.begin(9)
    log.end(9, 1)
    context, _ = consumed(new_ledger, log)
    (gap,) = context.of_type("context.gap")
    assert gap.data["tables"] == ["public.booking", "public.customer", "public.flight"]


def test_a_gap_that_somebody_declares(new_ledger: NewLedger) -> None:
    log = started()
    log.raw(b'{"wake":"gap"}', b'{"reason":"restored","tables":["public.customer"],"ts_ms":1795363190994}')
    log.raw(b'{"wake":"party"}', b"{}")
    log.transaction(delete("customer", {"code": "a"}), delete("flight", {"id": 1}))
    context, letters = consumed(new_ledger, log)
    (gap,) = context.of_type("context.gap")
    assert (gap.data["reason"], gap.data["tables"], gap.event["time"]) == (
        *("restored", ["public.customer"]),
        "2026-11-22T15:59:50.994Z",
    )
    assert letters == [("unknown control record", "")]


SEAT = table("seat", "number code", column("code", "text"), column("number", "int4"), column("free", "bool"))


def seat(number: int, code: str, free: bool) -> dict[str, Any]:
    return insert("seat", {"number": number, "code": code}, {"free": free})


def test_a_snapshot_again_tells_what_differs_and_what_is_gone(new_ledger: NewLedger) -> None:
    log = started("seat")
    strange = 'a\u000b"\\\u001f🛫,/'
    log.transaction(*(seat(number, strange, True) for number in (1, 2, 3, 4, 5)))
    log.notice("STARTED", "Incremental Snapshot", data_collections="public.seat")
    log.read(seat(1, strange, True))
    log.read(seat(2, strange, False))
    log.read(seat(5, strange, False))  # newer than its place: the change that made it so follows
    log.transaction(update("seat", {"number": 4, "code": strange}, {"free": False}))
    log.notice("COMPLETED", "Incremental Snapshot", data_collections="public.seat")
    ended = len(log.records) - 1
    log.transaction(update("seat", {"number": 5, "code": strange}, {"free": False}))
    log.settle(ended - 1)  # of another snapshot
    log.settle(ended)
    log.settle(ended)
    context, letters = consumed(new_ledger, log, plan(SEAT))
    found = [each for each in context.unique if each.data["snapshot"]]
    quoted = "a%0B%22%5C%1F%F0%9F%9B%AB%2C%2F"
    assert summary(found) == [("row.read", f"public.seat/2,{quoted}"), ("row.deleted", f"public.seat/3,{quoted}")]
    assert {each.data["position"]["offset"] for each in found} == {len(log.records) - 2}
    assert [each.data["changed"] for each in found] == [["free"], None]
    assert found[1].data["key"] == {"number": 3, "code": strange}
    assert found[1].data["before"] == {"number": 3, "code": strange, "free": True}
    last = context.of_type("row.updated")[-1]
    assert (last.event["subject"], last.data["changed"]) == (f"public.seat/5,{quoted}", ["free"])
    assert letters == []


def test_what_is_gone_is_told_in_parts_and_no_row_that_was_shown(
    new_ledger: NewLedger, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where a key has more than one form, as a float has: `1e+20` and a one with twenty zeros."""
    monkeypatch.setattr(mirrors, "SETTLED_AT_ONCE", 3)
    measured = table("measured", "value name", column("value", "float8"), column("name", "text"), column("n", "int4"))

    def row(number: int, n: int) -> dict[str, Any]:
        return insert("measured", {"value": 10.0 ** (number + 15), "name": "é\u001f"}, {"n": n})

    log = started("measured")
    log.transaction(*(row(number, 0) for number in range(12)))
    log.snapshot(("measured",), [row(0, 0), row(5, 1), row(11, 0)], kind="Incremental Snapshot")
    ended = len(log.records) - 2
    for _ in range(3):
        log.settle(ended)
    context, letters = consumed(new_ledger, log, plan(measured))
    found = [each for each in context.unique if each.data["snapshot"]]
    values = [(each.type, float(each.data["key"]["value"].digits)) for each in found]
    gone = [("row.deleted", 10.0 ** (number + 15)) for number in range(1, 11) if number != 5]
    assert values == [("row.read", 1e20), *gone]
    parts = [each.data["position"]["offset"] for each in found]
    assert [parts.count(offset) for offset in dict.fromkeys(parts)] == [3, 3, 3, 1]
    assert letters == []


def test_behind_a_transaction_that_was_passed_over_nothing_is_claimed_until_a_snapshot_has_read(
    new_ledger: NewLedger,
) -> None:
    log = started("seat")
    log.transaction(seat(1, "a", True))
    log.begin(9)
    log.change(9, 1, update("seat", {"number": 1, "code": "a"}, {"free": False}))  # and whatever else it did
    log.transaction(update("seat", {"number": 1, "code": "a"}, {"free": True}))
    log.snapshot(("seat",), [seat(1, "a", True)], kind="Incremental Snapshot")
    log.transaction(update("seat", {"number": 1, "code": "a"}, {"free": False}))
    context, letters = consumed(new_ledger, log, plan(SEAT))
    told = [(each.data["state"], each.data["reason"]) for each in context.of_type("context.gap")]
    assert [state for state, _ in told] == ["open", "closed"]
    assert told[0][1].endswith("never ended")
    unsure, sure = context.of_type("row.updated")
    assert (unsure.data["before"], unsure.data["missing"]) == (None, ["before"])
    assert (sure.data["before"]["free"], sure.data["changed"]) == (True, ["free"])
    assert letters == []


@pytest.mark.parametrize("kind", ["Incremental Snapshot", "Initial Snapshot"])
def test_a_gap_that_opens_while_a_snapshot_reads_is_closed_by_the_next_one(new_ledger: NewLedger, kind: str) -> None:
    log = started("seat")
    log.begin(8)
    log.end(8, 1, tables={"seat": 1})
    log.notice("STARTED", kind, data_collections="public.seat")
    log.read(seat(1, "a", True))
    log.begin(9)
    log.end(9, 1, tables={"seat": 1})  # of the row that was just read, perhaps
    log.notice("COMPLETED", kind, data_collections="public.seat")
    log.settle()
    log.transaction(clock())
    log.snapshot(("seat",), [seat(1, "a", False)], kind="Incremental Snapshot")
    context, _ = consumed(new_ledger, log, plan(SEAT))
    told = [(each.data["number"], each.data["state"]) for each in context.of_type("context.gap")]
    assert told == [(1, "open"), (2, "open"), (1, "closed"), (2, "closed")]


def test_what_waits_keeps_no_masked_value_in_clear(new_ledger: NewLedger) -> None:
    person = table(
        "person",
        "id",
        column("id", "int4"),
        column("email", "text"),
        column("age", "int4"),
        column("at", "timestamptz"),
    )
    masked = plan(person, person=CapturedTable(mask={"email": "hash", "age": "redact"}))
    secret, at = "ada@example.org", "2026-11-22T11:53:11.769Z"

    def row(number: int, email: str | None, age: int) -> dict[str, Any]:
        return insert("person", {"id": number}, {"email": email, "age": age, "at": at})

    log = started("person")
    log.transaction(row(1, secret, 7), row(2, None, 8))
    log.notice("STARTED", "Incremental Snapshot", data_collections="public.person")
    for number, email, age in ((1, secret, 9), (2, secret, 8), (3, secret, 1)):
        log.read(row(number, email, age))
    log.notice("COMPLETED", "Incremental Snapshot", data_collections="public.person")
    waiting = LogWriter()
    waiting.records = list(log.records)
    log.settle()
    log.transaction(row(4, secret, 1))
    with new_ledger() as url:
        Recording(SOURCE, masked.revision.catalogue, masked.revision.capture, KEY, 3, waiting.records).replay(
            url, random.Random(0), largest=10**6, crashes=0.0
        )
        with psycopg.connect(url) as connection:
            kept = str(connection.execute("select * from wake.snapshot_row").fetchall())
    assert "***" in kept
    assert secret not in kept
    context, letters = consumed(new_ledger, log, masked)
    told = {each.event["subject"]: each.data for each in context.unique if each.data["snapshot"]}
    assert set(told) == {"public.person/2", "public.person/3"}  # whose age differs cannot be seen
    hashed = context.of_type("row.inserted")[-1].data["after"]["email"]
    assert [data["after"]["email"] for data in told.values()] == [hashed, hashed]
    assert {data["after"]["age"] for data in told.values()} == {"***"}
    assert {data["after"]["at"] for data in told.values()} == {"2026-11-22T11:53:11.769+00:00"}
    assert letters == []


def test_a_snapshot_that_may_have_a_filter_proves_no_absence(new_ledger: NewLedger) -> None:
    log = started("seat")
    log.transaction(*(seat(number, "a", True) for number in (1, 2)))
    log.begin(9)
    log.end(9, 1, tables={"seat": 1})
    log.snapshot_id = "somebody's"
    log.snapshot(("seat",), [seat(1, "a", False)], kind="Incremental Snapshot")
    log.transaction(delete("seat", {"number": 2, "code": "a"}))
    context, _ = consumed(new_ledger, log, plan(SEAT))
    assert summary([each for each in context.unique if each.data.get("snapshot")]) == [("row.read", "public.seat/1,a")]
    assert [each.data["state"] for each in context.of_type("context.gap")] == ["open"]


@pytest.mark.parametrize("status", ["SQL_EXCEPTION", "UNKNOWN_SCHEMA", "STOPPED", "NO_PRIMARY_KEY"])
@pytest.mark.parametrize("kind", ["Incremental Snapshot", "Initial Snapshot"])
def test_a_table_that_debezium_gave_up_loses_no_row_and_is_not_whole(
    new_ledger: NewLedger, status: str, kind: str
) -> None:
    log = started("seat")
    log.transaction(*(seat(number, "a", True) for number in (1, 2)))
    log.begin(9)
    log.end(9, 1, tables={"seat": 1})
    log.notice("STARTED", kind, data_collections="public.seat")
    log.read(seat(1, "a", False))
    log.notice("TABLE_SCAN_COMPLETED", kind, scanned_collection="public.seat", status=status)
    log.notice("COMPLETED", kind, data_collections="public.seat")
    log.settle()
    context, _ = consumed(new_ledger, log, plan(SEAT))
    assert summary([each for each in context.unique if each.data.get("snapshot")]) == [("row.read", "public.seat/1,a")]
    assert [each.data["state"] for each in context.of_type("context.gap")] == ["open"]


@pytest.mark.parametrize("status", ["SQL_EXCEPTION", "SUCCEEDED"])
def test_a_snapshot_for_values_that_gave_up_is_asked_for_again(new_ledger: NewLedger, status: str) -> None:
    kind = "Incremental Snapshot"
    log = started("seat")
    log.transaction(*(seat(number, "a", True) for number in (1, 2)))
    log.snapshot_id = f"{change_log.PART}1"
    log.notice("STARTED", kind, data_collections="public.seat")
    log.notice("TABLE_SCAN_COMPLETED", kind, scanned_collection="public.seat", status=status)
    log.notice("COMPLETED", kind, data_collections="public.seat")
    log.settle()
    with new_ledger() as url:
        revision = plan(SEAT).revision
        recording = Recording(SOURCE, revision.catalogue, revision.capture, KEY, 3, log.records)
        recording.replay(url, random.Random(0), largest=10**6, crashes=0.0)
        with psycopg.connect(url) as connection:
            state = connection.execute("select complete, doubt from wake.mirror_state").fetchall()
    doubt = "in part: Debezium gave the table up: SQL_EXCEPTION" if status == "SQL_EXCEPTION" else None
    assert state == [(True, doubt)]


@pytest.mark.parametrize(("told", "believed"), [(3, True), (4, False)])
def test_a_snapshot_that_has_read_more_than_it_has_sent_is_not_believed(
    new_ledger: NewLedger, told: int, *, believed: bool
) -> None:
    kind = "Incremental Snapshot"
    log = started("seat")
    log.transaction(*(seat(number, "a", True) for number in (1, 2, 3)))
    log.notice("STARTED", kind, data_collections="public.seat")
    log.read(seat(1, "a", True))
    log.transaction(update("seat", {"number": 2, "code": "a"}, {"free": False}))  # which Debezium had read, and drops
    log.read(seat(4, "a", True))
    log.notice("TABLE_SCAN_COMPLETED", kind, scanned_collection="public.seat", status="SUCCEEDED", total_rows=str(told))
    log.notice("COMPLETED", kind, data_collections="public.seat")
    log.settle()
    context, _ = consumed(new_ledger, log, plan(SEAT))
    found = [("row.read", "public.seat/4,a")]
    gone = [("row.deleted", "public.seat/3,a")] if believed else []
    assert summary([each for each in context.unique if each.data.get("snapshot")]) == found + gone


def test_an_incremental_snapshot_of_an_empty_mirror_is_whole_when_it_is_settled(new_ledger: NewLedger) -> None:
    log = LogWriter()
    log.notice("STARTED", "Incremental Snapshot", data_collections="public.seat")
    log.read(seat(1, "a", False))
    log.notice("COMPLETED", "Incremental Snapshot", data_collections="public.seat")
    ended = len(log.records) - 1
    log.transaction(update("seat", {"number": 1, "code": "a"}, {"free": False}))  # what the snapshot has seen already
    log.settle(ended)
    log.transaction(update("seat", {"number": 1, "code": "a"}, {"free": True}))
    context, _ = consumed(new_ledger, log, plan(SEAT))
    assert summary(context.of_type("row.read")) == [("row.read", "public.seat/1,a")]
    early, late = context.of_type("row.updated")
    assert (early.data["before"], early.data["missing"]) == (None, ["before"])
    assert (late.data["changed"], late.data["missing"]) == (["free"], [])


def test_what_waits_is_told_in_parts(new_ledger: NewLedger, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mirrors, "SETTLED_AT_ONCE", 2)
    log = started("seat")
    log.transaction(*(seat(number, "a", True) for number in range(6)))
    log.notice("STARTED", "Incremental Snapshot", data_collections="public.seat")
    for number in range(3):
        log.read(seat(number, "a", False))
    log.notice("COMPLETED", "Incremental Snapshot", data_collections="public.seat")
    ended = len(log.records) - 1
    for _ in range(5):
        log.settle(ended)
    log.transaction(update("seat", {"number": 5, "code": "a"}, {"free": True}))
    context, _ = consumed(new_ledger, log, plan(SEAT))
    told = [each.data["position"]["offset"] - ended for each in context.unique if each.data["snapshot"]]
    assert told == [1, 1, 2, 2, 3, 3]  # three that differ, three that were not shown
    assert context.of_type("row.updated")[-1].data["before"] is None


@pytest.mark.parametrize("body", [b"[]", b'{"ended":"x"}', b'{"ts_ms":null}', b"{", b"\xff"])
def test_a_control_record_that_is_none(new_ledger: NewLedger, body: bytes) -> None:
    log = started()
    log.raw(b'{"wake":"snapshot"}', body)
    log.transaction(insert("flight", {"id": 1}, {}))
    context, letters = consumed(new_ledger, log)
    assert summary(context.unique) == [("row.inserted", "public.flight/1")]
    assert [kind for kind, _ in letters] == ["broken control record"]


def test_the_first_snapshot_makes_reads_only(new_ledger: NewLedger) -> None:
    log = LogWriter()
    log.snapshot(TABLES, [insert("flight", {"id": 1}, {}), insert("booking", {"id": 1}, {"flight_id": 1})])
    context, _ = consumed(new_ledger, log, WITH_ENTITY)
    assert summary(context.unique) == [("row.read", "public.flight/1"), ("row.read", "public.booking/1")]


def test_a_later_snapshot_row_changes_documents_too(new_ledger: NewLedger) -> None:
    log = started()
    log.transaction(insert("flight", {"id": 1}, {"seats": 1}), insert("booking", {"id": 5}, {"flight_id": 1}))
    log.snapshot(("flight",), [insert("flight", {"id": 1}, {"seats": 2})], kind="Incremental Snapshot")
    context, _ = consumed(new_ledger, log, WITH_ENTITY)
    last = context.of_type("entity.changed")[-1]
    assert (last.event["subject"], last.data["changed"], last.data["snapshot"]) == ("booking/5", ["flight.seats"], True)
    assert last.data["rows"] == [context.of_type("row.read")[0].event["id"]]


def test_a_value_that_is_not_known_changes_no_other_document(new_ledger: NewLedger) -> None:
    log = started()
    log.transaction(insert("flight", {"id": 1}, {}), insert("booking", {"id": 5}, {"flight_id": 1}))
    log.transaction(update("customer", {"code": "a"}, {"name": PLACEHOLDER}), update("flight", {"id": 1}, {}))
    log.transaction(insert("booking", {"id": 6}, {"customer": "a"}))
    context, _ = consumed(new_ledger, log, WITH_ENTITY)
    assert summary(context.of_type("entity.changed")) == [
        ("entity.changed", "booking/5"),
        ("entity.changed", "booking/6"),
    ]
    last = context.of_type("entity.changed")[-1]
    assert (last.data["after"]["customer"], last.data["missing"]) == ({"code": "a"}, ["after.customer.name"])


def test_causes_that_prove_themselves(new_ledger: NewLedger) -> None:
    cause = Cause("action", "run", "trigger", ("booking/1",), 1)
    log = started()
    for number, xid in enumerate((701, 2**32 + 702, 701)):  # the log's transactions are 701, 702 and 703
        mark = marks.sign_mark(KEY, cause, xid).encode()
        log.transaction(message("wake", mark), insert("flight", {"id": number}, {}))
    log.transaction(message("wake", b"anything"), insert("flight", {"id": 9}, {}))
    context, letters = consumed(new_ledger, log)
    assert [each.data["cause"] is not None for each in context.unique] == [True, True, False, False]
    assert [kind for kind, _ in letters] == ["forged mark", "forged mark"]


CAUSE = '"cause":{"action":"a","run":"r","trigger":"t","keys":[],"depth":1}'


@pytest.mark.parametrize(
    "content",
    [
        f'{{{CAUSE},"mac":"ä"}}',
        f'{{{CAUSE},"mac":"x","expires":{10**30}}}',
        f'{{{CAUSE},"mac":"x","more":{"[" * 100_000}}}',
        "ÿ",
        "",
    ],
)
def test_whatever_somebody_writes_as_a_mark(new_ledger: NewLedger, content: str) -> None:
    """Who may connect to a source may write one."""
    log = started()
    log.transaction(message("wake", content.encode()), insert("flight", {"id": 1}, {}))
    context, letters = consumed(new_ledger, log)
    assert [each.data["cause"] for each in context.unique] == [None]
    assert [kind for kind, _ in letters] == ["forged mark"]


@pytest.mark.parametrize("value", [b'{"after":' + b"[" * 100_000, b'{"op":"u","after":' + b'{"a":' * 50_000])
def test_a_message_that_is_nested_too_deeply(new_ledger: NewLedger, value: bytes) -> None:
    log = started()
    log.raw(b'{"id":1}', value)
    log.transaction(insert("flight", {"id": 1}, {"status": "late", "seats": 1, "big": ""}))
    context, letters = consumed(new_ledger, log, fill=False)
    assert [kind for kind, _ in letters] == ["not a change"]
    assert summary(context.of_type("row.inserted")) == [("row.inserted", "public.flight/1")]


def random_log(rng: random.Random, transactions: int) -> LogWriter:
    """Everything that a log may hold, in any order that Debezium and a few strangers can make."""
    log = LogWriter()
    log.snapshot(TABLES, [insert("flight", {"id": number}, {"seats": 0}) for number in (1, 2)])
    rows: dict[str, set[Any]] = {"flight": {1, 2}, "customer": set(), "booking": set()}
    for _ in range(transactions):
        step = rng.random()
        if step < 0.05:
            log.raw(rng.choice((None, b"x")), rng.choice((b"hello", b"{}", None, b'{"op":"u"}')))
        elif step < 0.1:
            _snapshot_again(rng, log, rows)
        elif step < 0.13:
            log.transaction(insert("unknown", {"id": 1}, {}), *_random_changes(rng, rows))
        elif step < 0.2:
            _sent_twice(rng, log, rows)
        else:
            log.transaction(*_random_changes(rng, rows), *((clock(),) if rng.random() < 0.3 else ()))
    return log


def _random_changes(rng: random.Random, rows: dict[str, set[Any]]) -> list[dict[str, Any]]:
    changes: list[dict[str, Any]] = []
    for _ in range(rng.randint(1, 5)):
        name = rng.choice(TABLES)
        column_, there = ("code", rows[name]) if name == "customer" else ("id", rows[name])
        value = rng.choice("abc") if name == "customer" else rng.randint(1, 5)
        after = _random_image(rng, name)
        if rng.random() < 0.03:
            changes.append(truncate(name))
            there.clear()
        elif value not in there:
            changes.append(insert(name, {column_: value}, {**after, **({"big": "x"} if name == "flight" else {})}))
            there.add(value)
        elif rng.random() < 0.3:
            changes.append(delete(name, {column_: value}))
            there.discard(value)
        elif rng.random() < 0.2:
            there.discard(value)
            moved = f"{value}x" if isinstance(value, str) else value + 10
            there.add(moved)
            changes += move(name, {column_: value}, {column_: moved}, after, lsn=rng.randint(10**6, 10**9))
        else:
            changes.append(update(name, {column_: value}, after))
    return changes


def _random_image(rng: random.Random, name: str) -> dict[str, Any]:
    if name == "flight":
        return {"status": rng.choice("ab"), "seats": rng.randint(0, 2), "big": rng.choice((PLACEHOLDER, "y", None))}
    if name == "customer":
        return {"name": rng.choice(("Ada", "Bo", PLACEHOLDER, None))}
    return {"flight_id": rng.choice((None, 1, 2, 3)), "customer": rng.choice((None, *"abc")), "note": PLACEHOLDER}


def _sent_twice(rng: random.Random, log: LogWriter, rows: dict[str, set[Any]]) -> None:
    """A transaction of which a part, or after a while all of it, is sent again."""
    first = len(log.records)
    log.transaction(*_random_changes(rng, rows))
    again = log.records[first:]
    for _, key, value in again if rng.random() < 0.5 else again[rng.randrange(len(again)) :]:
        log.raw(key, value)


def _snapshot_again(rng: random.Random, log: LogWriter, rows: dict[str, set[Any]]) -> None:
    log.notice("STARTED", "Incremental Snapshot", data_collections="public.flight")
    for number in sorted(rows["flight"]):
        if rng.random() < 0.8:
            log.read(insert("flight", {"id": number}, {"seats": rng.randint(0, 2), "big": "z"}))
    if rng.random() < 0.8:
        log.notice("COMPLETED", "Incremental Snapshot", data_collections="public.flight")
        ended = len(log.records) - 1
        for _ in range(rng.randint(0, 3)):
            log.transaction(*_random_changes(rng, rows))
        if rng.random() < 0.9:
            log.settle(ended)
    else:
        log.notice("ABORTED", "Incremental Snapshot", data_collections="public.flight")


@pytest.mark.parametrize("compiled", [PLAIN, WITH_ENTITY], ids=["rows", "documents"])
@pytest.mark.parametrize("seed", [1, 2])
def test_how_a_log_is_cut_cannot_be_seen(new_ledger: NewLedger, compiled: Plan, seed: int) -> None:
    log = random_log(random.Random(seed), 60)
    whole, letters = consumed(new_ledger, log, compiled)
    for largest, crashes in ((1, 0.1), (20, 0.3)):
        again, same_letters = consumed(new_ledger, log, compiled, seed=seed, largest=largest, crashes=crashes)
        assert [(each.partition, each.value) for each in again.accepted] == [
            (each.partition, each.value) for each in whole.accepted
        ]
        assert same_letters == letters
    assert len(whole.unique) > 100
