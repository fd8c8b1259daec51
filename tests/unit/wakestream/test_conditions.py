"""What conditions and expressions give, for every type and every kind of outcome."""

from __future__ import annotations

import datetime
import decimal
from typing import Any

import pytest

from wakestream import condition_scope, conditions
from wakestream.catalogue import Column, Table
from wakestream.condition_scope import CHANGE_ROOTS, ENTER_LEAVE_ROOTS, Document, ListOf, Scalar
from wakestream.conditions import Failed, Matched, NotMatched, Null, Undecided

NOW = datetime.datetime(2026, 11, 22, 12, tzinfo=datetime.UTC)


def column(name: str, base: str, *, array: bool = False) -> Column:
    return Column(name, base, base, array)


def one_column(base: str, *, array: bool = False) -> condition_scope.Scope:
    return condition_scope.table_scope(Table("public", "t", (column("x", base, array=array),), ("x",)))


FLIGHT = Table(
    "public",
    "flight",
    (
        column("id", "int8"),
        column("status", "text"),
        column("delay_minutes", "int4"),
        column("fare", "numeric"),
        column("open", "bool"),
        column("departs_at", "timestamptz"),
        column("arrives_at", "timestamptz"),
        column("extra", "jsonb"),
        column("tags", "text", array=True),
    ),
    ("id",),
)
ROW: dict[str, Any] = {
    "id": 7,
    "status": "delayed",
    "delay_minutes": 40,
    "fare": 120.5,
    "open": True,
    "departs_at": "2026-11-22T11:53:11.769+00:00",
    "arrives_at": "2026-11-22T15:00:00+00:00",
    "extra": {"gate": "B4", "walk": {"minutes": 9}},
    "tags": ["night", "codeshare"],
}
TABLE_SCOPE = condition_scope.table_scope(FLIGHT)

SEAT = Document({"no": Scalar("text"), "free": Scalar("bool")}, "public.seat")
FLIGHT_DOCUMENT = condition_scope.document_of(FLIGHT)
ALTERNATIVE = Document(
    {
        **FLIGHT_DOCUMENT.fields,
        "day": Scalar("date"),
        "seats": ListOf(SEAT),
        "best": SEAT,
        "local_time": Scalar("timestamp"),
    },
    "public.flight",
)
BOOKING = Document(
    {
        "id": Scalar("int8"),
        "status": Scalar("text"),
        "flight": FLIGHT_DOCUMENT,
        "alternatives": ListOf(ALTERNATIVE),
        "delay_min": condition_scope.scalar_named("numeric(10,2)"),
    },
    "booking",
)
ENTITY_SCOPE = condition_scope.trigger_scope(BOOKING, Document({"id": Scalar("int8")}, "the key of booking"))
ALTERNATIVES: list[dict[str, Any]] = [
    ROW | {"id": 8, "fare": 80, "seats": [{"no": "1A", "free": False}], "best": None},
    ROW
    | {
        "id": 9,
        "fare": decimal.Decimal("200.10"),
        "seats": [{"no": "2B", "free": True}],
        "best": {"no": "2B", "free": True},
    },
]
for _alternative in ALTERNATIVES:
    _alternative |= {"day": "2026-11-22", "local_time": "2026-11-22T13:00:00.5"}
DOCUMENT: dict[str, Any] = {
    "id": 42,
    "status": "confirmed",
    "flight": ROW,
    "alternatives": ALTERNATIVES,
    "delay_min": 30,
}


def change(text: str, scope: condition_scope.Scope = TABLE_SCOPE) -> conditions.Condition:
    return conditions.compile_condition(text, scope, CHANGE_ROOTS, where="fire: change")


