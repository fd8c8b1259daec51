"""Tables without a primary key: both images come from the change itself, exact and masked as any other."""

from __future__ import annotations

from typing import Any

from cdc_consumer.plan import Plan
from tests.harness.context import Number
from tests.harness.debezium import LogWriter, insert, keyless, truncate
from tests.unit.cdc_consumer.tables import FLIGHT, PLACEHOLDER, NewLedger, column, plan, table
from tests.unit.cdc_consumer.test_batch import consumed
from wakestream.capture import CapturedTable

LOG = table(
    "log",
    "",
    column("line", "text"),
    column("n", "int4"),
    column("amount", "numeric"),
    column("day", "date"),
    column("secret", "text"),
    column("gone", "text"),
    column("spot", "point"),
)
SETTINGS = CapturedTable(exclude=("gone",), mask={"secret": "redact"}, mirror=False)
PLAN = plan(LOG, FLIGHT, log=SETTINGS)
ROW = {"line": "a", "n": 1, "amount": "1.50", "day": None, "secret": "s", "gone": "g", "spot": None}
SHOWN = {"n": 1, "day": None, "line": "a", "spot": None, "amount": Number("1.50"), "secret": "***"}


def row(**values: Any) -> dict[str, Any]:
    return ROW | values


def told(new_ledger: NewLedger, *changes: dict[str, Any], compiled: Plan = PLAN) -> list[dict[str, Any]]:
    """What the events of one transaction say."""
    log = LogWriter()
    log.snapshot(("log", "flight"), [])
    log.transaction(*changes)
    context, letters = consumed(new_ledger, log, compiled, fill=False)
    assert letters == []
    return [{"subject": each.event["subject"], **each.data} for each in context.unique]


def test_before_after_and_changed_come_from_the_change(new_ledger: NewLedger) -> None:
    found = told(
        new_ledger,
        keyless("c", "log", None, row()),
        keyless("u", "log", row(), row(n=2, amount="2.500")),
        keyless("d", "log", row(n=2), None),
    )
    assert [(each["op"], each["before"], each["after"], each["changed"]) for each in found] == [
        ("insert", None, SHOWN, None),
        ("update", SHOWN, {**SHOWN, "n": 2, "amount": Number("2.500")}, ["n", "amount"]),
        ("delete", {**SHOWN, "n": 2}, None, None),
    ]
    assert {(each["subject"], each["key"], tuple(each["missing"])) for each in found} == {("public.log", None, ())}


def test_rows_that_are_alike_are_each_told(new_ledger: NewLedger) -> None:
    found = told(new_ledger, *[keyless("c", "log", None, row())] * 3, *[keyless("d", "log", row(), None)] * 2)
    assert [each["op"] for each in found] == ["insert"] * 3 + ["delete"] * 2
    assert all((each["before"] or each["after"]) == SHOWN for each in found)
    assert [each["position"]["seq"] for each in found] == [1, 2, 3, 4, 5]


def test_masked_and_excluded_values_are_in_neither_image(new_ledger: NewLedger) -> None:
    found = told(new_ledger, keyless("u", "log", row(secret="old"), row(secret="new")))
    assert "old" not in str(found)
    assert "new" not in str(found)
    assert found[0]["changed"] == []


def test_what_cannot_be_known_is_missing_from_its_own_image(new_ledger: NewLedger) -> None:
    far = "+292278994-08-16"
    found = told(new_ledger, keyless("u", "log", row(day=far), row(day="2026-11-22")))
    assert found[0]["missing"] == ["before.day"]
    assert "day" not in found[0]["before"]
    assert found[0]["after"]["day"] == "2026-11-22"
    (other,) = told(new_ledger, keyless("u", "log", row(day="2026-11-22"), row(day=far)))
    assert other["missing"] == ["after.day"]


