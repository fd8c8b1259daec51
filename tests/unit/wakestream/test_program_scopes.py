"""What conditions see of documents: members of members, lists of them, and only the fields that are shown."""

from __future__ import annotations

import pytest

from tests.unit.cdc_consumer.tables import column, table
from wakestream import program_scopes
from wakestream.capture import Capture, CapturedTable, Entity, Member
from wakestream.catalogue import Catalogue
from wakestream.condition_problems import ConditionError
from wakestream.condition_scope import CHANGE_ROOTS
from wakestream.conditions import Matched, compile_condition

TABLES = {
    each.label: each
    for each in (
        table("aircraft", "id", column("id", "int4"), column("kind", "text"), column("secret", "text")),
        table("flight", "id", column("id", "int4"), column("aircraft_id", "int4"), column("gate", "text")),
        table("booking", "id", column("id", "int4"), column("flight_id", "int4")),
        table("bag", "id", column("id", "int4"), column("booking_id", "int4"), column("weight", "int4")),
    )
}
AIRCRAFT = Member("aircraft", "public.aircraft", columns=("aircraft_id",), references=("id",))
FLIGHT = Member(
    "flight", "public.flight", columns=("flight_id",), references=("id",), fields=("id",), members=(AIRCRAFT,)
)
BAGS = Member("bags", "public.bag", many=True, columns=("id",), references=("booking_id",), fields=("id", "weight"))
BOOKING = Entity("booking", "public.booking", (FLIGHT, BAGS))
SCOPE = program_scopes.entity_scope(
    Catalogue("air", "1", 1, 180000, TABLES),
    Capture({label: CapturedTable(mask={"secret": "hash"} if "aircraft" in label else {}) for label in TABLES}),
    BOOKING,
)

DOCUMENT = {
    "id": 1,
    "flight_id": 7,
    "flight": {"id": 7, "aircraft": {"id": 3, "kind": "A320"}},
    "bags": [{"id": 1, "weight": 12}, {"id": 2, "weight": 30}],
}


@pytest.mark.parametrize(
    ("text", "matches"),
    [
        ("after.flight.aircraft.kind == 'A320'", True),
        ("after.bags.exists(b, b.weight > 29)", True),
        ("after.bags.size() == 2 && after.bags[0].weight == 12", True),
        ("after.flight.aircraft.id == 4", False),
    ],
)
def test_conditions_read_documents_at_any_depth(text: str, *, matches: bool) -> None:
    condition = compile_condition(text, SCOPE, CHANGE_ROOTS)
    assert isinstance(condition.evaluate({"after": DOCUMENT}), Matched) == matches


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("after.flight.aircraft.knd == 'A320'", "no such column in public.aircraft; did you mean"),
        ("after.flight.aircraft.secret == 'x'", "excluded or masked in public.aircraft"),
        ("after.flight.gate == 'A1'", "no such column in public.flight"),
        ("after.bags.exists(b, b.wait > 29)", "no such column in public.bag; did you mean"),
    ],
)
def test_what_a_document_does_not_show_is_refused(text: str, problem: str) -> None:
    with pytest.raises(ConditionError) as caught:
        compile_condition(text, SCOPE, CHANGE_ROOTS)
    assert problem in str(caught.value)