TYPES = [
    ("bool", True, "after.x", "after.x == false"),
    ("int2", 5, "after.x > 4", "after.x % 2 == 0"),
    ("int4", -5, "after.x < -4", "after.x in [1, 2]"),
    ("int8", 9223372036854775807, "after.x == 9223372036854775807", "after.x == 9223372036854775806"),
    ("oid", "4294967295", "after.x == 4294967295", "after.x < 1"),
    ("float4", 1.5, "after.x > 1.0", "after.x > 2.0"),
    ("float8", 2, "after.x == 2.0", "after.x < 2.0"),
    ("float8", "Infinity", "after.x > 1e300", "after.x < 1.0"),
    ("float8", "NaN", "after.x != after.x", "after.x > 0.0"),
    ("numeric", decimal.Decimal("200.01"), "after.x > 200.0", "after.x > 201.0"),
    ("numeric", 10**400, "after.x > 1e300", "after.x < 1.0"),
    ("numeric", 12345678901234567890123, "after.x > 1e20", "after.x < 1e20"),
    ("money", "-$1,234.56", "after.x == -1234.56", "after.x > 0.0"),
    ("money", "1.234,56 €", "after.x == 1234.56", "after.x < 0.0"),
    ("money", "¥1,234", "after.x == 1234.0", "after.x < 0.0"),
    ("money", "($0.50)", "after.x == -0.5", "after.x > 0.0"),
    ("text", "é😀", "after.x == 'é😀'", "after.x.startsWith('x')"),
    ("varchar", "abc", "after.x.contains('b')", "after.x == ''"),
    ("uuid", "a0ee-11", "after.x.startsWith('a0')", "after.x == 'b'"),
    ("enum", "delayed", "after.x in ['delayed', 'cancelled']", "after.x == 'on time'"),
    ("bytea", "\\xdead", "after.x == '\\\\xdead'", "after.x == ''"),
    ("time", "11:53:00", "after.x > '11:00'", "after.x > '12:00'"),
    ("interval", "PT3H", "after.x == 'PT3H'", "after.x == ''"),
    ("timestamptz", "2026-11-22T11:53:11.769+00:00", "now - after.x < duration('7m')", "after.x > now"),
    ("timestamp", "2026-11-22T11:53:11.7", "after.x < now", "after.x.getHours() == 10"),
    ("date", "2026-11-22", "now - after.x == duration('12h')", "after.x > now"),
    ("jsonb", {"a": [1, {"b": 2.5}]}, "after.x.a[1].b > 2", "has(after.x.c)"),
    ("json", {"n": 2**70, "m": decimal.Decimal("1.5")}, "after.x.n > 1.0 && after.x.m == 1.5", "after.x.m > 2.0"),
    ("jsonb", [1, 2], "after.x.exists(e, e == 2)", "size(after.x) == 3"),
]
ARRAYS = [
    ("text", ["a", None], "'a' in after.x", "after.x == ['b']"),
    ("int4", [1, 2, 3], "after.x.exists(e, e > 2) && after.x[0] == 1", "9 in after.x"),
    ("numeric", [1, decimal.Decimal("2.5")], "after.x.exists(e, e > 2.0)", "after.x.all(e, e > 2.0)"),
    ("bool", [True, False], "after.x.exists(e, e)", "after.x.all(e, e)"),
    ("timestamptz", ["2026-11-22T11:00:00+00:00"], "timestamp(after.x[0]) < now", "timestamp(after.x[0]) > now"),
    ("timestamp", ["2026-11-22T11:00:00"], "timestamp(after.x[0]) < now", "timestamp(after.x[0]) > now"),
    ("date", ["2026-11-22"], "timestamp(after.x[0]) < now", "timestamp(after.x[0]) > now"),
    ("jsonb", [{"a": 1}], "after.x[0].a == 1", "after.x.exists(e, e.a == 2)"),
]
EACH_TYPE = [(base, False, *rest) for base, *rest in TYPES] + [(base, True, *rest) for base, *rest in ARRAYS]


@pytest.mark.parametrize(("base", "array", "value", "true", "false"), EACH_TYPE)
def test_every_type_with_a_value(base: str, array: bool, value: object, true: str, false: str) -> None:
    images = {"after": {"x": value}}
    assert change(true, one_column(base, array=array)).evaluate(images, now=NOW) == Matched()
    assert change(false, one_column(base, array=array)).evaluate(images, now=NOW) == NotMatched()


@pytest.mark.parametrize(("base", "array"), sorted({(base, array) for base, array, *_ in EACH_TYPE}))
@pytest.mark.parametrize("image", [{"x": None}, None], ids=["column null", "image null"])
def test_every_type_compares_with_null(base: str, array: bool, image: object) -> None:
    scope = one_column(base, array=array)
    assert change("after.x == null", scope).evaluate({"after": image}) == Matched()
    assert change("after.x != null", scope).evaluate({"after": image}) == NotMatched()


@pytest.mark.parametrize(
    ("base", "text"),
    [
        ("bool", "after.x"),
        ("bool", "!after.x"),
        ("int4", "after.x > 30"),
        ("numeric", "after.x + 1.0 > 30.0"),
        ("text", "after.x.startsWith('a')"),
        ("timestamptz", "now - after.x < duration('3h')"),
        ("timestamp", "after.x < now"),
        ("date", "after.x < now"),
        ("jsonb", "after.x.a > 1"),
    ],
)
def test_null_under_an_operator_is_no_match(base: str, text: str) -> None:
    condition = change(text, one_column(base))
    assert condition.evaluate({"after": {"x": None}}, now=NOW) == Null("after.x")
    assert condition.evaluate({"after": None}, now=NOW) == Null("after.x")


