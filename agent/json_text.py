"""JSON with every digit: numbers that are not integers are decimals, from the event to the effect."""

from __future__ import annotations

import re
from decimal import Decimal
from typing import Any

import msgspec

from wakestream.errors import EventError
from wakestream.events import ContextEvent

_encoder = msgspec.json.Encoder(decimal_format="number")
_decoder = msgspec.json.Decoder(float_hook=Decimal)
_NUL = re.compile(r"(?<!\\)((?:\\\\)*)\\u0000")
_events = msgspec.json.Decoder(ContextEvent, float_hook=Decimal)


def dump(value: Any) -> str:
    """The value as compact JSON."""
    return _encoder.encode(value).decode()


def storable(value: Any) -> str | None:
    """JSON for a `jsonb` column, which holds every character but one; None stays None."""
    return None if value is None else _NUL.sub(r"\1", dump(value))


def load(text: str | bytes) -> Any:
    """The value of a JSON text."""
    return _decoder.decode(text)


def load_event(text: str | bytes) -> ContextEvent:
    """A context event whose numbers keep their digits. Raises `EventError` for anything else."""
    try:
        return _events.decode(text)
    except msgspec.DecodeError as error:
        raise EventError("not a context event", detail=str(error)) from error
