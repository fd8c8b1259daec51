"""What a trigger makes of one event: the meaning of `fire`, of what is unknown, and of our own writes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal, assert_never

from agent import bound
from wakestream.conditions import Condition, Failed, Matched, NotMatched, Null, Outcome, Undecided
from wakestream.events import ContextEvent
from wakestream.program import CompiledTrigger

FIRST_IMAGES = "row.read"
"""Rows that an initial snapshot read: nothing happened to them."""


@dataclass(frozen=True, slots=True)
class Opened:
    """The trigger fired: an activation with a run."""

    depth: int


@dataclass(frozen=True, slots=True)
class Suppressed:
    """It would have fired, or might have, and was kept from it: an activation without a run."""

    reason: str
    depth: int


@dataclass(frozen=True, slots=True)
class Quiet:
    """It did not fire; `null` says that a null kept the condition from being worked out."""

    outcome: Literal["no_match", "null"]


@dataclass(frozen=True, slots=True)
class Broken:
    """Its condition cannot be worked out for this event: a dead letter."""

    message: str


Verdict = Opened | Suppressed | Quiet | Broken

_NO_MATCH = Quiet("no_match")
_NULL = Quiet("null")


Side = tuple[Mapping[str, Any], tuple[str, ...]]
"""An image under the names that conditions know, and what is missing of it."""


class Images:
    """The images of one event, under the names that conditions know, made once for all triggers."""

    def __init__(self, event: ContextEvent) -> None:
        data = event.data
        self.event = event
        self.now: datetime = event.at
        self.missing = data.missing
        self.whole: dict[str, Any] = {
            "before": data.before,
            "after": data.after,
            "key": data.key,
            "changed": None if data.changed is None else list(data.changed),
            "op": data.op or _op_of(data.before, data.after),
            "cause": bound.cause_document(data.cause),
        }

        self._sides: dict[str, Side | None] = {}

    def side(self, image: Literal["before", "after"]) -> Side | None:
        """One image as `after`, with what is missing of it; None when there surely is no such row."""
        if image not in self._sides:
            missing = _renamed(self.missing, image) if self.missing else ()
            absent = self.whole[image] is None and "after" not in missing
            self._sides[image] = None if absent else ({"after": self.whole[image], "key": self.whole["key"]}, missing)
        return self._sides[image]


def judge(trigger: CompiledTrigger, images: Images, *, depth_limit: int) -> Verdict:
    """What comes of one event for one trigger that watches its subject."""
    event = images.event
    if event.type == FIRST_IMAGES or (event.data.snapshot and trigger.settings.on_snapshot == "never"):
        return _NO_MATCH
    found = outcome(trigger, images)
    cause = event.data.cause
    depth = cause.depth if cause else 0
    match found:
        case NotMatched():
            return _NO_MATCH
        case Null():
            return _NULL
        case Undecided(path):
            return Suppressed(f"undecided: {path} is missing", depth)
        case Failed(message):
            return Broken(message)
        case Matched():
            own = cause is not None and cause.trigger == trigger.name and event.subject in cause.keys
            if own and not trigger.settings.own_writes:
                return Suppressed("own write", depth)
            if depth >= depth_limit:
                return Suppressed(f"depth: {depth} actions led here, limits.depth is {depth_limit}", depth)
            return Opened(depth)
        case _:
            assert_never(found)


def outcome(trigger: CompiledTrigger, images: Images) -> Outcome:
    """Whether an event meets a trigger, whoever caused it and however deep."""
    match trigger.settings.fire:
        case "change":
            return trigger.condition.evaluate(images.whole, missing=images.missing, now=images.now)
        case "enter":
            return _became(trigger.condition, images, now_true="after", was_true="before")
        case "leave":
            return _became(trigger.condition, images, now_true="before", was_true="after")
        case _:
            assert_never(trigger.settings.fire)


def _became(
    condition: Condition,
    images: Images,
    *,
    now_true: Literal["before", "after"],
    was_true: Literal["before", "after"],
) -> Outcome:
    """Whether the condition holds for one image and not for the other; a null counts as not."""
    this = of_side(condition, images, now_true)
    if isinstance(this, NotMatched | Null | Failed):
        return this
    other = of_side(condition, images, was_true)
    match other:
        case Matched():
            return NotMatched()
        case NotMatched() | Null():
            return this
        case Undecided() | Failed():
            return other
        case _:
            assert_never(other)


def of_side(condition: Condition, images: Images, image: Literal["before", "after"]) -> Outcome:
    """What a condition of `enter` or `leave` says of one image; no image is no match."""
    side = images.side(image)
    if side is None:
        return NotMatched()
    outcome = condition.evaluate(side[0], missing=side[1], now=images.now)
    if isinstance(outcome, Undecided) and image == "before":
        return Undecided("before" + outcome.path.removeprefix("after"))
    return outcome


def _renamed(missing: tuple[str, ...], image: str) -> tuple[str, ...]:
    """The missing paths of one image, as those of `after`."""
    if image == "after":
        return tuple(path for path in missing if path.partition(".")[0] == "after")
    return tuple("after" + path.removeprefix("before") for path in missing if path.partition(".")[0] == "before")


def _op_of(before: object, after: object) -> str:
    """An entity's event has no `op`: what happened to the document."""
    if after is None:
        return "delete"
    return "insert" if before is None else "update"
