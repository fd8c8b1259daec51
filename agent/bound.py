"""Values that we fill in: out of the event, never out of a model's words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, assert_never

import msgspec

from wakestream.conditions import Expression, Failed, Given, Null, Undecided
from wakestream.errors import EventError
from wakestream.events import Cause, ContextEvent


def event_values(event: ContextEvent, run: Mapping[str, Any], together: Sequence[ContextEvent] = ()) -> dict[str, Any]:
    """What the expressions of actions and lookups see of an event, or of a batch of them, and the run that answers."""
    data = event.data
    return {
        "before": data.before,
        "after": data.after,
        "key": data.key,
        "cause": cause_document(data.cause),
        "event": {
            "id": event.id,
            "source": event.source,
            "type": event.type,
            "subject": event.subject,
            "time": event.time,
            "untrusted": sorted({path for each in together or (event,) for path in each.data.untrusted}),
        },
        "run": dict(run),
        "batch": [each.data.after or each.data.before for each in together],
    }


def cause_document(cause: Cause | None) -> dict[str, Any] | None:
    """A cause as expressions see it."""
    return None if cause is None else {**msgspec.structs.asdict(cause), "keys": list(cause.keys)}


def bound_values(
    owner: str, bind: Mapping[str, Expression], values: Mapping[str, Any], missing: tuple[str, ...]
) -> dict[str, Any]:
    """The value of each binding, in order; raises `EventError` for one that this event does not give."""
    bound: dict[str, Any] = {}
    seen = {"bound": bound, **values}  # what an action's check sees as bound is the action's
    for name, expression in bind.items():
        bound[name] = value(owner, name, expression, seen, missing)
    return bound


def value(owner: str, name: str, expression: Expression, values: Mapping[str, Any], missing: tuple[str, ...]) -> Any:
    """One value; raises `EventError` where this event does not give it."""
    result = expression.evaluate(values, missing=missing)
    match result:
        case Given(found):
            return found
        case Null(path):
            reason = f"{path} is null"
        case Undecided(path):
            reason = f"{path} is missing in the event"
        case Failed(message):
            reason = message
        case _:
            assert_never(result)
    raise EventError(f"{owner}: `{name}` cannot be bound to {expression.text}", detail=reason)
