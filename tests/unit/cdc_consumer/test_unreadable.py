"""What PostgreSQL cannot read or work out, where entities are: it is told, the rest goes on, and nothing is guessed."""

from __future__ import annotations

import logging
import random

import msgspec
import pytest

from tests.harness.debezium import delete, insert, truncate, update
from tests.unit.cdc_consumer.tables import PLACEHOLDER, NewLedger, column, plan, table
from tests.unit.cdc_consumer.test_batch import consumed, started, summary
from wakestream.capture import CapturedTable, Computed, Entity, Member

BAG = table("bag", "id", column("id", "int4"), column("trip", "int4"), column("doc", "json"), column("tag", "text"))
PLANE = table("plane", "id", column("id", "int4"), column("doc", "json"))
TRIP = table("trip", "id", column("id", "int4"), column("n", "int4"), column("plane", "int4"), column("doc", "json"))
BAGS = Member("bags", "public.bag", many=True, columns=("id",), references=("trip",), limit=5, key=("id",))
BY_KEY = Member("plane_row", "public.plane", columns=("plane",), references=("id",), key=("id",))
NO_TEXT = '"\\u0000"'  # JSON, which PostgreSQL cannot show as jsonb


def entity(*computed: Computed, members: tuple[Member, ...] = (BAGS, BY_KEY)) -> Entity:
    return Entity("trip", "public.trip", members, computed)


def compiled(*computed: Computed):
    return plan(BAG, PLANE, TRIP, entities={"trip": entity(*computed)})


SHARE = Computed("share", "10 / trip.n", "int4")


def test_a_document_that_cannot_be_worked_out_is_a_letter(new_ledger: NewLedger) -> None:
    """Of it alone; when it can be again, what was before it is said not to be known."""
    log = started("bag", "plane", "trip")
    log.transaction(insert("trip", {"id": 1}, {"n": 0}), insert("trip", {"id": 2}, {"n": 5}))
    log.transaction(update("trip", {"id": 1}, {"n": 2}))
    log.transaction(update("trip", {"id": 1}, {"n": 0}))
    log.transaction(delete("trip", {"id": 1}))
    context, letters = consumed(new_ledger, log, compiled(SHARE))
    assert letters == [("document not worked out", "trip/1"), ("document not worked out", "trip/1")]
    told = [
        (each.event["subject"], each.data["before"], each.data["after"]) for each in context.of_type("entity.changed")
    ]
    shares = [(subject, before and before["share"], after and after["share"]) for subject, before, after in told]
    assert shares == [("trip/2", None, 2), ("trip/1", None, 5), ("trip/1", None, None)]
    missing = [each.data["missing"] for each in context.of_type("entity.changed")]
    assert missing == [[], ["before"], ["before"]]
    assert len(context.of_type("row.updated")) == 2


@pytest.mark.parametrize("largest", [1, 3, 10**6])
def test_however_the_log_is_cut(new_ledger: NewLedger, largest: int) -> None:
    log = started("bag", "plane", "trip")
    for number in range(6):
        log.transaction(insert("trip", {"id": number}, {"n": number % 2}))
    whole, letters = consumed(new_ledger, log, compiled(SHARE))
    cut, same_letters = consumed(new_ledger, log, compiled(SHARE), largest=largest, crashes=0.3, seed=4)
    assert [each.value for each in cut.unique] == [each.value for each in whole.unique]
    assert letters == same_letters == [("document not worked out", f"trip/{number}") for number in (0, 2, 4)]