def test_each_pattern_of_null_timestamps_is_evaluated() -> None:
    condition = change("after.departs_at != null && (after.arrives_at == null || after.arrives_at > after.departs_at)")
    cases = [(None, None, NotMatched()), (None, "2026-11-22", NotMatched()), ("2026-11-22T00:00:00Z", None, Matched())]
    for departs_at, arrives_at, outcome in [*cases, ("2026-11-22T00:00:00Z", "2026-11-23T00:00:00Z", Matched())]:
        row = ROW | {"departs_at": departs_at, "arrives_at": arrives_at}
        assert condition.evaluate({"after": row}) == outcome


@pytest.mark.parametrize(
    ("text", "images", "outcome"),
    [
        ("before == null", {"before": None}, Matched()),
        ("before == null", {"before": ROW}, NotMatched()),
        ("before == null || before.delay_minutes < 30", {"before": None}, Matched()),
        ("before == null || before.delay_minutes < 30", {"before": ROW | {"delay_minutes": 3}}, Matched()),
        ("null != after && after.open", {"after": ROW}, Matched()),
        ("after == null", {"after": None}, Matched()),
        ("after.extra.gate == 'B4' && has(after.extra.walk)", {"after": ROW}, Matched()),
        ("after.extra.walk.minutes > 9", {"after": ROW}, NotMatched()),
        ("after.extra['gate'] == 'B4'", {"after": ROW}, Matched()),
        ("cause != null && cause.depth > 1", {"cause": None}, NotMatched()),
        ("cause != null && cause.depth > 1", {"cause": {"depth": 2}}, Matched()),
        ("cause != null && '42' in cause.keys", {"cause": {"keys": ["42"]}}, Matched()),
        ("'status' in changed", {"changed": ["status"]}, Matched()),
        ("'status' in changed", {"changed": None}, Null("changed")),
        ("inserted || deleted", {"op": "update"}, NotMatched()),
        ("updated && op == 'update'", {"op": "update"}, Matched()),
        ("key.id == 7", {"key": {"id": 7}}, Matched()),
        ("now > timestamp('2026-01-01T00:00:00Z')", {}, Matched()),
    ],
)
def test_roots_of_a_change(text: str, images: dict[str, Any], outcome: conditions.Outcome) -> None:
    assert change(text).evaluate(images, now=NOW) == outcome


@pytest.mark.parametrize(
    ("text", "outcome"),
    [
        ("after.flight.status in ['delayed', 'cancelled']", Matched()),
        ("after.flight == null", NotMatched()),
        ("after.delay_min > 29.5", Matched()),
        ("after.alternatives.exists(a, a.fare < 100.0)", Matched()),
        ("after.alternatives.exists(a, a.fare > 300.0)", NotMatched()),
        ("after.alternatives.exists(a, a.seats.exists(s, s.free && s.no == '2B'))", Matched()),
        ("after.alternatives.exists(a, a.best == null)", Matched()),
        ("after.alternatives.exists(a, a.best != null && a.best.no == '2B')", Matched()),
        ("after.alternatives.all(a, timestamp(a.departs_at) < now)", Matched()),
        ("after.alternatives.all(a, timestamp(a.local_time) > now && timestamp(a.day) < now)", Matched()),
        ("after.alternatives.filter(a, a.fare < 100.0)[0].id == 8", Matched()),
        ("after.alternatives.map(a, a.fare + 1.0).exists(f, f > 201.0)", Matched()),
        ("after.alternatives.exists_one(a, 'night' in a.tags && a.id == 9)", Matched()),
        ("size(after.alternatives) == 2 && after.alternatives != null", Matched()),
        ("after.alternatives.exists(a, a.extra.walk.minutes > 8)", Matched()),
    ],
)
def test_an_entity(text: str, outcome: conditions.Outcome) -> None:
    assert change(text, ENTITY_SCOPE).evaluate({"after": DOCUMENT}, now=NOW) == outcome


