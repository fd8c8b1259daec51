from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cdc_consumer.decode import Change
from cdc_consumer.plan import Plan
from cdc_consumer.store import Store
from cdc_consumer.waves import Row
from tests.harness.source import Connection, forget
from tests.unit.cdc_consumer.tables import (
    BOOKING,
    CUSTOMER,
    FLIGHT,
    PLACEHOLDER,
    SOURCE,
    column,
    complete_store,
    plan,
    table,
)
from wakestream.capture import CapturedTable
from wakestream.catalogue import Table

LONG = "x" * 3000


def change(op: str, each: Table, key: dict[str, Any], after: dict[str, Any] | None = None, lsn: int = 0) -> Change:
    whole = {c.name: None for c in each.columns} | key | (after or {})
    image = None if op in "dt" else json.dumps(whole, separators=(",", ":")).encode()
    text = b"" if op == "t" else json.dumps(key, separators=(",", ":")).encode()
    return Change(op, each.label, text, image, 1, lsn or id(object()))


def image(text: str | None) -> Any:
    return None if text is None else json.loads(text)


def summary(row: Row) -> tuple[Any, ...]:
    missing = sorted(row.missing_before), sorted(row.missing_after)
    return row.key, row.before, row.after, row.before_known, *missing, row.error


def test_images_before_and_after(connection: Connection) -> None:
    store = complete_store(connection, plan(FLIGHT))
    rows = store.apply(
        [
            change("c", FLIGHT, {"id": 1}, {"status": "late", "seats": 3}),
            change("u", FLIGHT, {"id": 1}, {"status": "on time", "seats": 3}),
            change("d", FLIGHT, {"id": 1}),
            change("c", FLIGHT, {"id": 1}, {"status": "new"}),
        ]
    )
    first = {"id": 1, "status": "late", "seats": 3, "big": None}
    second = {**first, "status": "on time"}
    third = {"id": 1, "status": "new", "seats": None, "big": None}
    assert [(image(r.before), image(r.after)) for r in rows] == [
        (None, first),
        (first, second),
        (second, None),
        (None, third),
    ]
    assert all(row.before_known and not row.missing_before | row.missing_after for row in rows)


def test_nothing_is_said_of_a_row_that_the_store_has_missed(connection: Connection) -> None:
    store = complete_store(connection, plan(FLIGHT))
    updated, deleted = store.apply([change("u", FLIGHT, {"id": 1}, {"seats": 1}), change("d", FLIGHT, {"id": 2})])
    assert (updated.before_known, deleted.before_known) == (False, False)


def test_nothing_is_said_while_the_mirror_is_not_trusted(connection: Connection) -> None:
    store = complete_store(connection, plan(FLIGHT))
    store.untrusted = {FLIGHT.label}
    inserted, updated = store.apply([change("c", FLIGHT, {"id": 1}), change("u", FLIGHT, {"id": 1}, {"seats": 1})])
    assert (inserted.before_known, updated.before_known) == (True, False)


def test_a_truncate_empties_the_mirror_at_its_place(connection: Connection) -> None:
    store = complete_store(connection, plan(FLIGHT, CUSTOMER))
    rows = store.apply(
        [
            change("c", FLIGHT, {"id": 1}),
            change("c", CUSTOMER, {"code": "a"}),
            change("t", FLIGHT, {}),
            change("c", FLIGHT, {"id": 1}),
            change("d", CUSTOMER, {"code": "a"}),
        ]
    )
    assert image(rows[3].before) is None
    assert image(rows[4].before) == {"code": "a", "name": None}


def test_an_unchanged_long_value_comes_from_the_store(connection: Connection) -> None:
    store = complete_store(connection, plan(FLIGHT))
    rows = store.apply(
        [
            change("c", FLIGHT, {"id": 1}, {"big": LONG, "seats": 1}),
            change("u", FLIGHT, {"id": 1}, {"big": PLACEHOLDER, "seats": 2}),
        ]
    )
    assert image(rows[1].after) == {"id": 1, "status": None, "seats": 2, "big": LONG}
    assert rows[1].missing_after == frozenset()