def test_a_member_that_cannot_be_read_is_missing_from_its_list(new_ledger: NewLedger) -> None:
    """Nobody knows whose it is, so no list claims to be whole until it can be read or is gone."""
    log = started("bag", "plane", "trip")
    log.transaction(insert("trip", {"id": 1}, {"n": 1}))
    log.transaction(insert("bag", {"id": 1}, {"trip": 1, "doc": NO_TEXT}))
    log.transaction(update("trip", {"id": 1}, {"n": 2}))
    log.transaction(update("bag", {"id": 1}, {"trip": 1, "doc": "1"}))
    log.transaction(update("trip", {"id": 1}, {"n": 3}))
    context, letters = consumed(new_ledger, log, compiled(Computed("bags_of", "jsonb_array_length(bags.rows)", "int4")))
    assert letters == [("unreadable value", "public.bag/1")]
    told = [
        (each.data["after"]["n"], each.data["after"].get("bags_of"), each.data["missing"])
        for each in context.of_type("entity.changed")
    ]
    assert told == [
        (1, 0, []),
        (1, None, ["after.bags", "after.bags_of"]),
        (2, None, ["before.bags", "before.bags_of", "after.bags", "after.bags_of"]),
        (2, 1, ["before.bags", "before.bags_of"]),
        (3, 1, []),
    ]


def test_a_member_found_by_its_key_is_missing_where_it_is_that_one(new_ledger: NewLedger) -> None:
    log = started("bag", "plane", "trip")
    log.transaction(insert("plane", {"id": 7}, {"doc": NO_TEXT}))
    for number, plane in enumerate((7, 8, None), 1):
        log.transaction(insert("trip", {"id": number}, {"n": 1, "plane": plane}))
    log.transaction(delete("plane", {"id": 7}))
    log.transaction(insert("trip", {"id": 4}, {"n": 1, "plane": 7}))
    context, letters = consumed(new_ledger, log, compiled())
    assert letters == [("unreadable value", "public.plane/7")]
    first = {each.event["subject"]: each.data["missing"] for each in context.of_type("entity.changed")[:3]}
    assert first == {"trip/1": ["after.plane_row"], "trip/2": [], "trip/3": []}
    assert context.of_type("entity.changed")[-1].data["missing"] == []


def test_a_root_that_cannot_be_read_is_not_said_to_be_gone(new_ledger: NewLedger) -> None:
    log = started("bag", "plane", "trip")
    log.transaction(insert("trip", {"id": 1}, {"n": 1}))
    log.transaction(update("trip", {"id": 1}, {"n": 1, "doc": NO_TEXT}))
    log.transaction(delete("trip", {"id": 1}))
    context, letters = consumed(new_ledger, log, compiled())
    assert letters == [("unreadable value", "public.trip/1")]
    told = [(each.data["after"], each.data["missing"]) for each in context.of_type("entity.changed")]
    assert told[1] == (None, ["after"])
    assert summary(context.unique)[-1] == ("row.deleted", "public.trip/1")


FAR = "+292278994-08-16Z"  # how Debezium prints infinity
PAYMENT = table(
    "payment",
    "id",
    column("id", "int4"),
    column("trip", "int4"),
    column("doc", "jsonb"),
    column("valid", "date"),
    column("n", "int4"),
)
PAYMENTS = Member("payments", "public.payment", many=True, columns=("id",), references=("trip",), limit=5, key=("id",))


@pytest.mark.parametrize(
    ("lost", "letters", "missing"),
    [
        ({"doc": PLACEHOLDER}, [], []),
        ({"valid": FAR}, [], ["after.payments.valid"]),
        ({"n": 2**40}, [("unreadable value", "public.payment/7")], ["after.payments"]),
        ({"n": "none"}, [("unreadable value", "public.payment/7")], ["after.payments"]),
    ],
)
def test_a_member_finds_its_documents_whatever_else_it_holds(
    new_ledger: NewLedger, lost: dict[str, object], letters: list[tuple[str, str]], missing: list[str]
) -> None:
    """What it leaves and what it comes to are both told, though its other values do not arrive."""
    log = started("trip", "payment")
    log.transaction(insert("trip", {"id": 1}, {}), insert("trip", {"id": 2}, {}))
    log.transaction(insert("payment", {"id": 7}, {"trip": 1, "doc": '{"a":1}', "n": 1}))
    log.transaction(update("payment", {"id": 7}, {"trip": 2, "doc": '{"a":1}', "n": 1, **lost}))
    entities = {"trip": Entity("trip", "public.trip", (PAYMENTS,))}
    context, found = consumed(new_ledger, log, plan(TRIP, PAYMENT, entities=entities))
    assert found == letters
    left, came = context.of_type("entity.changed")[3:]
    assert (left.event["subject"], left.data["before"]["payments"][0]["id"]) == ("trip/1", 7)
    assert (came.event["subject"], came.data["missing"]) == ("trip/2", missing)
    assert [each["id"] for each in came.data["after"].get("payments", [])] == ([] if letters else [7])


