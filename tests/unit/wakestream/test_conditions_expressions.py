"""What expressions give, as an action's `bind` and `approval` use them."""

from __future__ import annotations

import decimal

import pytest

from tests.unit.wakestream.test_conditions import ALTERNATIVE, ALTERNATIVES, DOCUMENT, ENTITY_SCOPE, NOW, ROW
from wakestream import condition_scope, conditions
from wakestream.condition_scope import ACTION_ROOTS, Scalar
from wakestream.conditions import Failed, Given, Matched, NotMatched, Null, Undecided

ACTION_SCOPE = condition_scope.action_scope(
    ENTITY_SCOPE, bound={"booking": Scalar("int8")}, chosen={"to_flight": ALTERNATIVE}
)


def expression(text: str, roots: frozenset[str] = ACTION_ROOTS) -> conditions.Expression:
    return conditions.compile_expression(text, ACTION_SCOPE, roots, where="bind")


@pytest.mark.parametrize(
    ("text", "type_", "value"),
    [
        ("after.id", "int8", 42),
        ("chosen.to_flight.fare", "numeric", decimal.Decimal("200.10")),
        ("chosen.to_flight.departs_at", "timestamptz", ROW["departs_at"]),
        ("after.flight.extra.walk.minutes", "jsonb", 9),
        ("after.alternatives", None, ALTERNATIVES),
        ("chosen.to_flight", None, ALTERNATIVES[1]),
        ("chosen.to_flight.best.no", "text", "2B"),
        ("before.flight.status", "text", None),
        ("after.id + 1", None, 43),
        ("chosen.to_flight.departs_at + duration('1h')", None, "2026-11-22T12:53:11.769+00:00"),
        ("chosen.to_flight.departs_at - after.flight.departs_at", None, "PT0S"),
        ("'booking ' + string(bound.booking)", None, "booking 42"),
        ("{'fares': after.alternatives.map(a, a.fare)}", None, {"fares": [80.0, 200.1]}),
        ("event.subject", "text", "booking/42"),
        ("run.agent", "text", "rebooker"),
    ],
)
def test_expressions_give_json_values(text: str, type_: str | None, value: object) -> None:
    images = {
        "after": DOCUMENT,
        "before": None,
        "bound": {"booking": 42},
        "chosen": {"to_flight": ALTERNATIVES[1]},
        "event": {"subject": "booking/42"},
        "run": {"agent": "rebooker"},
    }
    compiled = expression(text)
    assert compiled.evaluate(images, now=NOW) == Given(value)
    assert compiled.type == type_


def test_an_approval_is_a_condition_over_the_roots_of_actions() -> None:
    text = "chosen.to_flight.fare > after.flight.fare + 50.0"
    approval = conditions.compile_condition(text, ACTION_SCOPE, ACTION_ROOTS, where="approval")
    images = {"after": DOCUMENT, "chosen": {"to_flight": ALTERNATIVES[1]}}
    assert approval.evaluate(images) == Matched()
    assert approval.evaluate(images | {"chosen": {"to_flight": ALTERNATIVES[0]}}) == NotMatched()
    assert approval.evaluate(images | {"chosen": {"to_flight": {"fare": None}}}) == Null("chosen.to_flight.fare")


def test_expressions_that_cannot_be_worked_out() -> None:
    assert expression("after.flight.fare + 1.0").evaluate({"after": {"flight": None}}) == Null("after.flight.fare")
    assert expression("after.id / 0").evaluate({"after": DOCUMENT}) == Failed("divide by zero")
    assert expression("after.id").evaluate({"after": DOCUMENT}, missing=["after"]) == Undecided("after")
    assert expression("after.id + 1").evaluate({"after": DOCUMENT}, missing=["after.id"]) == Undecided("after.id")
    assert expression("after.id").evaluate({"after": {}}) == Failed("after.id in the event has no id")
    absent = expression("after.flight.extra.nothing").evaluate({"after": DOCUMENT})
    assert absent == Failed("after.flight.extra in the event has no nothing")


def test_what_the_model_wrote_is_read_where_the_action_trusts_it() -> None:
    trusting = expression("args.note", condition_scope.TRUSTING_ACTION_ROOTS)
    assert trusting.evaluate({"args": {"note": "x"}}) == Given("x")