@pytest.mark.parametrize("value", [LONG, "100 %s %d %%", 'it\'s \\ "quoted"', "naïve 日本 🛫"])
def test_after_a_change_of_the_key_it_comes_from_the_row_of_the_old_key(connection: Connection, value: str) -> None:
    store = complete_store(connection, plan(FLIGHT))
    rows = store.apply(
        [
            change("c", FLIGHT, {"id": 1}, {"big": value}),
            change("u", FLIGHT, {"id": 1}, {"big": PLACEHOLDER, "seats": 5}),
            change("d", FLIGHT, {"id": 1}, lsn=7),
            change("c", FLIGHT, {"id": 2}, {"big": PLACEHOLDER, "seats": 6}, lsn=7),
            change("u", FLIGHT, {"id": 2}, {"big": PLACEHOLDER, "seats": 7}),
        ]
    )
    assert [image(row.after)["big"] for row in rows if row.after] == [value] * 4
    assert not any(row.missing_after for row in rows)


def test_a_moved_array_of_documents_keeps_its_elements(connection: Connection) -> None:
    listed = table("listed", "id", column("id", "int4"), column("docs", "jsonb", array=True))
    store = complete_store(connection, plan(listed))
    documents = ['{"a": 1}', "[1, 2]", "[[]]", "null", '"text"']
    rows = store.apply(
        [
            change("c", listed, {"id": 1}, {"docs": documents}),
            change("d", listed, {"id": 1}, lsn=7),
            change("c", listed, {"id": 2}, {"docs": [PLACEHOLDER]}, lsn=7),
        ]
    )
    assert image(rows[2].after)["docs"] == [json.loads(each) for each in documents]


def test_an_unchanged_value_that_the_store_never_had_is_missing_until_it_is_set(connection: Connection) -> None:
    store = complete_store(connection, plan(FLIGHT))
    missed, again, told = store.apply(
        [
            change("u", FLIGHT, {"id": 1}, {"big": PLACEHOLDER}),
            change("u", FLIGHT, {"id": 1}, {"big": PLACEHOLDER, "seats": 1}),
            change("u", FLIGHT, {"id": 1}, {"big": "told", "seats": 1}),
        ]
    )
    assert missed.missing_after == {"big"}
    assert (again.missing_before, again.missing_after) == ({"big"}, {"big"})
    assert (told.missing_before, told.missing_after, image(told.after)["big"]) == ({"big"}, frozenset(), "told")
    later = Store(connection, SOURCE, plan(FLIGHT).tables).apply([change("d", FLIGHT, {"id": 1})])
    assert later[0].missing_before == frozenset()


PHOTOS = table("photos", "id", column("id", "int4"), column("photo", "bytea"), column("seats", "int4"))
PHOTO = {"photo": "AAAA" * 1000}  # base64, as it is sent


def test_a_null_that_may_be_an_unchanged_value_is_missing_until_a_value_comes(connection: Connection) -> None:
    store = complete_store(connection, plan(PHOTOS))
    rows = store.apply(
        [
            change("c", PHOTOS, {"id": 1}, PHOTO),
            change("u", PHOTOS, {"id": 1}, {"seats": 1}),
            change("u", PHOTOS, {"id": 1}, {"seats": 2}),
            change("u", PHOTOS, {"id": 1}, {"seats": 2, "photo": "AA=="}),
            change("u", PHOTOS, {"id": 1}, {"seats": 2}),
        ]
    )
    assert [sorted(row.missing_after) for row in rows] == [[], ["photo"], ["photo"], [], []]
    assert [sorted(row.missing_before) for row in rows] == [[], [], ["photo"], ["photo"], []]


@pytest.mark.parametrize(("same_place", "missing"), [(True, ["photo"]), (False, [])])
def test_it_stays_so_through_a_change_of_the_key(connection: Connection, same_place: bool, missing: list[str]) -> None:
    store = complete_store(connection, plan(PHOTOS))
    rows = store.apply(
        [
            change("c", PHOTOS, {"id": 1}, PHOTO),
            change("c", PHOTOS, {"id": 3}, PHOTO),
            change("u", PHOTOS, {"id": 1}, {**PHOTO, "seats": 1}),
            change("d", PHOTOS, {"id": 1}, lsn=7),
            change("c", PHOTOS, {"id": 2}, lsn=7 if same_place else 8),  # else another row, whose photo is NULL
        ]
    )
    assert sorted(rows[4].missing_after) == missing
    assert rows[4].before_known


