"""Which values Debezium 3.7 loses or hides, by type: measured, and held here so that a change is a decision."""

from __future__ import annotations

import msgspec
import pytest

from cdc_consumer import columns
from tests.unit.cdc_consumer.tables import column
from wakestream import mirroring
from wakestream.catalogue import Column

SCALARS = ("text", "varchar", "bpchar", "json", "jsonb", "bytea", "numeric")
ARRAYS = (
    *("text", "varchar", "json", "jsonb", "int2", "int4", "int8", "float4", "float8", "bool", "date", "timestamp"),
    *("timestamptz", "uuid", "bytea", "numeric", "enum", "bpchar", "oid"),
)


def test_unchanged_long_values_that_come_as_null() -> None:
    assert {base for base in SCALARS if mirroring.null_for_toast(column("c", base))} == {"bytea"}
    hidden = {base for base in ARRAYS if mirroring.null_for_toast(column("c", base, array=True))}
    assert set(ARRAYS) - hidden == {"text", "varchar", "bpchar", "json", "jsonb", "int4", "int8", "uuid"}
    assert not mirroring.null_for_toast(column("c", "int4"))
    over = msgspec.structs.replace(column("c", "text", array=True), domain=True)
    assert mirroring.null_for_toast(over)
    assert not mirroring.null_for_toast(msgspec.structs.replace(column("c", "text"), domain=True))


def test_arrays_whose_null_may_be_a_value() -> None:
    assert {base for base in ARRAYS if columns.null_may_hide(column("c", base, array=True))} == {"numeric", "enum"}
    assert columns.null_may_hide(Column("c", "sparsevec(40000)", "sparsevec"))
    assert not columns.null_may_hide(Column("c", "sparsevec(300)", "sparsevec"))
    assert not columns.null_may_hide(column("c", "numeric"))


def test_arrays_of_arrays_come_as_nulls_or_as_names() -> None:
    named = {base for base in ARRAYS if not columns.nested_as_null(column("c", base, array=True))}
    assert named == {"text", "varchar", "bpchar", "json", "jsonb", "uuid", "enum"}


@pytest.mark.parametrize(
    ("base", "array", "text", "outside"),
    [
        ("bytea", False, b"null", False),
        ("bytea", False, b'"\\\\x' + b"00" * 15 + b'"', False),
        ("bytea", False, b'"\\\\x' + b"00" * 24 + b'"', True),
        ("float8", True, b"[]", False),
        ("float8", True, b"[1]", True),
        ("vector", False, b'"[1,2,3,4]"', False),
        ("vector", False, b'"[1,2,3,4,5]"', True),
        ("halfvec", False, b'"[1,2,3,4,5]"', False),
        ("bit", False, b'"0101"', False),
        ("bit", False, b'"' + b"01" * 70 + b'"', True),
        ("int4multirange", False, b'"{[1,5)}"', True),
    ],
)
def test_what_may_stand_out_of_line(base: str, array: bool, text: bytes, outside: bool) -> None:
    assert columns.may_stand_outside(column("c", base, array=array), text) == outside
