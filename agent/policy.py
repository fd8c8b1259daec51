"""Whether an action runs by itself or waits for a person. What the model wrote has no say in it."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Literal, NamedTuple, assert_never

from wakestream.conditions import Failed, Matched, NotMatched, Null, Undecided
from wakestream.program_actions import CompiledAction


class Ruling(NamedTuple):
    """What policy makes of an action, and why."""

    state: Literal["approved", "awaiting_approval"]
    reason: str


def rule(action: CompiledAction, values: Mapping[str, Any], missing: tuple[str, ...], now: datetime) -> Ruling:
    """Judge one proposed action. A condition that cannot be worked out leaves it to a person."""
    approval = action.approval
    if approval == "never":
        return Ruling("approved", "approval: never")
    if approval == "always":
        return Ruling("awaiting_approval", "approval: always")
    outcome = approval.evaluate(values, missing=missing, now=now)
    match outcome:
        case NotMatched():
            return Ruling("approved", f"no approval needed: not ({approval.text})")
        case Matched():
            return Ruling("awaiting_approval", approval.text)
        case Null(path):
            return Ruling("awaiting_approval", f"{path} is null, so it cannot be said whether {approval.text}")
        case Undecided(path):
            return Ruling("awaiting_approval", f"{path} is missing, so it cannot be said whether {approval.text}")
        case Failed(message):
            return Ruling("awaiting_approval", f"it cannot be said whether {approval.text}: {message}")
        case _:
            assert_never(outcome)
