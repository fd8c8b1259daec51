"""JSON with every digit: numbers that are not integers are decimals, from the event to the effect."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import msgspec

_encoder = msgspec.json.Encoder(decimal_format="number")
_decoder = msgspec.json.Decoder(float_hook=Decimal)


def dump(value: Any) -> str:
    """The value as compact JSON."""
    return _encoder.encode(value).decode()


def load(text: str | bytes) -> Any:
    """The value of a JSON text."""
    return _decoder.decode(text)