@pytest.mark.parametrize("unknown_before", [False, True])
def test_what_a_change_loses_was_known_before_it(new_ledger: NewLedger, unknown_before: bool) -> None:
    """Whatever else of the table was not known then."""
    dated = table("trip", "id", column("id", "int4"), column("valid", "date"))
    log = started("trip")
    log.transaction(insert("trip", {"id": 9}, {"valid": FAR if unknown_before else "2026-01-02Z"}))
    log.transaction(insert("trip", {"id": 1}, {"valid": "2026-01-01Z"}))
    log.transaction(update("trip", {"id": 1}, {"valid": FAR}))
    context, _ = consumed(new_ledger, log, plan(dated, entities={"trip": Entity("trip", "public.trip")}))
    last = context.of_type("entity.changed")[-1].data
    assert (last["before"], last["missing"]) == ({"id": 1, "valid": "2026-01-01"}, ["after.valid"])


def test_a_truncate_forgets_what_could_not_be_read(new_ledger: NewLedger) -> None:
    log = started("bag", "plane", "trip")
    log.transaction(insert("bag", {"id": 1}, {"trip": 1, "doc": NO_TEXT}))
    log.transaction(truncate("bag"))
    log.transaction(insert("trip", {"id": 1}, {"n": 1}))
    context, _ = consumed(new_ledger, log, compiled())
    assert [each.data["missing"] for each in context.of_type("entity.changed")] == [[]]


def test_a_value_that_no_index_takes_is_a_letter(new_ledger: NewLedger) -> None:
    """PostgreSQL calls that a limit of the program's; waiting for it to go away would hold up the source for good."""
    bags = Member("bags", "public.bag", many=True, columns=("ref",), references=("tag",), limit=5, key=("id",))
    ref = table("trip", "id", column("id", "int4"), column("ref", "text"))
    log = started("bag", "trip")
    long = random.Random(1).randbytes(8_000).hex()  # which compresses by no more than half
    log.transaction(insert("bag", {"id": 1}, {"trip": 1, "tag": long}), insert("bag", {"id": 2}, {"tag": "a"}))
    log.transaction(insert("trip", {"id": 1}, {"ref": "a"}))
    context, letters = consumed(
        new_ledger, log, plan(BAG, ref, entities={"trip": Entity("trip", "public.trip", (bags,))})
    )
    assert letters == [("unreadable value", "public.bag/1")]
    assert [each.data["after"]["bags"][0]["id"] for each in context.of_type("entity.changed")] == [2]


@pytest.mark.parametrize("largest", [1, 10**6])
def test_a_key_too_long_for_an_index(new_ledger: NewLedger, largest: int) -> None:
    """A source takes keys of 2,704 bytes, which leaves no room for anything beside them."""
    notes = table("note", "code", column("code", "text"), column("valid", "date"), column("n", "int4"))
    first, second = (random.Random(seed).randbytes(1_330).hex() for seed in (1, 2))
    log = started("note")
    log.transaction(insert("note", {"code": first}, {"valid": FAR}), insert("note", {"code": second}, {"n": 1}))
    log.transaction(update("note", {"code": first}, {"n": 2**40}))
    log.transaction(update("note", {"code": second}, {"n": 2}))
    context, letters = consumed(new_ledger, log, plan(notes), largest=largest)
    ((kind, subject),) = letters
    assert (kind, subject[:100]) == ("unreadable value", f"public.note/{first}"[:100])
    assert [each.data["missing"] for each in context.unique] == [["after.valid"], [], ["before.valid", "after"], []]


