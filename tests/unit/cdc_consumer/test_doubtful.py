from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import pytest

from cdc_consumer import doubtful
from cdc_consumer.decode import Change
from cdc_consumer.waves import Row
from tests.unit.cdc_consumer.tables import PLACEHOLDER, column, table, table_plan
from wakestream.capture import CapturedTable

TABLE = table(
    "flight",
    "id",
    column("id", "int4"),
    column("note", "text"),
    column("doc", "jsonb"),
    column("photo", "bytea"),
    column("day", "date"),
    column("moment", "timestamp"),
    column("instant", "timestamptz"),
    column("tags", "text", array=True),
    column("numbers", "int4", array=True),
    column("refs", "uuid", array=True),
    column("prices", "numeric", array=True),
    column("moods", "enum", array=True),
    column("flags", "bool", array=True),
    column("ratios", "float8", array=True),
)
PLAN = table_plan(TABLE)
CODES = list(PLACEHOLDER.encode())
NULL_IS_DOUBTFUL = {"prices", "moods"}


def image(**fields: Any) -> bytes:
    filled = {"prices": ["1.50"], "moods": ["sad"], **fields}
    return json.dumps({c.name: filled.get(c.name) for c in TABLE.columns}, separators=(",", ":")).encode()


def examined(**fields: Any) -> tuple[dict[str, Any], set[str], set[str]]:
    found = doubtful.examine(PLAN, image(**fields))
    shown = {name: value for name, value in json.loads(found.image).items() if value is not None}
    return shown, set(found.lost), set(found.unchanged)


def test_an_image_without_doubt_is_not_looked_at() -> None:
    assert not PLAN.is_doubtful(image(id=1, note="x", day="2026-11-22Z", tags=["a", None], flags=[True]))
    assert PLAN.is_doubtful(image(note=PLACEHOLDER))
    assert PLAN.is_doubtful(image(prices=None))


def test_the_placeholder_means_unchanged_in_each_of_its_forms() -> None:
    fields = {"note": PLACEHOLDER, "doc": PLACEHOLDER, "tags": [PLACEHOLDER], "numbers": CODES}
    _, lost, unchanged = examined(**fields)
    assert (lost, unchanged) == (set(), set(fields))
    assert all(PLAN.is_doubtful(image(**{name: value})) for name, value in fields.items())


def test_the_placeholder_among_other_elements_is_a_value() -> None:
    shown, _, unchanged = examined(tags=[PLACEHOLDER, "b"], note=f"about {PLACEHOLDER}")
    assert unchanged == set()
    assert (shown["tags"], shown["note"]) == ([PLACEHOLDER, "b"], f"about {PLACEHOLDER}")


@pytest.mark.parametrize("name", sorted(NULL_IS_DOUBTFUL))
def test_a_null_that_may_be_a_value_is_lost(name: str) -> None:
    assert examined(**{name: None})[1] == {name}


@pytest.mark.parametrize(
    ("name", "value", "is_lost"),
    [
        ("numbers", [None, None], True),
        ("flags", [None], True),
        ("tags", [None], False),
        ("refs", [None, None], False),
        ("tags", ["[Ljava.lang.String;@5bac5e14"], True),
        ("tags", ["[London", "[Ljubljana;@home"], False),
        ("numbers", [1, None], False),
        ("numbers", [], False),
    ],
)
def test_arrays_of_arrays(name: str, value: list[Any], is_lost: bool) -> None:
    shown, lost, _ = examined(**{name: value})
    assert lost == ({name} if is_lost else set())
    assert is_lost or shown[name] == value


@pytest.mark.parametrize(
    ("name", "sent", "read"),
    [
        ("day", "+12345-06-07Z", "12345-06-07Z"),
        ("day", "+5874897-12-31Z", "5874897-12-31Z"),
        ("day", "+292278994-08-16Z", None),
        ("day", "+5877611-06-21Z", None),
        ("day", "-5877611-06-22Z", None),
        ("day", "-0043-03-15Z", None),
        ("day", "0000-12-31Z", None),
        ("moment", "+294276-12-31T23:59:59.999999Z", "294276-12-31T23:59:59.999999Z"),
        ("moment", "+292278994-08-16T23:00:00Z", None),
        ("moment", "-292275055-05-16T23:00:00Z", None),
        ("moment", "0000-12-31T10:00:00Z", None),
        ("instant", "-0043-03-15T10:00:00.000000Z", "0044-03-15T10:00:00.000000Z BC"),
        ("instant", "0000-12-31T10:00:00.000000Z", "0001-12-31T10:00:00.000000Z BC"),
        ("instant", "infinity", "infinity"),
    ],
)
def test_years_out_of_the_common(name: str, sent: str, read: str | None) -> None:
    shown, lost, _ = examined(**{name: sent})
    assert lost == (set() if read else {name})
    assert shown.get(name) == read
    assert name == "instant" or PLAN.is_doubtful(image(**{name: sent}))


