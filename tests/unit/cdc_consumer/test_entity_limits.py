"""Documents that are too large, and changes that touch too many: dead letters, while everything else goes on."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from cdc_consumer import entity_events
from tests.harness.debezium import delete, insert, truncate, update
from tests.unit.cdc_consumer.tables import BOOKING, CUSTOMER, FLIGHT, NewLedger, plan
from tests.unit.cdc_consumer.test_batch import ENTITY, consumed, started, summary
from wakestream.capture import Entity

SUBJECTS = [f"booking/{number}" for number in range(1, 8)]


def limited(**settings: Any) -> Entity:
    """The booking with its customer and its flight, of which so many may be touched."""
    customer, flight = ENTITY.members
    fan_out = settings.pop("fan_out", flight.fan_out)
    members = (customer, msgspec.structs.replace(flight, fan_out=fan_out))
    return msgspec.structs.replace(ENTITY, members=members, **settings)


def booked(count: int) -> list[dict[str, Any]]:
    return [insert("booking", {"id": number}, {"flight_id": 1}) for number in range(1, count + 1)]


@pytest.mark.parametrize("at_once", [1, 3, 500])
def test_a_wide_fan_out_is_told_whole_in_the_order_of_subjects(
    new_ledger: NewLedger, monkeypatch: pytest.MonkeyPatch, at_once: int
) -> None:
    monkeypatch.setattr(entity_events, "AT_ONCE", at_once)
    log = started()
    log.transaction(insert("flight", {"id": 1}, {"status": "on time"}), *booked(7))
    log.transaction(
        update("flight", {"id": 1}, {"status": "late"}),
        update("booking", {"id": 3}, {"flight_id": 2}),
        update("booking", {"id": 4}, {"flight_id": 1}),
        delete("booking", {"id": 5}),
    )
    context, letters = consumed(new_ledger, log, plan(FLIGHT, CUSTOMER, BOOKING, entities={"booking": limited()}))
    assert letters == []
    first, second = context.of_type("entity.changed")[:7], context.of_type("entity.changed")[7:]
    assert [each.event["subject"] for each in first] == SUBJECTS
    assert [each.event["subject"] for each in second] == SUBJECTS
    states = {
        each.event["subject"]: each.data["after"]
        and each.data["after"]["flight"]
        and each.data["after"]["flight"]["status"]
        for each in second
    }
    assert states == {subject: "late" for subject in SUBJECTS} | {"booking/3": None, "booking/5": None}
    assert {each.data["before"]["flight"]["status"] for each in second} == {"on time"}
    rows = {each.event["subject"]: len(each.data["rows"]) for each in second}
    assert rows == {subject: 1 for subject in SUBJECTS} | {"booking/3": 2, "booking/4": 2, "booking/5": 2}


def test_a_fan_out_beyond_the_limit_tells_none_of_it(new_ledger: NewLedger) -> None:
    log = started()
    log.transaction(insert("flight", {"id": 1}, {"status": "on time"}), *booked(3))
    log.transaction(
        update("flight", {"id": 1}, {"status": "late"}), update("booking", {"id": 2}, {"flight_id": 1, "note": "x"})
    )
    compiled = plan(FLIGHT, CUSTOMER, BOOKING, entities={"booking": limited(fan_out=2)})
    context, letters = consumed(new_ledger, log, compiled)
    assert letters == [("fan-out too large", "booking.flight")]
    assert summary(context.of_type("entity.changed"))[3:] == [("entity.changed", "booking/2")]
    assert context.of_type("entity.changed")[-1].data["after"]["flight"]["status"] == "late"


def test_a_truncated_member_leaves_every_document_without_it(new_ledger: NewLedger) -> None:
    log = started()
    log.transaction(insert("flight", {"id": 1}, {"status": "on time"}), *booked(2), insert("booking", {"id": 9}, {}))
    log.transaction(truncate("flight"))
    context, _ = consumed(new_ledger, log, plan(FLIGHT, CUSTOMER, BOOKING, entities={"booking": limited()}))
    told = context.of_type("entity.changed")[3:]
    assert [(each.event["subject"], each.data["after"]["flight"]) for each in told] == [
        ("booking/1", None),
        ("booking/2", None),
    ]


def test_a_document_that_is_too_large_is_a_dead_letter_and_no_event(new_ledger: NewLedger) -> None:
    compiled = plan(FLIGHT, CUSTOMER, BOOKING, entities={"booking": limited(max_size=1024)})
    log = started()
    log.transaction(*booked(2))
    log.transaction(update("booking", {"id": 1}, {"flight_id": 1, "note": "x" * 2000}))
    log.transaction(update("booking", {"id": 1}, {"flight_id": 1, "note": "short"}))
    log.transaction(update("booking", {"id": 1}, {"flight_id": 1, "note": "shorter"}))
    context, letters = consumed(new_ledger, log, compiled)
    assert letters == [("document too large", "booking/1")]
    _, _, back, last = context.of_type("entity.changed")
    assert (back.data["before"], back.data["missing"], back.data["changed"]) == (None, ["before"], None)
    assert back.data["after"]["note"] == "short"
    assert (last.data["before"]["note"], last.data["changed"], last.data["missing"]) == ("short", ["note"], [])
    assert len(context.of_type("row.updated")) == 3


def test_a_document_that_was_too_large_is_deleted_without_it(new_ledger: NewLedger) -> None:
    compiled = plan(FLIGHT, CUSTOMER, BOOKING, entities={"booking": limited(max_size=1024)})
    log = started()
    log.transaction(update("booking", {"id": 1}, {"flight_id": 1, "note": "x" * 2000}))
    log.transaction(delete("booking", {"id": 1}))
    context, _ = consumed(new_ledger, log, compiled)
    (gone,) = context.of_type("entity.changed")
    assert (gone.data["before"], gone.data["after"], gone.data["missing"]) == (None, None, ["before"])
