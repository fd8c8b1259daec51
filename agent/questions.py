"""What a model may ask before it decides: the lookups that its agent names in `ask`, with what it writes itself."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jsonschema_rs
import msgspec

from wakestream.program_actions import CompiledLookup

AT_ONCE = 4
"""How many questions one answer may hold."""


class Ask(msgspec.Struct, frozen=True):
    """One question as the model wrote it."""

    lookup: str
    arguments: dict[str, Any]
    problem: str | None = None
    """Why it is answered with nothing but this."""


def schema(asks: Mapping[str, CompiledLookup]) -> dict[str, Any]:
    """The JSON Schema of the questions in an answer."""
    items = [
        {
            "type": "object",
            "properties": {"lookup": {"const": name}, "arguments": arguments(each)},
            "required": ["lookup", "arguments"],
            "additionalProperties": False,
        }
        for name, each in asks.items()
    ]
    return {"type": "array", "maxItems": AT_ONCE, "items": {"anyOf": items}}


def arguments(lookup: CompiledLookup) -> dict[str, Any]:
    """The JSON Schema of what a model writes to ask it."""
    parameters = lookup.settings.parameters
    return {
        "type": "object",
        "properties": dict(parameters),
        "required": list(parameters),
        "additionalProperties": False,
    }


def tools(asks: Mapping[str, CompiledLookup]) -> list[dict[str, Any]]:
    """The lookups as tools, for models that call such."""
    return [
        {
            "type": "function",
            "function": {"name": name, "description": each.settings.description, "parameters": arguments(each)},
        }
        for name, each in asks.items()
    ]


def misfit(lookup: CompiledLookup, written: Any) -> str | None:
    """What is wrong with the arguments of a call, if anything is."""
    errors = [error.message for error in jsonschema_rs.validator_for(arguments(lookup)).iter_errors(written)]
    return "; ".join(errors)[:300] if errors else None
