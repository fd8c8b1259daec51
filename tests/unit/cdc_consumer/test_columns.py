"""Which values Debezium 3.7 loses or hides, by type: measured, and held here so that a change is a decision."""

from __future__ import annotations

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


def test_arrays_whose_null_may_be_a_value() -> None:
    assert {base for base in ARRAYS if columns.null_may_hide(column("c", base, array=True))} == {"numeric", "enum"}
    assert columns.null_may_hide(Column("c", "sparsevec(40000)", "sparsevec"))
    assert not columns.null_may_hide(Column("c", "sparsevec(300)", "sparsevec"))
    assert not columns.null_may_hide(column("c", "numeric"))


def test_arrays_of_arrays_come_as_nulls_or_as_names() -> None:
    named = {base for base in ARRAYS if not columns.nested_as_null(column("c", base, array=True))}
    assert named == {"text", "varchar", "bpchar", "json", "jsonb", "uuid", "enum"}


@pytest.mark.parametrize(
    ("base", "array", "text", "size"),
    [
        ("bytea", False, b'"\\\\x0102"', 9),
        ("text", False, b"null", 0),
        ("float8", False, b"1", 8),
        ("float8", True, b"[1, 2, 3]", 48),
        ("text", True, b'["a"]', 49),
        ("vector", False, b'"[1,2,3]"', 36),
        ("int4multirange", False, b'"{[1,5)}"', 49),
    ],
)
def test_how_much_of_a_row_a_value_takes_at_most(base: str, array: bool, text: bytes, size: int) -> None:
    assert columns.stored_size(column("c", base, array=array), text) == size
