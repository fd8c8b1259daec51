"""Tables that the consumer's tests mirror, as their catalogue describes them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager

from cdc_consumer import mirror_tables
from cdc_consumer.plan import Plan
from cdc_consumer.store import Store
from cdc_consumer.tables import TablePlan
from tests.harness.source import Connection
from wakestream.capture import Capture, CapturedTable, Entity, Revision
from wakestream.catalogue import Catalogue, Column, Table

NewLedger = Callable[[], AbstractContextManager[str]]
"""Gives the URL of a ledger that nobody else has."""

SOURCE = "unit"
PLACEHOLDER = "wake-placeholder"

_FORMATTED = {
    **{"int2": "smallint", "int4": "integer", "int8": "bigint", "float8": "double precision", "bool": "boolean"},
    **{"timestamptz": "timestamp with time zone", "timestamp": "timestamp without time zone", "enum": "mood"},
}
_FIXED = {"int2", "int4", "int8", "float4", "float8", "bool", "date", "timestamp", "timestamptz", "uuid", "enum"}


def column(name: str, base: str, *, array: bool = False, generated: bool = False) -> Column:
    """A column of a type without length."""
    formatted = _FORMATTED.get(base, base) + ("[]" if array else "")
    return Column(name, formatted, base, array, generated=generated, toastable=array or base not in _FIXED)


def table(name: str, key: str, *columns: Column) -> Table:
    """A table of schema public; the key's columns by name, separated by blanks. Without one old rows are whole."""
    return Table("public", name, columns, tuple(key.split()), "default" if key else "full")


FLIGHT = table(
    "flight", "id", column("id", "int4"), column("status", "text"), column("seats", "int4"), column("big", "text")
)
CUSTOMER = table("customer", "code", column("code", "text"), column("name", "text"))
BOOKING = table(
    "booking",
    "id",
    column("id", "int4"),
    column("flight_id", "int4"),
    column("customer", "text"),
    column("note", "text"),
)


def plan(*tables: Table, entities: Mapping[str, Entity] | None = None, **settings: CapturedTable) -> Plan:
    """A plan for these tables; `flight=CapturedTable(...)` sets how one is captured."""
    captured = {each.label: settings.get(each.name, CapturedTable(mirror=bool(each.key))) for each in tables}
    catalogue = Catalogue(SOURCE, "1", 1, 180000, {each.label: each for each in tables})
    return Plan(Revision(1, SOURCE, catalogue, Capture(captured, dict(entities or {}), PLACEHOLDER)))


def table_plan(each: Table, settings: CapturedTable | None = None) -> TablePlan:
    return TablePlan(SOURCE, each, settings or CapturedTable(), PLACEHOLDER)


def complete_store(connection: Connection, compiled: Plan, *, careful: bool = False) -> Store:
    """A store over new mirrors that are trusted."""
    mirror_tables.prepare(connection, compiled)
    return Store(connection, SOURCE, compiled.tables, careful=careful)
