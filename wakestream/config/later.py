"""Settings of the design whose feature does not exist yet: refused with their name, never ignored."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, cast

from wakestream.config.document import KeyPath

# Path patterns with `*` for any name; what the setting will do, so that the refusal is understood.
LATER: dict[tuple[str, ...], str] = {
    ("actions", "*", "on_stale"): "stale-decision fences",
}


def refusals(data: dict[str, Any]) -> Iterator[tuple[KeyPath, str]]:
    """Each later setting that the file uses, with what to do."""
    for pattern, feature in LATER.items():
        for path in _matches(data, pattern):
            yield path, f"`{path[-1]}` ({feature}) is not available in this version; remove it"


def _matches(node: Any, pattern: tuple[str, ...]) -> Iterator[KeyPath]:
    if not pattern:
        yield ()
        return
    if not isinstance(node, dict):
        return
    mapping = cast("dict[str, Any]", node)
    names = list(mapping) if pattern[0] == "*" else [pattern[0]] if pattern[0] in mapping else []
    for name in names:
        for rest in _matches(mapping[name], pattern[1:]):
            yield (name, *rest)
