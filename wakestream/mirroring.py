"""What of a column can stand in the mirror, and under which type: known to whoever makes mirrors or reads from them."""

from __future__ import annotations

import hashlib
import re

from wakestream.capture import CapturedTable
from wakestream.catalogue import Column, Table

# Types that come as PostgreSQL's input functions read them, or nearly so, through Debezium 3.7 with string numerics
# and ISO times.
_SENT = {
    *("bool", "int2", "int4", "int8", "oid", "float4", "float8", "numeric", "money"),
    *("text", "varchar", "bpchar", "name", "char", "uuid", "enum", "bytea", "json", "jsonb"),
    *("date", "time", "timestamp", "timestamptz", "interval"),
    *("inet", "cidr", "macaddr", "macaddr8", "tsvector"),
    *("int4range", "int8range", "numrange", "daterange", "tsrange", "tstzrange"),
}
_GEOMETRIC = {"point", "line", "lseg", "box", "path", "polygon", "circle"}

_DECODED_CORE = {
    *("xid", "xid8", "cid", "tid", "pg_lsn", "txid_snapshot", "pg_snapshot", "jsonpath", "tsquery"),
    *("int4multirange", "int8multirange", "nummultirange", "datemultirange", "tsmultirange", "tstzmultirange"),
}
# Names of things, which only the source knows; and types of extensions, and ranges that somebody has made.
_DECODED_TEXT = {
    *("regclass", "regtype", "regproc", "regprocedure", "regoper", "regoperator", "regrole", "regnamespace"),
    *("regconfig", "regdictionary", "regcollation"),
    *("ean13", "issn", "ismn", "isbn13", "issn13", "ismn13", "upc", "cube", "seg", "lquery", "ltxtquery", "range"),
}
DECODED = _DECODED_CORE | _DECODED_TEXT | {"composite"}
"""Types that come as base64 of the text that PostgreSQL prints."""

VECTORS = {"vector", "halfvec"}
"""Types that come as a list of numbers."""

# Types of extensions that come as their text.
_SENT_TEXT = {"citext", "ltree", "isbn"}

_AS_TEXT = _SENT_TEXT | _DECODED_TEXT | VECTORS | {"enum", "sparsevec", "xml"}
"""Types that stand in the mirror as text, since the ledger need not have them. `to_jsonb` prints them alike."""

AS_JSON = {"hstore", "composite"}
"""Types that `to_jsonb` prints as objects, and that stand in the mirror as such."""

_WHOLE = _SENT | _GEOMETRIC | DECODED | VECTORS | _SENT_TEXT | {"bit", "hstore", "sparsevec", "xml"}

_WHOLE_ARRAYS = (_SENT | DECODED | _SENT_TEXT | {"hstore"}) - {"money", "name", "time", "interval"}

# What an attribute of a composite type may be besides: it comes inside the text that PostgreSQL prints.
_ONLY_INSIDE = {"varbit", "timetz"}

_NEGATIVE_SCALE = re.compile(r"numeric\(\d+,-")

# Arrays whose unchanged out-of-line value comes as the placeholder; that of others, and of domains over these, is null.
_MARKED_ARRAYS = {"text", "varchar", "bpchar", "json", "jsonb", "int4", "int8", "uuid"}
# Single values that come as null then.
_UNMARKED = {"bytea", "bit", "path", "polygon", "sparsevec"} | DECODED | VECTORS

TYPES = "wake_types"
"""The ledger's schema for the composite types of the sources."""


def is_lost(column: Column) -> bool:
    """Whether values of this column can never be known from Debezium's messages."""
    if column.generated:
        return True
    if column.array:  # the vectors of the catalogue are arrays to PostgreSQL, and empty ones to Debezium
        return column.base not in _WHOLE_ARRAYS or column.type.endswith("vector")
    if column.base == "composite":
        return not all(_is_told(field) for field in column.fields)
    return column.base not in _WHOLE or _NEGATIVE_SCALE.match(column.type) is not None


def shown(table: Table, settings: CapturedTable) -> tuple[Column, ...]:
    """The columns of a table's images: neither excluded nor always lost."""
    absent = settings.hidden.union(settings.lost)
    return tuple(column for column in table.columns if column.name not in absent and not is_lost(column))


def null_for_toast(column: Column) -> bool:
    """Whether an unchanged out-of-line value comes as null instead of as the placeholder."""
    if not column.toastable:
        return False
    if column.array:
        return column.domain or column.base not in _MARKED_ARRAYS
    return column.base in _UNMARKED


def is_turned(column: Column) -> bool:
    """Whether values come in a form that PostgreSQL does not read."""
    if column.array:
        return column.base in DECODED | {"hstore"}
    return column.base in DECODED | _GEOMETRIC | {"bit", "hstore", "sparsevec"}


def can_be_key(column: Column) -> bool:
    """Whether a message's key tells the column's value, too."""
    return not is_lost(column) and column.base in (_SENT | _SENT_TEXT) - {"money"}


def ledger_type(column: Column) -> str:
    """The mirror's type; what the ledger need not have is text or JSON here."""
    if column.base in AS_JSON:
        return "jsonb"
    if column.base in _AS_TEXT:
        return "text[]" if column.array else "text"
    return column.type


def composite_name(column: Column) -> str:
    """What the ledger calls a composite type: another for every other list of attributes."""
    listed = "\n".join(f"{field.name}\t{field_type(field)}" for field in column.fields)
    return f"c_{hashlib.sha256(listed.encode()).hexdigest()[:32]}"


def field_type(column: Column) -> str:
    """The type of a composite type's attribute in the ledger."""
    suffix = "[]" if column.array else ""
    if column.base == "composite":
        return f"{TYPES}.{composite_name(column)}{suffix}"
    return f"text{suffix}" if column.base in _AS_TEXT else column.type


def _is_told(field: Column) -> bool:
    """Whether the ledger can read an attribute out of the text of a row."""
    if field.base == "composite":
        return all(_is_told(each) for each in field.fields)
    return field.base in (_WHOLE | _ONLY_INSIDE) - {"hstore"}
