"""Debezium's forms of the rarer types, as measured on 3.7, and what PostgreSQL is given to read instead."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest

from cdc_consumer.collect import Piece
from cdc_consumer.decode import Change
from cdc_consumer.printed import Printed, float4
from tests.unit.cdc_consumer.tables import column, table, table_plan
from wakestream.catalogue import Column


def b64(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


LINE = "AQIAAAACAAAAAAAAAAAA8D8AAAAAAAAAQAAAAAAAAAhAAAAAAAAAEkA="
RING = "AQMAAAABAAAABAAAAAAAAAAAAPA/AAAAAAAAAEAAAAAAAAAIQAAAAAAAABBAAAAAAAAAFEAAAAAAAAAZQAAAAAAAAPA/AAAAAAAAAEA="
BOX = (
    "AQMAAAABAAAABQAAAAAAAAAAAAhAAAAAAAAAEEAAAAAAAAAIQAAAAAAAAABA"
    "AAAAAAAA8D8AAAAAAAAAQAAAAAAAAPA/AAAAAAAAEEAAAAAAAAAIQAAAAAAAABBA"
)
UNKNOWN = "\0"


def turned(each: Column, value: Any) -> Any:
    plan = table_plan(table("t", "id", column("id", "int4"), each))
    image = json.dumps({"id": 1, each.name: value}).encode()
    piece = Piece("snapshot", 1, changes=[Change("r", plan.label, b'{"id":1}', image)])
    found = Printed({plan.label: plan}).turn(piece)
    assert piece.changes[0].after == image
    return json.loads(found.changes[0].after or b"")[each.name]


@pytest.mark.parametrize(
    ("each", "value", "text"),
    [
        (column("c", "pg_lsn"), b64("16/B374D848"), "16/B374D848"),
        (column("c", "int4multirange"), b64("{[1,5),[7,9)}"), "{[1,5),[7,9)}"),
        (column("c", "xid8", array=True), [b64("7"), b64("8")], ["7", "8"]),
        (column("c", "composite"), b64('(1,"a b")'), '(1,"a b")'),
        (column("c", "pg_lsn"), "not base64", UNKNOWN),
        (column("c", "pg_lsn"), 7, UNKNOWN),
        (column("c", "pg_lsn"), None, None),
        (Column("c", "bit(12)", "bit"), "AQg=", "100000000001"),
        (Column("c", "bit(12)", "bit"), "", "000000000000"),
        (Column("c", "bit(1)", "bit"), True, "1"),
        (column("c", "point"), {"x": 1.5, "y": 2.0}, "(1.5,2.0)"),
        (column("c", "point"), {"x": "NaN", "y": "-Infinity"}, "(NaN,-Infinity)"),
        (column("c", "line"), {"a": 0.1, "b": -1.0, "c": 1e300}, "{0.1,-1.0,1e+300}"),
        (column("c", "lseg"), {"wkb": LINE}, "[(1.0,2.0),(3.0,4.5)]"),
        (column("c", "path"), {"wkb": LINE, "extensions": {"closed": "true"}}, "((1.0,2.0),(3.0,4.5))"),
        (column("c", "path"), {"wkb": LINE, "extensions": {"closed": "false"}}, "[(1.0,2.0),(3.0,4.5)]"),
        (column("c", "path"), {"wkb": LINE}, UNKNOWN),
        (column("c", "polygon"), {"wkb": RING}, "((1.0,2.0),(3.0,4.0),(5.0,6.25))"),
        (column("c", "box"), {"wkb": BOX}, "(3.0,4.0),(1.0,2.0)"),
        (column("c", "circle"), {"center": {"x": 1.0, "y": 2.0}, "radius": 3.5}, "<(1.0,2.0),3.5>"),
        (column("c", "hstore"), '{"a":"1", "b":null}', {"a": "1", "b": None}),
        (column("c", "hstore", array=True), ['{"a":"1"}', None], [{"a": "1"}, None]),
        (column("c", "sparsevec"), {"dimensions": 5, "vector": [[3, 0.1], [1, 1.5]]}, "{1:1.5,3:0.1}/5"),
    ],
)
def test_forms(each: Column, value: Any, text: Any) -> None:
    assert turned(each, value) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.1, "0.1"), (1e-20, "1e-20"), (-1e10, "-1e+10"), (3.0, "3"), (123456.0, "123456"), (1234567.0, "1.234567e+06"),
     (0.0001, "0.0001"), (0.00001234, "1.234e-05"), (0.0, "0"), (-0.0, "-0"), (1000000.0, "1e+06"), (100.0, "100")],
)  # fmt: skip
def test_numbers_as_float4_prints_them(value: float, text: str) -> None:
    assert float4(value) == text
