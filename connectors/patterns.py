"""Debezium's lists of names: expressions of Java, anchored, without regard to case, separated by commas."""

from __future__ import annotations

import re

_ENTRIES = re.compile(r"(?:\\.|[^,\\])+")
_CASE = "(?-i)"  # which Python does not have at the beginning


def is_listed(listed: str, name: str) -> bool:
    """Whether the list has this name; an expression that Python cannot read has none."""
    for entry in _ENTRIES.findall(listed):
        text = entry.strip()
        try:
            if re.fullmatch(text.removeprefix(_CASE), name, 0 if text.startswith(_CASE) else re.IGNORECASE):
                return True
        except re.error:
            continue
    return False
