"""Rare types through the ledger: what Debezium prints goes in, what `to_jsonb` prints of the source comes out."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest

from cdc_consumer.collect import Piece
from cdc_consumer.decode import Change
from cdc_consumer.printed import Printed
from tests.harness.context import Number, exact
from tests.harness.source import Connection
from tests.unit.cdc_consumer.tables import PLACEHOLDER, column, complete_store, plan, table
from wakestream.catalogue import Column

PAIR = Column("pair", "pair", "composite", fields=(Column("n", "integer", "int4"), Column("t", "text", "text")))
PLACE = Column(
    "place",
    "place",
    "composite",
    toastable=True,
    fields=(
        Column("whole", "integer", "int4"),
        Column("at", "timestamp with time zone", "timestamptz"),
        Column("amount", "numeric", "numeric"),
        Column("list", "integer[]", "int4", array=True),
        Column("feel", "mood", "enum"),
        PAIR,
    ),
)
PLACES = Column("places", "place[]", "composite", array=True, toastable=True, fields=PLACE.fields)
COLUMNS = (
    PLACE,
    PLACES,
    column("extra", "hstore"),
    Column("dense", "vector(3)", "vector", toastable=True),
    Column("sparse", "sparsevec(5)", "sparsevec", toastable=True),
    column("price", "money"),
    Column("bits", "bit(12)", "bit"),
    column("spot", "point"),
    column("spans", "int4multirange"),
    column("marks", "pg_lsn", array=True),
    column("word", "citext"),
    column("net", "inet", array=True),
)
TABLE = table("rare", "id", column("id", "int4"), *COLUMNS)


def b64(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


ROW = '(7,"2024-02-29 10:00:00+02",1.50,"{1,NULL}",sad,"(2,\\"a b\\")")'
SENT: dict[str, Any] = {
    "place": b64(ROW),
    "places": [b64(ROW), b64("(,,,,,)")],
    "extra": '{"a":"1","b":null}',
    "dense": [1.0, 0.1, -1e10],
    "sparse": {"dimensions": 5, "vector": [[1, 1.5], [3, 0.1]]},
    "price": "-1234.50",
    "bits": "AQg=",
    "spot": {"x": 1.5, "y": "NaN", "wkb": "", "srid": None},
    "spans": b64("{[1,5),[7,9)}"),
    "marks": [b64("16/B374D848"), b64("0/0")],
    "word": "Ab",
    "net": ["10.0.0.1/24", None],
}
DOCUMENT = {
    "whole": 7,
    "at": "2024-02-29T08:00:00+00:00",
    "amount": Number("1.50"),
    "list": [1, None],
    "feel": "sad",
    "pair": {"n": 2, "t": "a b"},
}
SHOWN: dict[str, Any] = {
    "place": DOCUMENT,
    "places": [DOCUMENT, dict.fromkeys(DOCUMENT)],
    "extra": {"a": "1", "b": None},
    "dense": "[1,0.1,-1e+10]",
    "sparse": "{1:1.5,3:0.1}/5",
    "price": "-$1,234.50",
    "bits": "100000000001",
    "spot": "(1.5,NaN)",
    "spans": "{[1,5),[7,9)}",
    "marks": ["16/B374D848", "0/0"],
    "word": "Ab",
    "net": ["10.0.0.1/24", None],
}


def applied(connection: Connection, *changes: tuple[str, dict[str, Any]]) -> list[tuple[Any, Any, list[str]]]:
    """Images before and after, and what is missing after, of changes of one row."""
    compiled = plan(TABLE)
    store = complete_store(connection, compiled)
    made = [Change(op, TABLE.label, b'{"id":1}', json.dumps({"id": 1, **row}).encode()) for op, row in changes]
    turned = Printed(compiled.tables).turn(Piece("transaction", 1, changes=made))
    return [
        (row.before and exact(row.before), row.after and exact(row.after), sorted(row.missing_after))
        for row in store.apply(turned.changes)
    ]


def test_all_of_them(connection: Connection) -> None:
    ((_, after, missing),) = applied(connection, ("c", SENT))
    assert (after, missing) == ({"id": 1, **SHOWN}, [])


def test_nulls_that_may_hide_values(connection: Connection) -> None:
    """An array of some types is null where one element is; what is short was never out of line."""
    ((_, after, missing),) = applied(connection, ("c", dict.fromkeys(SENT)))
    assert (after, missing) == ({"id": 1, **dict.fromkeys(SHOWN)}, ["marks", "places"])


@pytest.mark.parametrize(("name", "value"), [("extra", f'{{"{PLACEHOLDER}":"{PLACEHOLDER}"}}'), ("word", PLACEHOLDER)])
def test_unchanged_values_that_were_not_sent(connection: Connection, name: str, value: str) -> None:
    _, (before, after, missing) = applied(connection, ("c", SENT), ("u", {**SENT, name: value}))
    assert (before, after, missing) == ({"id": 1, **SHOWN}, {"id": 1, **SHOWN}, [])


def test_what_cannot_be_read_is_missing(connection: Connection) -> None:
    broken = {"spot": {"x": 1}, "spans": "no base64", "extra": "no json", "marks": [7]}
    ((_, after, missing),) = applied(connection, ("c", {**SENT, **broken}))
    assert missing == sorted(broken)
    assert {name: after[name] for name in SHOWN.keys() - broken} == {n: SHOWN[n] for n in SHOWN.keys() - broken}
