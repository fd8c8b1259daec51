"""What is refused when a condition is loaded: each kind of problem with its place, its exact words and its remedy."""

from __future__ import annotations

import pytest

from tests.unit.wakestream.test_conditions import ENTITY_SCOPE, FLIGHT
from tests.unit.wakestream.test_conditions_expressions import ACTION_SCOPE
from wakestream import condition_scope, conditions, errors
from wakestream.catalogue import Column, Table
from wakestream.condition_problems import ConditionError, ConditionProblem
from wakestream.condition_scope import ACTION_ROOTS, CHANGE_ROOTS, ENTER_LEAVE_ROOTS

SCOPE = condition_scope.table_scope(FLIGHT, without={"passport_no"})


def refused(
    text: str,
    scope: condition_scope.Scope = SCOPE,
    roots: frozenset[str] = CHANGE_ROOTS,
    where: str = "fire: change",
) -> list[ConditionProblem]:
    with pytest.raises(ConditionError) as caught:
        conditions.compile_condition(text, scope, roots, where=where)
    return list(caught.value.found)


NAMES = [
    (
        "after.statuss == 'x'",
        1,
        "after.statuss: no such column in public.flight; did you mean after.status?",
        "after.status",
    ),
    (
        "after.zz == 'x'",
        1,
        "after.zz: no such column in public.flight; "
        "it has id, status, delay_minutes, fare, open, departs_at, arrives_at, extra, …",
        "",
    ),
    (
        "after.passport_no == 'x'",
        1,
        "after.passport_no: excluded or masked in public.flight, so it cannot be read here",
        "",
    ),
    ("key.idd == 1", 1, "key.idd: no such column in the key of public.flight; did you mean key.id?", "key.id"),
    ("cause.deph > 1", 1, "cause.deph: no such field in cause; did you mean cause.depth?", "cause.depth"),
    ("status == 'x'", 1, "status: no such name; did you mean after.status?", "after.status"),
    ("aftr.status == 'x'", 1, "aftr: no such name; did you mean after?", "after"),
    (
        "qqq == 1",
        1,
        "qqq: no such name; fire: change reads "
        "after, before, key, changed, op, cause, inserted, updated, deleted and now",
        "",
    ),
    (
        "true && has(after.status)",
        13,
        "has(after.status): it is always there, if only as null; write after.status != null",
        "after.status != null",
    ),
    ("after == before", 1, "after is a whole row: name a column, as in after.id, or compare with null", ""),
    ("after['status'] == 'x'", 1, "after[…]: write after.status", "after.status"),
    ("after.status.foo == 1", 1, "after.status is one value and has no fields", ""),
    ("after.tags.foo == 1", 1, "after.tags is a list: use exists, all, filter or [0]", ""),
    (
        "after.tags.exists(op, op == 'x')",
        18,
        "op cannot be the name of a loop variable: choose another",
        "",
    ),
]
TYPES = [
    (
        'after.delay_minutes > "30"',
        21,
        'after.delay_minutes is an integer, "30" is text: compare with 30',
        "30",
    ),
    ("after.fare > 10", 12, "after.fare is a decimal number, 10 is an integer: write 10.0", "10.0"),
    ("after.fare > '10'", 12, 'after.fare is a decimal number, "10" is text: compare with 10.0', "10.0"),
    (
        "after.delay_minutes > 10.0",
        21,
        "after.delay_minutes is an integer, 10.0 is a decimal number: write 10",
        "10",
    ),
    (
        "after.fare > after.delay_minutes",
        12,
        "after.fare is a decimal number, after.delay_minutes is an integer: write double(after.delay_minutes)",
        "double(after.delay_minutes)",
    ),
    ("after.status == 1", 14, 'after.status is text, 1 is an integer: compare with "1"', '"1"'),
    ("after.open == 'true'", 12, 'after.open is true or false, "true" is text: compare with true', "true"),
    ("after.open == 0", 12, "after.open is true or false, 0 is an integer: compare with false", "false"),
    (
        "after.departs_at > '2026-01-01T00:00:00Z'",
        18,
        'after.departs_at is a timestamp, "2026-01-01T00:00:00Z" is text: '
        'compare with timestamp("2026-01-01T00:00:00Z")',
        'timestamp("2026-01-01T00:00:00Z")',
    ),
    (
        "now - after.departs_at < 3",
        24,
        'the left side is a duration, 3 is an integer: compare with duration("3h")',
        'duration("3h")',
    ),
    (
        "after.status == after.id",
        14,
        "after.status is text, after.id is an integer: both sides must be of one type",
        "",
    ),
    ("after.tags[0] == 1", 15, 'after.tags[0] is text, 1 is an integer: compare with "1"', '"1"'),
    (
        "after.id + 1 == null",
        14,
        "the left side is an integer, null is null: a value that was worked out is never null",
        "",
    ),
    (
        "1 in after.tags",
        3,
        "1 is an integer, after.tags is a list: `in` takes a list of the same type on its right",
        "",
    ),
    (
        "after.open && after.status",
        12,
        "after.status is text, but && takes true or false: compare it with something",
        "",
    ),
    ("!after.status", 1, "after.status is text, but ! takes true or false: compare it with something", ""),
    ("after.status ? true : false", 14, "after.status is text, but ? : needs true or false there", ""),
    ("(true ? 1 : 'x') == 1", 7, "both results of ? : must be of one type", ""),
    ("size(after.open) > 1", 5, "size cannot be applied to true or false", ""),
    ("after.status.startsWith(1)", 24, "startsWith cannot be applied to text and an integer", ""),
    ("after.status.startswith('x')", 24, "startswith: no such function; did you mean startsWith?", "startsWith"),
    ("frobnicate(after.id)", 11, "frobnicate: no such function; see the reference of conditions", ""),
    ("matches(after.status)", 8, "matches does not take these arguments: see the reference of conditions", ""),
    (
        "after.open.exists(x, x)",
        6,
        "true or false cannot be gone through; all, exists and the like take lists",
        "",
    ),
    ("'x'.y == 1", 4, "text has no fields", ""),
]
RESULTS = [
    ("after.status", 1, "after.status is text, and a condition gives true or false: compare it", ""),
    ("after.id + 1", 1, "the condition is an integer, and a condition gives true or false: compare it", ""),
    ("now - now", 1, "the condition is a duration, and a condition gives true or false: compare it", ""),
    ("after.tags", 1, "after.tags is a list, and a condition gives true or false: compare it", ""),
    ("{'a': 1}", 1, "the condition is a map, and a condition gives true or false: compare it", ""),
    (
        "after.extra.active",
        1,
        "after.extra.active is a JSON value, and a condition gives true or false: write after.extra.active == true",
        "after.extra.active == true",
    ),
    ("after", 1, "after is a whole row: name a column, as in after.id, or compare with null", ""),
]
SYNTAX = [
    ("", 1, "it is empty: write what must be true", ""),
    ("after.id >", 11, "syntax: the expression ends too early, something is missing", ""),
    ("(after.open", 12, "syntax: the expression ends too early, ) is missing", ""),
    ("after.status = 'x'", 14, "syntax: write == instead of =", "=="),
    ("after.open and true", 12, "syntax: write && instead of and", "&&"),
    ("after.status == 'abc", 17, "syntax: the text that begins here does not end", ""),
    ("after.open # note", 12, "syntax: unexpected #", ""),
    ("after.in == 1", 7, "syntax: in is a word of the language: write `in`", "`in`"),
    ("after.id == 9223372036854775808", 13, "syntax: invalid int literal", ""),
    (" + ".join(["1"] * 40), 1, "nested deeper than 32 levels: split it, or use a list with `in`", ""),
]


