"""The JSON Schema of `wake.yaml`, as editors want it."""

from __future__ import annotations

from typing import Any

from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue
from pydantic_core import core_schema

from wakestream.config import Config
from wakestream.config.sections import parse_duration


class _Generator(GenerateJsonSchema):
    """Durations may be written with their unit."""

    def function_before_schema(self, schema: core_schema.BeforeValidatorFunctionSchema) -> JsonSchemaValue:
        inner = super().function_before_schema(schema)
        if schema["function"]["function"] is not parse_duration:
            return inner
        return {"anyOf": [inner, {"type": "string", "pattern": r"^\s*\d+(\.\d+)?\s*(ms|s|m|h|d)\s*$"}]}


def configuration_schema() -> dict[str, Any]:
    """The schema of the whole file."""
    made = Config.model_json_schema(by_alias=True, schema_generator=_Generator)
    return {"$schema": "https://json-schema.org/draft/2020-12/schema"} | made | {"title": "wake.yaml"}
