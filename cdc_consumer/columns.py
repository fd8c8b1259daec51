"""How one column goes from Debezium's JSON into the mirror, so that `to_jsonb` of it is what the source would print.

Facts: the field guide's tables of types, measured on Debezium 3.7 with string numerics and ISO times.
"""

from __future__ import annotations

import re

from psycopg import sql

from wakestream import mirroring
from wakestream.catalogue import Column
from wakestream.mirroring import ledger_type

# Base types whose printed form is not what their input function reads: they go through an expression. All others are
# read as they are; PostgreSQL drops the `Z` that Debezium puts behind dates, times and timestamps without zone.
_CAST = {"numeric", "json", "jsonb", "bytea"}

# Bytes of the types of one length; that of others is at most that of their JSON.
_WIDTHS = {
    **{"bool": 1, "int2": 2, "int4": 4, "oid": 4, "float4": 4, "date": 4, "enum": 4, "int8": 8, "float8": 8},
    **{"time": 8, "timestamp": 8, "timestamptz": 8, "uuid": 16, "interval": 16},
}
_ARRAY_HEADER = 24
_ELEMENT = 20  # at most, of an element's header and padding, and of what its text may be shorter
_JSONPATH = 8  # for each character
# Bytes of an element of those whose text may be shorter: a vector's number, half a point.
_ELEMENTS = {"vector": 4, "halfvec": 2, "sparsevec": 8, "path": 8, "polygon": 8}

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


def stored_size(column: Column, text: bytes) -> int:
    """How many bytes a value takes in its row at most, by its JSON."""
    if text == b"null":
        return 0
    elements = text.count(b",") + 1
    if column.array:
        width = _WIDTHS.get(column.base)
        return _ARRAY_HEADER + (len(text) + _ELEMENT * elements if width is None else width * elements)
    if column.base in _ELEMENTS:
        return _ARRAY_HEADER + _ELEMENTS[column.base] * elements
    if column.base in mirroring.DECODED:
        return _JSONPATH * len(text) if column.base == "jsonpath" else len(text) + _ELEMENT * elements
    if column.base == "bit":
        return _ARRAY_HEADER + len(text) // 8
    return _WIDTHS.get(column.base, len(text))


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