@pytest.mark.parametrize(("text", "column", "message", "suggestion"), [*NAMES, *TYPES, *RESULTS, *SYNTAX])
def test_a_problem_says_what_where_and_what_to_do(text: str, column: int, message: str, suggestion: str) -> None:
    assert refused(text)[0] == ConditionProblem(1, column, message, suggestion)


def test_every_unknown_name_is_reported_with_its_line() -> None:
    assert refused("after.statuss == 'é'\n  && after.faree > 1.0") == [
        ConditionProblem(
            1, 1, "after.statuss: no such column in public.flight; did you mean after.status?", "after.status"
        ),
        ConditionProblem(2, 6, "after.faree: no such column in public.flight; did you mean after.fare?", "after.fare"),
    ]


def test_every_mismatch_is_reported_with_its_line() -> None:
    found = refused("'é' == after.status &&\n after.fare > 1 &&\n  after.id > 'x'")
    assert [(problem.line, problem.column) for problem in found] == [(2, 13), (3, 12)]


def test_the_error_is_one_of_configuration_with_a_line_for_each_problem() -> None:
    with pytest.raises(errors.ConfigurationError) as caught:
        conditions.compile_condition("after.id > 'x' || after.fare > 1", SCOPE, CHANGE_ROOTS)
    assert caught.value.problems == (
        '1:10: after.id is an integer, "x" is text: both sides must be of one type',
        "1:30: after.fare is a decimal number, 1 is an integer: write 1.0",
    )


