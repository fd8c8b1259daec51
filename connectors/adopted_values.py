"""Which values arrive whole through a connector with these settings, and in which form.

Its defaults are Debezium's, not ours: numbers unscaled, moments as counts, and nulls that become a column's default.
What cannot be turned into the exact value is lost, and named `missing` in every event.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

import msgspec

from connectors import patterns
from connectors.connect import types
from connectors.connector_config import MODES
from connectors.databases import Connection
from wakestream.capture import Form
from wakestream.catalogue import Column, Table
from wakestream.mirroring import is_lost

MILLISECONDS = 3  # digits
_PRECISION = re.compile(r"\((\d+)\)")
_NUMBERS, _MOMENTS = "decimal.handling.mode", "time.precision.mode"
# Types whose values come alike under all settings.
_ALIKE = {
    *("bool", "int2", "int4", "int8", "oid", "float4", "float8", "timestamptz"),
    *("text", "varchar", "bpchar", "uuid", "enum", "json", "jsonb"),
}
_CHANGES = re.compile(r"column\.(?:mask\.|truncate\.|exclude\.list)")
_EXACT = ("adaptive", "adaptive_time_microseconds")
_CONVERTER, JSON = "value.converter", "org.apache.kafka.connect.json.JsonConverter"

# Of columns of one table: those that may be null and have a default, or their domain has one.
_DEFAULTS = """
    select n.nspname || '.' || c.relname, array_agg(a.attname::text)
    from pg_attribute a join pg_class c on c.oid = a.attrelid join pg_namespace n on n.oid = c.relnamespace
    join pg_type t on t.oid = a.atttypid
    where n.nspname || '.' || c.relname = any(%s) and a.attnum > 0 and not a.attisdropped and not a.attnotnull
      and (a.atthasdef and a.attgenerated = '' or t.typdefault is not null)
    group by 1
"""


class Flaw(msgspec.Struct, frozen=True):
    """Something that is missing or wrong, and what would mend it."""

    check: str
    evidence: str
    remedy: str
    """As in a finding; `connector:` is for its owner."""
    table: str = ""
    """`schema.table`; empty for the connector itself."""


class Lost(NamedTuple):
    """A column that does not arrive whole."""

    settings: str
    """Which would give it, a line each."""


@dataclass(frozen=True)
class Values:
    """What becomes of the columns of one table."""

    forms: dict[str, Form]
    lost: dict[str, str]
    """Columns that are lost, and the setting that would give them."""

    def flaws(self, table: Table, hidden: frozenset[str]) -> Iterator[Flaw]:
        """One for each setting that loses columns of this table."""
        in_key = [name for name in table.key if name in self.lost]
        if in_key:
            evidence = f"the key column `{in_key[0]}` of {table.label} does not arrive whole"
            yield Flaw("adopt.key", evidence, _remedy(self.lost[in_key[0]]), table.label)
        for setting in dict.fromkeys(self.lost.values()):
            columns = [name for name, by in self.lost.items() if by == setting and name not in hidden]
            if columns:
                listed = ", ".join(columns)
                evidence = f"{listed} of {table.label} does not arrive whole, and is `missing` in every event"
                yield Flaw("adopt.values", evidence, _remedy(setting), table.label)
        unsure = [c.name for c in table.columns if self.forms.get(c.name) == "unscaled" and not c.not_null]
        shown = [name for name in unsure if name not in hidden]
        if shown:
            evidence = f"a null of {', '.join(shown)} of {table.label} may be NaN, and is `missing` therefore"
            yield Flaw("adopt.values", evidence, _remedy(f"{_NUMBERS}=string"), table.label)


def _remedy(settings: str) -> str:
    return "\n".join(f"connector: {line}" for line in settings.split("\n"))


def nullable_with_default(reader: Connection, tables: Iterable[str]) -> dict[str, frozenset[str]]:
    """The columns whose null JsonConverter may replace by their default."""
    rows = reader.execute(_DEFAULTS, (sorted(tables),)).fetchall()
    return {label: frozenset(names) for label, names in rows}


def judge(config: types.Config, table: Table, with_default: frozenset[str]) -> Values:
    """Every column that could be known from a connector of ours."""
    forms: dict[str, Form] = {}
    lost: dict[str, str] = {}
    for column in table.columns:
        if is_lost(column):
            continue  # through any connector
        found = _changed(config, table, column) or _value(config, column)
        if column.name in with_default and (settings := _null_replaced(config)):
            found = Lost(settings)
        if isinstance(found, Lost):
            lost[column.name] = found.settings
        elif found is not None:
            forms[column.name] = found
    return Values(forms, lost)


def _changed(config: types.Config, table: Table, column: Column) -> Lost | None:
    """Lost to a setting that masks, cuts or leaves out this column."""
    name = f"{table.label}.{column.name}"
    for key, listed in config.items():
        if _CHANGES.match(key) and listed and patterns.is_listed(listed, name):
            return Lost(f"remove {name} from `{key}`")
    included = config.get("column.include.list")
    if included and not patterns.is_listed(included, name):
        return Lost(f"add {name} to `column.include.list`")
    return None


def _null_replaced(config: types.Config) -> str:
    """The settings without which a null may arrive as the column's default; empty where they are set.

    A converter that the connector does not name is the worker's, whose settings nobody can ask for.
    """
    named = config.get(_CONVERTER)
    if named and (config.get(f"{_CONVERTER}.replace.null.with.default") or "").lower() == "false":
        return ""
    converter = "" if named else f"{_CONVERTER}={JSON}\n"
    return f"{converter}{_CONVERTER}.replace.null.with.default=false"


def _value(config: types.Config, column: Column) -> Form | Lost | None:
    """The form that has to be turned; None where it comes as ours would."""
    base = column.base
    if base == "numeric":
        return _number(config, column)
    if base in ("date", "time", "timestamp"):
        return _moment(config.get(_MOMENTS) or "adaptive", column)
    if base == "interval":
        return None if config.get("interval.handling.mode") == "string" else Lost("interval.handling.mode=string")
    if base == "bytea":
        mode = config.get("binary.handling.mode") or "bytes"
        return None if mode in ("bytes", "base64") else Lost("binary.handling.mode=base64")
    differing = [f"{key}={value}" for key, value in MODES.items() if config.get(key) != value]
    return None if base in _ALIKE or not differing else Lost("\n".join(differing))


def _number(config: types.Config, column: Column) -> Form | Lost | None:
    mode = config.get(_NUMBERS) or "precise"
    if mode == "string":
        return None if column.array else "text"
    as_numbers = (config.get(f"{_CONVERTER}.decimal.format") or "BASE64").upper() != "BASE64"
    # Without digits in the type Debezium strips the zeros behind the point.
    if mode != "precise" or column.array or as_numbers or "(" not in column.type:
        return Lost(f"{_NUMBERS}=string")
    return "unscaled"


def _moment(mode: str, column: Column) -> Form | Lost | None:
    if mode == "isostring":
        return None if column.array else "text"
    found = _PRECISION.search(column.type)
    short = found is not None and int(found[1]) <= MILLISECONDS
    exact = mode in _EXACT or (mode == "connect" and (short or column.base == "date"))
    if column.array or not exact:
        return Lost(f"{_MOMENTS}=isostring")
    if column.base == "date":
        return "days"
    if column.base == "time":
        return "time_ms" if short and mode != "adaptive_time_microseconds" else "time_us"
    return "timestamp_ms" if short else "timestamp_us"
