"""JSON Schemas of the events of tables and entities, from the revision that the consumer works by."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from cdc_consumer.plan import Plan
from cdc_consumer.tables import TablePlan
from wakestream.capture import Computed, Entity, Member
from wakestream.catalogue import Column

DIALECT = "https://json-schema.org/draft/2020-12/schema"

Schema = dict[str, Any]

_INTEGERS = {"int2", "int4", "int8"}
_NUMBERS = {"float4", "float8", "numeric"}
_NOT_NUMBERS = ["NaN", "Infinity", "-Infinity"]
_COMPUTED: Mapping[str, str] = {
    **dict.fromkeys(("int2", "int4", "int8"), "int"),
    **dict.fromkeys(("float4", "float8", "numeric"), "number"),
}


def names(plan: Plan) -> list[str]:
    """The tables and entities that have events."""
    return [*sorted(plan.tables), *(entity.entity.name for entity in plan.entities)]


def schema_of(plan: Plan, name: str) -> Schema:
    """The schema of the events of a table (`schema.table`) or an entity. Raises `LookupError` for other names."""
    revision = plan.revision
    entity = revision.capture.entities.get(name)
    made: Schema = {
        "$schema": DIALECT,
        "$id": f"wake://{revision.source}/{name}?revision={revision.id}",
        "title": f"Context events of {name}",
        "type": "object",
        "required": ["specversion", "id", "source", "type", "subject", "time", "data"],
    }
    if entity is None:
        table = plan.tables[name]
        return made | _event(_types_of_rows(), _row(table), _keys(table), {"op": {"type": "string"}})
    rows: Schema = {"entity": {"const": name}, "rows": {"type": "array", "items": {"type": "string"}}}
    return made | _event(["entity.changed"], _document(plan, entity), _keys(plan.tables[entity.root]), rows)


def _types_of_rows() -> list[str]:
    return ["row.inserted", "row.updated", "row.deleted", "row.read"]


def _event(kinds: list[str], image: Schema, key: Schema, more: Schema) -> Schema:
    text = {"type": "string"}
    texts = {"type": "array", "items": text}
    either = {"anyOf": [{"type": "null"}, {"$ref": "#/$defs/image"}]}
    position = ("log", "offset", "seq", "of")
    data: Schema = {
        **{"key": key, "before": either, "after": either, "missing": texts, "untrusted": texts},
        "changed": {"anyOf": [{"type": "null"}, texts]},
        "position": {
            "type": "object",
            "properties": {name: {"type": "integer"} for name in position},
            "required": list(position),
        },
        "snapshot": {"type": "boolean"},
        "cause": {"type": ["object", "null"]},
        **more,
    }
    return {
        "properties": {
            **{name: text for name in ("id", "source", "subject", "time")},
            "specversion": {"const": "1.0"},
            "type": {"enum": kinds},
            "data": {"type": "object", "properties": data, "required": list(data)},
        },
        "$defs": {"image": image},
    }


def _keys(table: TablePlan) -> Schema:
    if table.keyless:
        return {"type": "null"}
    return _object({column.name: _column(table, column) for column in table.key_columns}, all_of_them=True)


def _row(table: TablePlan, shown: tuple[str, ...] | None = None) -> Schema:
    """A row's image. A column that is `missing` is not in it, so only the key's are required."""
    wanted = [column for column in table.shown if shown is None or column.name in shown]
    found = _object({column.name: _column(table, column) for column in wanted})
    return found | {"required": [c.name for c in table.key_columns if c in wanted], "description": table.label}


def _object(properties: Schema, *, all_of_them: bool = False) -> Schema:
    found: Schema = {"type": "object", "properties": properties, "additionalProperties": False}
    return found | {"required": list(properties)} if all_of_them else found


def _document(plan: Plan, entity: Entity) -> Schema:
    found = _row(plan.tables[entity.root], entity.fields)
    found["properties"] |= _members(plan, entity.members)
    found["properties"] |= {each.name: _computed(each) for each in entity.computed}
    return found


def _members(plan: Plan, members: Iterable[Member]) -> Schema:
    found: Schema = {}
    for member in members:
        row = _row(plan.tables[member.table], member.fields)
        row["properties"] |= _members(plan, member.members)
        if member.many:
            found[member.name] = {"type": "array", "items": row, "maxItems": member.limit or 1}
        else:
            found[member.name] = {"anyOf": [{"type": "null"}, row]}
    return found


def _computed(field: Computed) -> Schema:
    if field.type == "bool":
        return {"type": ["boolean", "null"]}
    kind = _COMPUTED.get(field.type)
    if kind is None:
        return {} if field.type.startswith(("json", "_")) else {"type": ["string", "null"]}
    return {"type": ["integer", "null"]} if kind == "int" else _or_null(_number())


def _column(table: TablePlan, column: Column) -> Schema:
    if column.name in table.settings.mask:
        found = {"type": "string"}
        said = f"{column.type}, masked"
    else:
        found = _value(column)
        said = column.type
    nullable = not column.not_null and column.name not in table.table.key
    return (_or_null(found) if nullable else found) | {"description": said}


def _value(column: Column) -> Schema:
    one = _scalar(column)
    return {"type": "array", "items": _or_null(one)} if column.array else one


def _scalar(column: Column) -> Schema:
    base = column.base
    if base == "bool":
        return {"type": "boolean"}
    if base in _INTEGERS:
        return {"type": "integer"}
    if base in _NUMBERS:
        return _number()
    if base in ("json", "jsonb"):
        return {}
    if base == "hstore":
        return {"type": "object", "additionalProperties": {"type": ["string", "null"]}}
    if base == "composite":
        return _object({field.name: _or_null(_inside(field)) for field in column.fields}, all_of_them=True)
    return {"enum": list(column.labels)} if base == "enum" and column.labels else {"type": "string"}


def _inside(field: Column) -> Schema:
    """An attribute of a composite type; its arrays may be of any number of dimensions."""
    return {"type": "array"} if field.array else _scalar(field)


def _number() -> Schema:
    return {"anyOf": [{"type": "number"}, {"enum": list(_NOT_NUMBERS)}]}


def _or_null(schema: Schema) -> Schema:
    if not schema:
        return {}
    if isinstance(schema.get("type"), str) and "enum" not in schema:
        return schema | {"type": [schema["type"], "null"]}
    return {"anyOf": [{"type": "null"}, schema]}