@pytest.mark.parametrize(
    ("text", "document", "path"),
    [
        ("after.flight.delay_minutes > 3", {"flight": None}, "after.flight.delay_minutes"),
        ("after.alternatives.exists(a, a.fare > 3.0)", {"alternatives": None}, "after.alternatives"),
        ("after.alternatives.exists(a, a.fare > 3.0)", {"alternatives": [{"fare": None}]}, "after.alternatives.fare"),
        (
            "after.alternatives.exists(a, a.best.free)",
            {"alternatives": [{"best": None}]},
            "after.alternatives.best.free",
        ),
    ],
)
def test_a_null_inside_a_document_is_no_match(text: str, document: dict[str, Any], path: str) -> None:
    assert change(text, ENTITY_SCOPE).evaluate({"after": document}) == Null(path)


@pytest.mark.parametrize(
    ("text", "row", "message"),
    [
        ("after.delay_minutes / (after.delay_minutes - 40) > 1", ROW, "divide by zero"),
        ("after.extra.nothing > 1", ROW, 'Key not found in map : "nothing"'),
        ("after.extra.gate > 1", ROW, "No matching overloads found : _>_(string, int64)"),
        ("after.tags[5] == 'x'", ROW, "Index error: index=5 size=2"),
        ("after.id + 9223372036854775807 > 1", ROW, "integer overflow"),
        ("after.open", {"open": "yes"}, "the condition is neither true nor false"),
        ("after.open", {"open": 1}, "the condition is neither true nor false"),
        (
            "after.fare > 0.5",
            {"fare": True},
            "after.fare in the event is not what the catalogue says: absent, or of another type",
        ),
        (
            "after.departs_at < now",
            {"departs_at": "infinity"},
            "after.departs_at in the event is not what the catalogue says: absent, or of another type",
        ),
    ],
)
def test_any_other_error_is_a_failure(text: str, row: dict[str, Any], message: str) -> None:
    assert change(text).evaluate({"after": row}, now=NOW) == Failed(message)


def test_a_column_that_the_event_does_not_have_is_undecided() -> None:
    """The event was made under another revision of the schema."""
    assert change("after.fare > 1.0").evaluate({"after": {}}, now=NOW) == Undecided("after.fare")


def test_a_null_elsewhere_in_json_explains_no_error() -> None:
    condition = change("after.extra.nothing > 1")
    assert condition.evaluate({"after": {"extra": {"other": None}}}) == Failed('Key not found in map : "nothing"')
    assert condition.evaluate({"after": {"extra": {"nothing": None}}}) == Null("after.extra.nothing")


@pytest.mark.parametrize(
    ("text", "missing", "path"),
    [
        ("after.status == 'delayed'", ["after.status"], "after.status"),
        ("after.status == 'delayed'", ["after"], "after"),
        ("after.status == 'delayed' || after.fare > 1.0", ["before", "after.fare"], "after.fare"),
        ("before == null", ["before"], "before"),
        ("'status' in changed", ["before"], "before"),
        ("inserted", ["op"], "op"),
    ],
)
def test_what_is_missing_leaves_it_undecided(text: str, missing: list[str], path: str) -> None:
    assert change(text).evaluate({"after": ROW, "before": None}, missing=missing) == Undecided(path)


def test_what_is_missing_elsewhere_does_not_matter() -> None:
    condition = change("after.status == 'delayed'")
    missing = ["before", "after.embedding", "after.status_note", "after.status.x"]
    assert condition.evaluate({"after": ROW}, missing=missing) == Matched()


def test_what_is_missing_inside_members() -> None:
    member = change("after.flight.status == 'delayed'", ENTITY_SCOPE)
    assert member.evaluate({"after": DOCUMENT}, missing=["after.flight"]) == Undecided("after.flight")
    assert member.evaluate({"after": DOCUMENT}, missing=["after.flight.extra"]) == Matched()
    listed = change("size(after.alternatives) > 0", ENTITY_SCOPE)
    missing = "after.alternatives.1.extra"
    assert listed.evaluate({"after": DOCUMENT}, missing=[missing]) == Undecided(missing)


def test_reads_are_paths_without_loop_variables() -> None:
    text = "after.alternatives.exists(a, a.fare < 3.0) && after.flight.status == 'x' && before == null && now != null"
    condition = change(text, ENTITY_SCOPE)
    assert condition.reads == {"after.alternatives", "after.flight.status", "before", "now"}


def test_enter_is_the_condition_over_two_images() -> None:
    condition = conditions.compile_condition("after.status == 'delayed'", TABLE_SCOPE, ENTER_LEAVE_ROOTS)
    previous = ROW | {"status": "planned"}
    assert condition.evaluate({"after": ROW, "key": {"id": 7}}) == Matched()
    assert condition.evaluate({"after": previous, "key": {"id": 7}}) == NotMatched()