HIDING = {"photo", "prices", "moods", "flags", "ratios"}
PHOTO = {"photo": "\\x" + "00" * 30}


def text(fields: dict[str, Any]) -> str:
    return json.dumps({c.name: fields.get(c.name) for c in TABLE.columns})


def updated(
    before: dict[str, Any] | None,
    after: dict[str, Any],
    unknown: Sequence[str] = (),
    sent: dict[str, Any] | None = None,
) -> Row:
    change = Change("u", TABLE.label, b"{}", b"{}", before=None if sent is None else text(sent).encode())
    old = None if before is None else text(before)
    return Row(change, PLAN, "", old, text(after), before is not None, frozenset(unknown))


def hidden(before: dict[str, Any] | None, after: dict[str, Any], unknown: Sequence[str] = ()) -> set[str]:
    return set(doubtful.hidden(PLAN, updated(before, after, unknown)))


def test_a_null_after_a_value_that_may_stand_out_of_line_may_be_that_value() -> None:
    """However short the row is: a value stays where it was put when the row was longer."""
    before = {**PHOTO, "ratios": [1]}
    assert hidden(before, {}) == {"photo", "ratios"}
    assert hidden(before, {**before, "photo": "\\x00"}) == set()


def test_a_null_after_a_short_value_is_null() -> None:
    assert hidden({"photo": "\\x" + "00" * 20, "flags": [], "note": "x" * 10_000}, {}) == set()


def test_columns_whose_unchanged_value_has_a_placeholder_hide_nothing() -> None:
    assert hidden({"note": "x" * 10_000, "numbers": [1] * 5000, "prices": ["1"] * 5000}, {}) == {"prices"}


def test_what_was_not_known_stays_unknown_while_null_comes() -> None:
    assert hidden({}, {}, ["photo"]) == {"photo"}
    assert hidden({}, {"photo": "\\x01"}, ["photo"]) == set()


def test_of_a_row_that_is_not_known_any_null_may_be_an_unchanged_value() -> None:
    assert hidden(None, {**PHOTO, "note": None}) == HIDING - {"photo"}


def test_a_mask_does_not_tell_how_long_a_value_is() -> None:
    masked = table_plan(TABLE, CapturedTable(mask={"photo": "redact", "flags": "redact"}))
    row = updated({"photo": "[redacted]"}, {})
    assert doubtful.hidden(masked, row) == {"photo"}


@pytest.mark.parametrize(
    ("sent", "missing"), [(None, {"photo"}), ({"id": 1}, {"photo"}), ({"id": 1, "note": "as it was"}, set[str]())]
)
def test_a_message_with_the_whole_old_row_leaves_nothing_out(sent: dict[str, Any] | None, missing: set[str]) -> None:
    assert doubtful.hidden(PLAN, updated(PHOTO, {"id": 1}, sent=sent)) == missing


def test_an_insert_hides_nothing_unless_it_continues_another_row() -> None:
    new = Row(Change("c", TABLE.label, b"{}", b"{}"), PLAN, after=text({}))
    assert doubtful.hidden(PLAN, new) == set()
    new.change.moved = True  # its other half came elsewhere
    assert doubtful.hidden(PLAN, new) == HIDING
    new.moved = Row(Change("d", TABLE.label, b"{}", None), PLAN, "", text({**PHOTO, "flags": [True]}))
    new.moved.missing_before = frozenset({"ratios"})
    assert doubtful.hidden(PLAN, new) == {"photo", "flags", "ratios"}


def test_a_snapshot_leaves_nothing_out() -> None:
    row = updated(PHOTO, {})
    row.change.op = "r"
    assert doubtful.hidden(PLAN, row) == set()
