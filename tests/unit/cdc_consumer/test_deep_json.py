"""JSON that is nested so deeply that no reader could parse the event: the value is missing, and the stream goes on."""

from __future__ import annotations

import pytest

from tests.harness.debezium import insert, update
from tests.unit.cdc_consumer.tables import NewLedger, column, plan, table
from tests.unit.cdc_consumer.test_batch import consumed, started
from wakestream import exact_json
from wakestream.capture import Entity

DOCUMENT = table(
    "document",
    "id",
    column("id", "int4"),
    column("doc", "jsonb"),
    column("many", "json", array=True),
    column("n", "int4"),
)
PLAN = plan(DOCUMENT, entities={"paper": Entity("paper", "public.document")})


def nested(levels: int) -> str:
    return (
        "[" * (levels // 2)
        + '{"a":' * (levels - levels // 2)
        + "1"
        + "}" * (levels - levels // 2)
        + "]" * (levels // 2)
    )


@pytest.mark.parametrize("levels", [501, 1_500, 6_000, 100_000])
def test_it_is_missing_and_everything_else_is_told(new_ledger: NewLedger, levels: int) -> None:
    log = started("document")
    log.transaction(insert("document", {"id": 1}, {"doc": nested(levels), "n": 1}))
    log.transaction(update("document", {"id": 1}, {"doc": nested(levels), "n": 2}))
    log.transaction(update("document", {"id": 1}, {"doc": "1", "many": ["1", nested(levels)], "n": 3}))
    log.transaction(update("document", {"id": 1}, {"doc": nested(500), "many": [None, nested(500)], "n": 4}))
    context, letters = consumed(new_ledger, log, PLAN)
    assert letters == []
    expected = [["after.doc"], ["before.doc", "after.doc"], ["before.doc", "after.many"], ["before.many"]]
    assert [each.data["missing"] for each in context.unique if each.type.startswith("row")] == expected
    assert [each.data["missing"] for each in context.of_type("entity.changed")] == expected
    assert [each.data["after"]["n"] for each in context.of_type("entity.changed")] == [1, 2, 3, 4]


@pytest.mark.parametrize(
    ("text", "deep"),
    [
        (nested(500), False),
        (nested(501), True),
        ('"' + "[" * 2_000 + '"', False),
        ("[" + ",".join(["[]"] * 2_000) + "]", False),
        ('["\\"", ' + nested(500) + "]", True),
        ('{"\\\\": "' + "{" * 900 + '"}', False),
    ],
)
def test_levels_are_counted_outside_of_strings(text: str, deep: bool) -> None:
    assert exact_json.is_deep(text) == deep
