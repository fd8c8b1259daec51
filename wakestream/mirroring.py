"""What of a column can stand in the mirror, and under which type: known to whoever makes mirrors or reads from them."""

from __future__ import annotations

import re

from wakestream.catalogue import Column

# Types whose values come whole through Debezium 3.7 with string numerics and ISO times.
_WHOLE = {
    *("bool", "int2", "int4", "int8", "oid", "float4", "float8", "numeric"),
    *("text", "varchar", "bpchar", "uuid", "enum", "bytea", "json", "jsonb"),
    *("date", "time", "timestamp", "timestamptz", "interval"),
}
# Arrays that are cut or absent even in one dimension.
_LOST_ARRAYS = {"time", "interval"}
_NEGATIVE_SCALE = re.compile(r"numeric\(\d+,-")


def is_lost(column: Column) -> bool:
    """Whether values of this column can never be known from Debezium's messages."""
    if column.generated or column.base not in _WHOLE:
        return True
    if column.array:
        return column.base in _LOST_ARRAYS
    return _NEGATIVE_SCALE.match(column.type) is not None


def ledger_type(column: Column) -> str:
    """The mirror's type; enums of the source are text here."""
    if column.base == "enum":
        return "text[]" if column.array else "text"
    return column.type