def test_what_was_not_sent_again_is_in_the_old_row(new_ledger: NewLedger) -> None:
    (found,) = told(new_ledger, keyless("u", "log", row(line="long" * 9), row(line=PLACEHOLDER, n=2)))
    assert (found["after"]["line"], found["changed"], found["missing"]) == ("long" * 9, ["n"], [])


def test_both_images_are_turned_into_what_postgresql_prints(new_ledger: NewLedger) -> None:
    old, new = {"x": 1.5, "y": 2.0, "wkb": "", "srid": None}, {"x": 3.0, "y": 4.0, "wkb": "", "srid": None}
    (found,) = told(new_ledger, keyless("u", "log", row(spot=old), row(spot=new)))
    assert (found["before"]["spot"], found["after"]["spot"]) == ("(1.5,2)", "(3,4)")


def test_a_change_without_the_old_row_says_so(new_ledger: NewLedger) -> None:
    """The replica identity was taken back, and nobody has noticed yet."""
    (found,) = told(new_ledger, keyless("u", "log", None, row()))
    assert (found["before"], found["changed"], found["missing"]) == (None, None, ["before"])


def test_debezium_takes_a_unique_index_for_a_key_and_nobody_else_does(new_ledger: NewLedger) -> None:
    found = told(new_ledger, keyless("u", "log", row(), row(n=2), key={"line": "a"}))
    assert [(each["op"], each["key"], each["changed"]) for each in found] == [("update", None, ["n"])]


def test_a_truncate_and_what_stands_around_it(new_ledger: NewLedger) -> None:
    found = told(
        new_ledger, keyless("c", "log", None, row()), truncate("log"), keyless("c", "log", None, row(line="b"))
    )
    assert [each["op"] for each in found] == ["insert", "truncate", "insert"]


def test_a_value_that_cannot_be_read_costs_only_its_row(new_ledger: NewLedger) -> None:
    log = LogWriter()
    log.snapshot(("log", "flight"), [])
    log.transaction(keyless("c", "log", None, row(n="x")), keyless("u", "log", row(), row(n=2)))
    context, letters = consumed(new_ledger, log, PLAN, fill=False)
    assert letters == [("unreadable value", "public.log")]
    first, second = context.unique
    assert (first.data["after"], first.data["missing"]) == (None, ["after"])
    assert (second.data["before"], second.data["changed"]) == (SHOWN, ["n"])


def test_how_the_log_is_cut_cannot_be_seen(new_ledger: NewLedger) -> None:
    log = LogWriter()
    flight = {"id": 1, "status": "x", "seats": None, "big": None}
    log.snapshot(("log", "flight"), [keyless("r", "log", None, row()), insert("flight", {"id": 1}, flight)])
    for number in range(20):
        log.transaction(
            keyless("u", "log", row(n=number), row(n=number + 1)),
            insert("flight", {"id": number + 2}, flight | {"id": number + 2}),
            keyless("c", "log", None, row(line=PLACEHOLDER if number == 3 else "l")),
        )
    whole, _ = consumed(new_ledger, log, PLAN, fill=False)
    for seed in range(3):
        cut, _ = consumed(new_ledger, log, PLAN, seed=seed, largest=9, crashes=0.2, fill=False)
        assert [each.event for each in cut.unique] == [each.event for each in whole.unique]


def test_a_table_with_a_key_whose_change_has_none_is_not_guessed_at(new_ledger: NewLedger) -> None:
    log = LogWriter()
    log.snapshot(("log", "flight"), [])
    flight = {"id": 1, "status": "x", "seats": None, "big": None}
    log.transaction(keyless("c", "flight", None, flight), keyless("c", "log", None, row()))
    context, letters = consumed(new_ledger, log, PLAN, fill=False)
    assert ("incomplete change", "") in letters
    assert [each.event["subject"] for each in context.unique if each.event["type"] == "row.inserted"] == ["public.log"]
    assert [each.data["tables"] for each in context.of_type("context.gap")] != []
