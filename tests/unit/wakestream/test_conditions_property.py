"""Random conditions over random rows agree with a plain Python evaluation, and an error never becomes a match."""

from __future__ import annotations

import datetime
import operator
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.wakestream.test_conditions import FLIGHT, NOW, TABLE_SCOPE
from wakestream import conditions
from wakestream.condition_scope import ENTER_LEAVE_ROOTS
from wakestream.conditions import Failed, Matched, NotMatched, Null, Outcome

Row = dict[str, Any]
Truth = bool | None
"""None is an error."""

OPERATORS: dict[str, Callable[[Any, Any], bool]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
    "==": operator.eq,
    "!=": operator.ne,
}


@dataclass(frozen=True)
class Test:
    __test__ = False
    text: str
    reads: frozenset[str]
    truth: Callable[[Row], Truth]


def compared(column: str, op: str, literal: str, value: object, *, of: Callable[[Any], Any] = lambda v: v) -> Test:
    def truth(row: Row) -> Truth:
        if row[column] is None:
            return {"==": False, "!=": True}.get(op)
        return OPERATORS[op](of(row[column]), value)

    return Test(f"after.{column} {op} {literal}", frozenset({column}), truth)


def nullness(column: str, op: str) -> Test:
    return Test(f"after.{column} {op} null", frozenset({column}), lambda row: (row[column] is None) == (op == "=="))


def quotient(column: str) -> Test:
    def truth(row: Row) -> Truth:
        return None if not row[column] else int(100 / row[column]) > 3

    return Test(f"100 / after.{column} > 3", frozenset({column}), truth)


def membership(column: str, members: list[str]) -> Test:
    return Test(f"after.{column} in {members!r}", frozenset({column}), lambda row: row[column] in members)


def negated(test: Test) -> Test:
    def truth(row: Row) -> Truth:
        value = test.truth(row)
        return None if value is None else not value

    return Test(f"!({test.text})", test.reads, truth)


def joined(left: Test, right: Test, op: str) -> Test:
    decisive = op == "||"

    def truth(row: Row) -> Truth:
        values = (left.truth(row), right.truth(row))
        if decisive in values:
            return decisive
        return None if None in values else not decisive

    return Test(f"({left.text} {op} {right.text})", left.reads | right.reads, truth)


def integers(column: str, op: str, value: int) -> Test:
    return compared(column, op, str(value), value)


def decimals(op: str, whole: int) -> Test:
    return compared("fare", op, f"{whole}.5", whole + 0.5)


def texts(op: str, value: str) -> Test:
    return compared("status", op, f"'{value}'", value)


def moments(op: str) -> Test:
    return compared("departs_at", op, "now", NOW, of=datetime.datetime.fromisoformat)


OPS = st.sampled_from(sorted(OPERATORS))
SMALL = st.integers(-40, 60)
STATUSES = st.sampled_from(["planned", "delayed", "cancelled", "ünïcode 😀"])
MOMENTS = st.datetimes(
    datetime.datetime(2026, 11, 20), datetime.datetime(2026, 11, 25), timezones=st.just(datetime.UTC)
)
ATOMS: st.SearchStrategy[Test] = st.one_of(
    st.builds(integers, st.just("delay_minutes"), OPS, SMALL),
    st.builds(integers, st.just("id"), OPS, st.integers(-(2**62), 2**62)),
    st.builds(decimals, OPS, st.integers(0, 60)),
    st.builds(texts, OPS, STATUSES),
    st.builds(moments, st.sampled_from(["<", "<=", ">", ">="])),
    st.builds(nullness, st.sampled_from([c.name for c in FLIGHT.columns]), st.sampled_from(["==", "!="])),
    st.builds(membership, st.just("status"), st.lists(STATUSES, min_size=1, max_size=3)),
    st.builds(quotient, st.sampled_from(["delay_minutes", "id"])),
    st.just(Test("after.open", frozenset({"open"}), lambda row: row["open"])),
)
TESTS = st.recursive(
    ATOMS,
    lambda inner: st.one_of(st.builds(negated, inner), st.builds(joined, inner, inner, st.sampled_from(["&&", "||"]))),
    max_leaves=6,
)
COLUMNS: dict[str, st.SearchStrategy[Any]] = {
    "id": st.integers(-(2**63), 2**63 - 1),
    "status": STATUSES,
    "delay_minutes": SMALL,
    "fare": st.integers(0, 60) | st.floats(0, 60) | st.decimals(0, 60, places=2),
    "open": st.booleans(),
    "departs_at": MOMENTS.map(lambda moment: moment.isoformat()),
    "arrives_at": MOMENTS.map(lambda moment: moment.isoformat()),
    "extra": st.sampled_from([{"gate": "B4"}, []]),
    "tags": st.lists(st.sampled_from(["night", "codeshare"])),
}
ROWS: st.SearchStrategy[Row] = st.fixed_dictionaries({name: st.none() | values for name, values in COLUMNS.items()})


def expected(test: Test, row: Row | None) -> str:
    """The outcome's name, by plain evaluation; an absent image is a row of nulls."""
    row = row or {column.name: None for column in FLIGHT.columns}
    value = test.truth(row)
    if value is None:
        return Null.__name__ if any(row[column] is None for column in test.reads) else Failed.__name__
    return (Matched if value else NotMatched).__name__


def outcome(condition: conditions.Condition, row: Row | None) -> Outcome:
    return condition.evaluate({"after": row, "key": {"id": 1}}, now=NOW)


@settings(max_examples=400, deadline=None)
@given(TESTS, st.none() | ROWS, st.none() | ROWS)
def test_enter_agrees_with_a_plain_evaluation(test: Test, before: Row | None, after: Row | None) -> None:
    condition = conditions.compile_condition(test.text, TABLE_SCOPE, ENTER_LEAVE_ROOTS, where="fire: enter")
    assert condition.reads >= {f"after.{column}" for column in test.reads}
    for image in (before, after):
        assert type(outcome(condition, image)).__name__ == expected(test, image), (test.text, image)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8) | st.decimals(allow_nan=False),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=5,
)
ODD_CONDITIONS = [
    conditions.compile_condition(text, TABLE_SCOPE, ENTER_LEAVE_ROOTS)
    for text in (
        "after.fare >= -1e308 && after.fare < after.fare",
        "after.delay_minutes > 3 && after.delay_minutes < 3",
        "after.departs_at < now && after.departs_at > now",
        "after.status.startsWith('a') && after.status.startsWith('b')",
        "after.tags.exists(t, t == 'a' && t == 'b')",
        "after.extra.a == 1 && after.extra.a == 2",
        "after.open && !after.open",
    )
]


@settings(max_examples=300, deadline=None)
@given(st.sampled_from(ODD_CONDITIONS), JSON)
def test_what_cannot_be_true_matches_nothing_whatever_the_event_holds(
    condition: conditions.Condition, value: object
) -> None:
    row = {column.name: value for column in FLIGHT.columns}
    assert isinstance(outcome(condition, row), NotMatched | Null | Failed)


@settings(max_examples=200, deadline=None)
@given(TESTS, ROWS, st.data())
def test_a_read_column_that_is_missing_leaves_it_undecided(test: Test, row: Row, data: st.DataObject) -> None:
    condition = conditions.compile_condition(test.text, TABLE_SCOPE, ENTER_LEAVE_ROOTS)
    path = data.draw(st.sampled_from([*sorted(condition.reads - {"now"}), "after"]))
    assert condition.evaluate({"after": row}, missing=["before", path], now=NOW) == conditions.Undecided(path)