@pytest.mark.parametrize("key", [3 * 10**9, -(2**40)])
def test_a_key_that_its_column_does_not_hold(new_ledger: NewLedger, key: int) -> None:
    """The source has made it larger, and no revision knows."""
    log = started("bag", "plane", "trip")
    log.transaction(insert("plane", {"id": key}, {}), insert("trip", {"id": key}, {}), insert("bag", {"id": key}, {}))
    log.transaction(insert("trip", {"id": 1}, {"plane": 1}))
    context, letters = consumed(new_ledger, log, compiled())
    assert letters == [("unreadable value", f"public.{name}/{key}") for name in ("bag", "plane", "trip")]
    assert context.of_type("entity.changed")[-1].event["subject"] == "trip/1"


def test_a_row_that_is_lost_inside_a_list(new_ledger: NewLedger) -> None:
    """Of every element its own list may lack one; and what is computed from it is not known."""
    tags = table("tag", "id", column("id", "int4"), column("bag", "int4"), column("n", "int4"))
    tagged = Member("tags", "public.tag", many=True, columns=("id",), references=("bag",), limit=5, key=("id",))
    bags = msgspec.structs.replace(BAGS, members=(tagged,))
    log = started("bag", "tag", "trip")
    log.transaction(insert("trip", {"id": 1}, {"n": 1}), insert("bag", {"id": 1}, {"trip": 1}))
    log.transaction(insert("tag", {"id": 9}, {"bag": 1, "n": 2**40}))
    log.transaction(update("trip", {"id": 1}, {"n": 2}))
    entities = {"trip": entity(Computed("counted", "jsonb_array_length(bags.rows)", "int4"), members=(bags,))}
    context, _ = consumed(new_ledger, log, plan(BAG, tags, TRIP, entities=entities))
    assert context.of_type("entity.changed")[-1].data["missing"] == ["before.bags.tags", "after.bags.tags"]


def test_what_is_computed_from_below_a_lost_row(new_ledger: NewLedger) -> None:
    deep = msgspec.structs.replace(
        BY_KEY, members=(Member("kind", "public.bag", columns=("id",), references=("id",), key=("id",)),)
    )
    log = started("bag", "plane", "trip")
    log.transaction(insert("plane", {"id": 7}, {"doc": "1"}), insert("trip", {"id": 1}, {"plane": 7}))
    log.transaction(update("plane", {"id": 7}, {"doc": NO_TEXT}))
    free = Computed("free", "coalesce(plane_row__kind.trip, 0)", "int4")
    context, _ = consumed(new_ledger, log, plan(BAG, PLANE, TRIP, entities={"trip": entity(free, members=(deep,))}))
    last = context.of_type("entity.changed")[-1].data
    assert (last["missing"], "free" in last["after"]) == (["after.free", "after.plane_row"], False)


def test_no_value_in_what_is_logged(new_ledger: NewLedger, caplog: pytest.LogCaptureFixture) -> None:
    """PostgreSQL's words quote it, and it may be one that a mask hides."""
    person = table("person", "id", column("id", "int4"), column("ssn", "int4"))
    log = started("person")
    log.transaction(insert("person", {"id": 1}, {"ssn": "123-45-6789"}))
    with caplog.at_level(logging.DEBUG):
        _, letters = consumed(new_ledger, log, plan(person, person=CapturedTable(mask={"ssn": "hash"})))
    assert letters == [("unreadable value", "public.person/1")]
    assert "cannot be read" in caplog.text
    assert "123-45-6789" not in caplog.text
