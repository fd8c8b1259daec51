"""From what a server or a tool gave back to rows, as SQL lookups have them."""

from __future__ import annotations

from typing import Any, cast

from wakestream.errors import EventError


def rows(name: str, answer: Any, path: str | None) -> list[dict[str, Any]]:
    """The list at `path`, or the one object there as a list; nothing where it is null."""
    found = _at(name, answer, path) if path else answer
    if found is None:
        return []
    elements = cast("list[Any]", found) if isinstance(found, list) else [found]
    return [cast("dict[str, Any]", each) if isinstance(each, dict) else {"value": each} for each in elements]


def _at(name: str, answer: Any, path: str) -> Any:
    at = answer
    for part in path.split("."):
        if at is None:
            return None
        if isinstance(at, list) and part.isdecimal():
            elements = cast("list[Any]", at)
            at = elements[int(part)] if int(part) < len(elements) else None
        elif isinstance(at, dict):
            at = cast("dict[str, Any]", at).get(part)
        else:
            raise EventError(f"lookup {name}: the answer has no `{path}`")
    return at
