"""The `{name}` placeholders of configured URLs."""

from __future__ import annotations

import re
from collections.abc import Mapping

_PLACEHOLDER = re.compile(r"\{([A-Za-z_]\w*)\}")
_FIXED = re.compile(r"https?://[^/?#{}\s]+[/?]")


def placeholders(template: str) -> dict[str, int]:
    """The names, each with the offset at which it first stands."""
    found: dict[str, int] = {}
    for match in _PLACEHOLDER.finditer(template):
        found.setdefault(match[1], match.start())
    return found


def fill(template: str, encoded: Mapping[str, str]) -> str:
    """The URL with values that are percent-encoded already."""
    return _PLACEHOLDER.sub(lambda match: encoded[match[1]], template)


def wrong(template: str) -> str | None:
    """Why a template may not be used: no value may say which server is asked."""
    if not placeholders(template) and re.match(r"https?://\S+$", template):
        return None
    if _FIXED.match(template) is None:
        return "write the server out, as in https://crm.example/customers/{customer}: no value may choose it"
    return None