@pytest.mark.parametrize("mirror", [True, False])
def test_a_null_of_a_row_that_the_store_does_not_have_may_be_a_value(connection: Connection, mirror: bool) -> None:
    store = complete_store(connection, plan(PHOTOS, photos=CapturedTable(mirror=mirror)))
    rows = store.apply(
        [
            change("u", PHOTOS, {"id": 1}, {"seats": 1}),
            change("c", PHOTOS, {"id": 2}, {"seats": 1}),
            change("u", PHOTOS, {"id": 3}, PHOTO),
        ]
    )
    assert [sorted(row.missing_after) for row in rows] == [["photo"], [], []]
    (again,) = store.apply([change("u", PHOTOS, {"id": 1}, {"seats": 2})])
    assert sorted(again.missing_after) == ["photo"]
    assert sorted(again.missing_before) == (["photo"] if mirror else [])


def test_a_null_while_the_mirror_is_not_trusted_may_be_a_value(connection: Connection) -> None:
    """The value may have come in what the store has not seen."""
    store = complete_store(connection, plan(PHOTOS))
    store.apply([change("c", PHOTOS, {"id": 1}, {"photo": None})])
    store.untrusted = {PHOTOS.label}
    (row,) = store.apply([change("u", PHOTOS, {"id": 1}, {"seats": 1})])
    assert sorted(row.missing_after) == ["photo"]


def test_columns_that_are_excluded_or_masked(connection: Connection) -> None:
    connection.execute("select set_config('wake.mask_key', 'aa', false)")
    compiled = plan(CUSTOMER, customer=CapturedTable(mask={"name": "hash"}))
    store = complete_store(connection, compiled)
    (row, same, other) = store.apply(
        [
            change("c", CUSTOMER, {"code": code}, {"name": name})
            for code, name in (("a", "Ada"), ("b", "Ada"), ("c", "Bo"))
        ]
    )
    assert image(row.after)["name"].startswith("sha256:")
    assert image(row.after)["name"] == image(same.after)["name"] != image(other.after)["name"]
    excluded = plan(FLIGHT, flight=CapturedTable(exclude=("big", "seats")))
    (row,) = complete_store(connection, excluded).apply([change("c", FLIGHT, {"id": 1}, {"big": "secret"})])
    assert image(row.after) == {"id": 1, "status": None}


def test_without_a_mirror_the_new_image_is_all_there_is(connection: Connection) -> None:
    store = complete_store(connection, plan(FLIGHT, flight=CapturedTable(mirror=False)))
    sent = change("u", FLIGHT, {"id": 1}, {"big": PLACEHOLDER})
    rows = store.apply([change("c", FLIGHT, {"id": 1}, {"big": LONG}), sent, change("d", FLIGHT, {"id": 1})])
    assert [row.before_known for row in rows] == [True, False, False]
    assert rows[1].missing_after == {"big"}
    assert PLACEHOLDER.encode() in (sent.after or b"")  # the change itself stays as it came


KEYED = table(
    "keyed",
    "number day",
    column("day", "date"),
    column("number", "numeric"),
    column("code", "text"),
    column("n", "int4"),
)


def test_a_key_is_printed_as_the_database_prints_it(connection: Connection) -> None:
    store = complete_store(connection, plan(KEYED, CUSTOMER))
    sent = change("c", KEYED, {"number": "12.30", "day": "2026-11-22Z"}, {"n": 1})
    escaped = Change(
        "c", CUSTOMER.label, b'{"code":"\\u000B\\u001F \\uD83D\\uDEEB"}', b'{"code":"\\u000B\\u001F \\uD83D\\uDEEB"}'
    )
    rows = store.apply([sent, escaped])
    assert rows[0].key == '{"number":12.30,"day":"2026-11-22"}'
    assert rows[1].key == '{"code":"\\u000b\\u001f 🛫"}'


