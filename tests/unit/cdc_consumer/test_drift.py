"""A schema that is not that of the revision, and mirrors that follow one revision to the next."""

from __future__ import annotations

import json
from typing import Any

from cdc_consumer import mirror_tables
from cdc_consumer.decode import Change
from cdc_consumer.plan import Plan
from cdc_consumer.store import Store
from cdc_consumer.waves import Row
from tests.harness.source import Connection
from tests.unit.cdc_consumer.tables import SOURCE, column, complete_store, plan, table

SEAT = table("seat", "row code", column("row", "int4"), column("code", "text"), column("n", "int4"))
WIDER = table(
    "seat", "row code", column("row", "int4"), column("code", "text"), column("n", "int8"), column("note", "text")
)
NARROWER = table("seat", "row code", column("row", "int4"), column("code", "text"))
KEY = {"row": 1, "code": 'a"ä\\'}


def applied(store: Store, op: str, **after: Any) -> Row:
    image = json.dumps({**KEY, **after}, separators=(",", ":")).encode()
    key = json.dumps(KEY, separators=(",", ":")).encode()
    return store.apply([Change(op, "public.seat", key, image, 1, id(image))])[0]


def stored(connection: Connection) -> Any:
    return connection.execute(f"select * from {SOURCE}__public.seat".encode()).fetchall()


def next_store(connection: Connection, old: Plan, new: Plan) -> Store:
    mirror_tables.prepare(connection, new, old.revision)
    return Store(connection, SOURCE, new.tables)


def test_a_column_that_no_revision_knows_is_left_out_and_one_that_is_gone_is_missing(connection: Connection) -> None:
    store = complete_store(connection, plan(SEAT))
    assert applied(store, "c", n=1, note="new").missing_after == frozenset()
    gone = applied(store, "u", note="new")
    assert (json.loads(gone.after or ""), gone.missing_after) == ({**KEY, "n": None}, {"n"})
    back = applied(store, "u", n=2)
    assert (back.missing_before, back.missing_after) == ({"n"}, frozenset())


def test_columns_that_change_between_two_images_of_a_set(connection: Connection) -> None:
    store = complete_store(connection, plan(SEAT))
    images = [{"row": n, "code": "a", **({} if n in (2, 3) else {"n": n})} for n in range(1, 6)]
    images[4] = {"row": 5, "n": 5, "code": "a"}  # dropped, and added again elsewhere
    changes = [
        Change("c", "public.seat", json.dumps({"row": each["row"], "code": "a"}).encode(), json.dumps(each).encode(), n)
        for n, each in enumerate(images, 1)
    ]
    assert [sorted(row.missing_after) for row in store.apply(changes)] == [[], ["n"], ["n"], [], []]


def test_a_mirror_gets_new_columns_and_wider_types_where_it_stands(connection: Connection) -> None:
    old, new = plan(SEAT), plan(WIDER)
    applied(complete_store(connection, old), "c", n=1)
    store = next_store(connection, old, new)
    assert stored(connection) == [(1, 'a"ä\\', 1, None)]
    first = applied(store, "u", n=2**40, note="x")
    assert (json.loads(first.before or ""), first.missing_before) == ({**KEY, "n": 1, "note": None}, {"n", "note"})
    assert first.missing_after == frozenset()
    second = applied(store, "u", n=3, note="y")
    assert (second.before_known, second.missing_before) == (True, frozenset())


def test_of_a_row_with_a_long_key_a_new_column_is_not_known_either(connection: Connection) -> None:
    """The ledger remembers such a row by its key's digest."""
    narrow, wide = (table("note", "code", column("code", "text"), *more) for more in ((), (column("n", "int4"),)))
    long = {"code": "ä" * 1500}
    key = json.dumps(long, separators=(",", ":"), ensure_ascii=False).encode()
    old, new = plan(narrow), plan(wide)
    complete_store(connection, old).apply([Change("c", "public.note", key, key, 1, 1)])
    image = json.dumps({**long, "n": 1}, separators=(",", ":"), ensure_ascii=False).encode()
    (row,) = next_store(connection, old, new).apply([Change("u", "public.note", key, image, 1, 2)])
    assert (row.before_known, row.missing_before) == (True, {"n"})


def test_a_mirror_loses_columns_where_it_stands_with_what_was_missing_of_them(connection: Connection) -> None:
    old, new = plan(SEAT), plan(NARROWER)
    applied(complete_store(connection, old), "c")
    store = next_store(connection, old, new)
    assert stored(connection) == [(1, 'a"ä\\')]
    assert not store.unknown.any("public.seat")
