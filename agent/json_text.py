"""What the agent stores as JSON, and events out of it, with every digit."""

from __future__ import annotations

import re
from decimal import Decimal
from typing import Any

import msgspec

from wakestream.errors import EventError
from wakestream.events import ContextEvent
from wakestream.exact_json import dump, load

__all__ = ["dump", "load", "load_event", "storable"]

_NUL = re.compile(r"(?<!\\)((?:\\\\)*)\\u0000")
_events = msgspec.json.Decoder(ContextEvent, float_hook=Decimal)


def storable(value: Any) -> str | None:
    """JSON for a `jsonb` column, which holds every character but one; None stays None."""
    return None if value is None else _NUL.sub(r"\1", dump(value))


def load_event(text: str | bytes) -> ContextEvent:
    """A context event whose numbers keep their digits. Raises `EventError` for anything else."""
    try:
        return _events.decode(text)
    except msgspec.DecodeError as error:
        raise EventError("not a context event", detail=str(error)) from error