def test_row_by_row_what_cannot_be_read_is_lost_alone(connection: Connection) -> None:
    documents = table("documents", "id", column("id", "int4"), column("doc", "json"), column("day", "date"))
    store = complete_store(connection, plan(documents), careful=True)
    unreadable = {"doc": '{"a": "\\u0000"}'}
    rows = store.apply(
        [
            change("c", documents, {"id": 1}, {"doc": "{}"}),
            change("u", documents, {"id": 1}, unreadable),
            change("u", documents, {"id": 1}, {**unreadable, "day": "+292278994-08-16Z"}),
            change("c", documents, {"id": 2}, {"doc": "[]"}),
            change("u", documents, {"id": 1}, {"doc": "[]"}),
        ]
    )
    assert [row.error is None for row in rows] == [True, False, False, True, True]
    assert [sorted(row.missing_after) for row in rows] == [[], ["*"], ["*"], [], []]
    assert [row.before_known for row in rows] == [True, True, False, True, False]
    assert image(rows[4].after) == {"id": 1, "doc": [], "day": None}


def test_row_by_row_a_key_that_cannot_be_read_takes_nothing_with_it(connection: Connection) -> None:
    store = complete_store(connection, plan(KEYED, FLIGHT), careful=True)
    rows = store.apply(
        [
            change("c", KEYED, {"number": "1", "day": "2026-13-45Z"}),
            change("d", FLIGHT, {"id": "seven"}),
            change("c", FLIGHT, {"id": 1}),
        ]
    )
    assert [row.error is None for row in rows] == [False, False, True]
    assert [row.before_known for row in rows] == [False, False, True]


KEYS = st.integers(1, 4)
VALUES = st.fixed_dictionaries(
    {"seats": st.none() | st.integers(0, 3), "big": st.sampled_from(["a", LONG, PLACEHOLDER]), "status": st.just("s")}
)
STEPS = st.lists(
    st.tuples(st.sampled_from(["put", "put", "put", "drop", "move", "clear"]), KEYS, KEYS, st.booleans(), VALUES),
    max_size=25,
)


def changes(steps: list[tuple[str, int, int, bool, dict[str, Any]]]) -> list[Change]:
    """Changes that a table could really make; the placeholder only where a row was changed."""
    there: dict[str, set[int]] = {FLIGHT.label: set(), BOOKING.label: set()}
    made: list[Change] = []
    for lsn, (step, first, second, other, values) in enumerate(steps, 1):
        each = BOOKING if other else FLIGHT
        rows = there[each.label]
        after = values if each is FLIGHT else {"note": values["big"], "flight_id": values["seats"]}
        if step == "clear":
            made.append(change("t", each, {}, lsn=lsn))
            rows.clear()
        elif step == "put":
            new = first not in rows
            fresh = {name: "fresh" if value == PLACEHOLDER and new else value for name, value in after.items()}
            made.append(change("c" if new else "u", each, {"id": first}, fresh, lsn))
            rows.add(first)
        elif first in rows:
            made.append(change("d", each, {"id": first}, lsn=lsn))
            rows.discard(first)
            if step == "move" and second not in rows:
                made.append(change("c", each, {"id": second}, after, lsn))
                rows.add(second)
    return made


def applied(connection: Connection, compiled: Plan, groups: list[list[Change]]) -> list[tuple[Any, ...]]:
    forget(connection, SOURCE)
    store = complete_store(connection, compiled)
    found = [summary(row) for group in groups for row in store.apply(group)]
    connection.rollback()
    return found


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=STEPS)
def test_many_changes_at_once_are_as_one_after_the_other(
    connection: Connection, steps: list[tuple[str, int, int, bool, dict[str, Any]]]
) -> None:
    """A change of the key stays together, as it does in a batch."""
    compiled, made = plan(FLIGHT, BOOKING), changes(steps)
    alone: list[list[Change]] = []
    for each in made:
        if alone and each.op == "c" and alone[-1][-1].op == "d" and alone[-1][-1].lsn == each.lsn:
            alone[-1].append(each)
        else:
            alone.append([each])
    one_by_one = applied(connection, compiled, alone)
    assert applied(connection, compiled, [made]) == one_by_one
