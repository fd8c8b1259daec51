"""How one column goes from Debezium's JSON into the mirror, so that `to_jsonb` of it is what the source would print.

Facts: the field guide's tables of types, measured on Debezium 3.7 with string numerics and ISO times.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from psycopg import sql

from wakestream import mirroring
from wakestream.catalogue import Column
from wakestream.mirroring import ledger_type

# Base types whose printed form is not what their input function reads: they go through an expression. All others are
# read as they are; PostgreSQL drops the `Z` that Debezium puts behind dates, times and timestamps without zone.
_CAST = {"numeric", "json", "jsonb", "bytea"}

# What PostgreSQL never stores out of line, in bytes: a pointer would take as much (`toast_helper.c`).
_INLINE = 24
# How many bytes values of types without a fixed length have at most; those of others may always have more.
_SIZES: dict[str, Callable[[bytes], int]] = {
    "bytea": lambda text: 4 + (len(text) - len(r'"\\x"')) // 2,
    "bit": lambda text: 8 + len(text) // 8,
    "vector": lambda text: 8 + 4 * (text.count(b",") + 1),
    "halfvec": lambda text: 8 + 2 * (text.count(b",") + 1),
    "sparsevec": lambda text: 16 + 8 * (text.count(b",") + 1),
}

# Arrays whose elements Debezium holds as Java objects that print their name.
_NAMED_ARRAYS = {
    *("text", "varchar", "bpchar", "char", "json", "jsonb", "uuid", "enum", "tsvector", "ltree"),
    *("inet", "cidr", "macaddr", "macaddr8"),
    *("int4range", "int8range", "numrange", "daterange", "tsrange", "tstzrange"),
}
# Arrays that come as null where one element is NULL, or is what JSON has no number for.
_ALL_OR_NOTHING = {"numeric", "enum", "tsvector", "ltree", "isbn"} | mirroring.DECODED
_SPARSE = re.compile(r"sparsevec\((\d+)\)")
_INT16 = 2**15

_SIMPLE_KEYS = {"int2", "int4", "int8", "text", "varchar", "uuid", "enum", "bool"}

TEMPORAL = {"date", "timestamp", "timestamptz"}

JSON = {"json", "jsonb"}

# Stands in an image for a value that could not be read from what an adopted connector wrote: no text holds a NUL.
UNKNOWN = b'"\\u0000"'


def is_simple_key(column: Column) -> bool:
    """Whether a key's value is the same text in a message's key and in `to_jsonb`, and equal where that is."""
    return column.base in _SIMPLE_KEYS and not column.array


def null_may_hide(column: Column) -> bool:
    """Whether Debezium prints null for values that are not NULL.

    It does so for a numeric array with `NaN` or an infinity in it, for arrays of some types with a NULL in it, and for
    a sparse vector of more dimensions than 16 bits count.
    """
    if column.array:
        return column.base in _ALL_OR_NOTHING
    if column.base != "sparsevec":
        return False
    found = _SPARSE.fullmatch(column.type)
    return found is None or int(found[1]) >= _INT16


def may_stand_outside(column: Column, text: bytes) -> bool:
    """Whether PostgreSQL may have stored a value out of line: of 24 bytes and less it stores none.

    Takes the value's JSON. Nothing else tells: a table may have a shorter `toast_tuple_target`, longer values of other
    columns may be stored as `main` and stay, and what was once moved out stays there when the row gets short.
    """
    if text == b"null":
        return False
    if column.array:
        return text != b"[]"  # others have a header of 24 bytes
    size = _SIZES.get(column.base)
    return size is None or size(text) > _INLINE


def nested_as_null(column: Column) -> bool:
    """Whether an array of arrays comes as a list of nulls, and not as one of Java's names for objects."""
    return column.base not in _NAMED_ARRAYS


def wire_type(column: Column) -> str:
    """The type under which `json_to_recordset` reads the field."""
    if column.base == "composite":
        return mirroring.field_type(column)
    if not column.array and column.base in mirroring.VECTORS:
        return "float4[]"
    if column.array:
        return "json" if column.base in _CAST else ledger_type(column)
    return "text" if column.base in _CAST else ledger_type(column)


def value(column: Column, field: sql.Composable) -> sql.Composable:
    """The SQL expression that turns a field of the record set into the column's value."""
    if column.base == "composite":
        return sql.SQL("to_jsonb({})").format(field)
    if not column.array and column.base in mirroring.VECTORS:
        return sql.SQL("'[' || array_to_string({}, ',') || ']'").format(field)
    if column.base not in _CAST:
        return field
    target = sql.SQL(ledger_type(column))  # pyright: ignore[reportArgumentType] - from format_type, quoted by PostgreSQL
    if not column.array:
        return sql.SQL("{}::{}").format(_text(column.base, field), target)
    element = _text(column.base, sql.SQL("e"))
    return sql.SQL(
        "(case when json_typeof({field}) = 'array' then (select coalesce(array_agg({element} order by n), '{{}}')"
        " from json_array_elements_text({field}) with ordinality a(e, n))::{target} end)"
    ).format(field=field, element=element, target=target)


def _text(base: str, field: sql.Composable) -> sql.Composable:
    """The text that PostgreSQL's input function of the base type reads."""
    if base == "numeric":
        # NAN is read in any case; the infinities have names of Debezium's own.
        return sql.SQL("replace(replace({}, 'POSITIVE_', ''), 'NEGATIVE_', '-')").format(field)
    if base == "bytea":
        return sql.SQL("decode({}, 'base64')").format(field)
    return field
