"""What a model may ask before it decides: the lookups that its agent names in `ask`, with what it writes itself."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jsonschema_rs
import msgspec

from wakestream.config.lookups import HttpLookup, McpLookup, SqlLookup
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


def told(asked: Ask, lookup: CompiledLookup) -> dict[str, Any]:
    """What a lookup's step says of the question; headers are secrets and are not in it."""
    settings = lookup.settings
    match settings:
        case SqlLookup():
            question: dict[str, Any] = {"sql": settings.sql}
        case HttpLookup():
            question = {"url": settings.url}
        case McpLookup():
            question = {"server": settings.server, "tool": settings.tool}
    return {**question, **({"lookup": asked.lookup, "arguments": asked.arguments} if asked.arguments else {})}