@pytest.mark.parametrize(
    "root", ["before", "changed", "op", "cause", "inserted", "updated", "deleted", "bound", "args"]
)
def test_enter_and_leave_read_only_their_roots(root: str) -> None:
    found = refused(f"{root} == null", roots=ENTER_LEAVE_ROOTS, where="fire: enter")
    assert [problem.message for problem in found] == [
        f"fire: enter reads after, key and now only; {root} is not available"
    ]


def test_an_approval_does_not_read_what_the_model_wrote() -> None:
    found = refused("args.amount > 3", ACTION_SCOPE, ACTION_ROOTS, "approval")
    assert [problem.message for problem in found] == [
        "approval reads after, before, cause, bound, chosen, event and run only; "
        "args is what the model wrote, and is read only with trust_model_arguments: true"
    ]


def unknown(path: str, label: str, near: str) -> str:
    return f"{path}: no such column in {label}; did you mean {near}?"


LISTS = [
    ("after.alternatives.exists(a, a.sets == 1)", 30, unknown("a.sets", "public.flight", "a.seats")),
    ("after.alternatives.all(a, a.seats.exists(s, s.fre))", 45, unknown("s.fre", "public.seat", "s.free")),
    ("after.alternatives.filter(a, a.best.noo == 'x')", 30, unknown("a.best.noo", "public.seat", "a.best.no")),
    ("after.alternatives.map(a, a.farre)[0] == 1", 27, unknown("a.farre", "public.flight", "a.fare")),
    (
        "after.alternatives[0].farre > 1.0",
        1,
        unknown("after.alternatives[0].farre", "public.flight", "after.alternatives[0].fare"),
    ),
    ("after.alternatives.filter(a, a.open)[0].farre > 1.0", 41, unknown("farre", "public.flight", "fare")),
    ("after.alternatives.map(a, a.best)[0].noo == '1'", 38, unknown("noo", "public.seat", "no")),
    ("after.alternatives.exists(a, a.fare > 10)", 37, "a.fare is a decimal number, 10 is an integer: write 10.0"),
    (
        "after.alternatives.exists(a, a.seats.exists(s, s.no == 1 && a.id > 2))",
        53,
        's.no is text, 1 is an integer: compare with "1"',
    ),
    (
        "after.alternatives.exists(a, a.departs_at < now)",
        30,
        "a.departs_at is inside a list, where timestamps are ISO text: write timestamp(a.departs_at)",
    ),
    (
        "after.alternatives.exists(a, has(a.fare))",
        34,
        "has(a.fare): it is always there, if only as null; write a.fare != null",
    ),
    ("after.alternatives.fare > 1.0", 1, "after.alternatives is a list: use exists, all, filter or [0]"),
    (
        "after.alternatives.exists(a, a)",
        30,
        "a is a whole row: name a column, as in a.id, or compare with null",
    ),
    (
        "after.flight == 'x'",
        1,
        "after.flight is a whole row: name a column, as in after.flight.id, or compare with null",
    ),
    ("after.flight.statsu == 'x'", 1, unknown("after.flight.statsu", "public.flight", "after.flight.status")),
    ("after.flights.status == 'x'", 1, "after.flights: no such field in booking; did you mean after.flight?"),
]


def test_a_column_that_is_no_plain_name_is_suggested_in_backticks() -> None:
    columns = (Column("gate no", "int4", "int4"), Column("in", "int4", "int4"))
    scope = condition_scope.table_scope(Table("public", "t", columns))
    assert refused("after.`gate noo` == 3 && after.inn == 3", scope) == [
        ConditionProblem(
            1, 1, "after.`gate noo`: no such column in public.t; did you mean after.`gate no`?", "after.`gate no`"
        ),
        ConditionProblem(1, 26, "after.inn: no such column in public.t; did you mean after.`in`?", "after.`in`"),
    ]
    condition = conditions.compile_condition("after.`gate no` == 3 && after.`in` == 4", scope, CHANGE_ROOTS)
    assert condition.evaluate({"after": {"gate no": 3, "in": 4}}) == conditions.Matched()


@pytest.mark.parametrize(("text", "column", "message"), LISTS)
def test_members_of_an_entity_are_checked(text: str, column: int, message: str) -> None:
    found = refused(text, ENTITY_SCOPE)
    assert [(problem.line, problem.column, problem.message) for problem in found] == [(1, column, message)]


@pytest.mark.parametrize("text", ["after.alternatives[0].farre", "after.idd", "before.flight.x", "1 +", "'a' + 1"])
def test_expressions_are_checked_too(text: str) -> None:
    with pytest.raises(ConditionError):
        conditions.compile_expression(text, ENTITY_SCOPE, ACTION_ROOTS, where="bind")
