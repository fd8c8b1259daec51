"""JSON with every digit: numbers that are not integers are decimals, from the event to the effect."""

from __future__ import annotations

import re
from decimal import Decimal
from typing import Any

import msgspec

DEEPEST = 500
"""Levels of nested JSON that a value of an event has: readers, ours among them, give up not far beyond."""

_AROUND = 100  # levels of what a value may stand in
_encoder = msgspec.json.Encoder(decimal_format="number")
_decoder = msgspec.json.Decoder(float_hook=Decimal)
_STRINGS = re.compile(r'"(?:[^"\\]|\\.)*"')
_BRACKETS = re.compile(r"[\[\]{}]")


def dump(value: Any) -> str:
    """The value as compact JSON."""
    return _encoder.encode(value).decode()


def load(text: str | bytes) -> Any:
    """The value of a JSON text. Raises `msgspec.DecodeError` for what is none, or has too many levels."""
    if may_be_deep(text) and is_deep(text if isinstance(text, str) else text.decode(), DEEPEST + _AROUND):
        raise msgspec.DecodeError(f"more than {DEEPEST + _AROUND} levels")
    return _decoder.decode(text)


def may_be_deep(text: str | bytes) -> bool:
    """Whether a text may hold JSON of more levels than `DEEPEST`. Cheap, and sometimes wrongly true."""
    if len(text) <= 2 * DEEPEST:
        return False
    if isinstance(text, str):
        return text.count("[") + text.count("{") > DEEPEST
    return text.count(b"[") + text.count(b"{") > DEEPEST


def is_deep(text: str, most: int = DEEPEST) -> bool:
    """Whether a JSON text has more levels than that."""
    depth = 0
    for match in _BRACKETS.finditer(_STRINGS.sub("", text)):
        depth += 1 if match[0] in "[{" else -1
        if depth > most:
            return True
    return False
