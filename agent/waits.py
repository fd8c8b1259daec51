"""Waits of keys: what must last, what must not stay away, bursts. They go by the clock marks of their partition.

A wait begins with an event that met its trigger, whose activation is `held` from then on. Every later event of the key
meets the wait first. A clock mark ends the waits whose time has come by then: nothing fires between two marks, so an
event that stands before the mark in the log always counts.

What is here is in the ledger as well (`wait_store`), written in the transaction that moves the partition's position.
"""

from __future__ import annotations

import heapq
import itertools
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Literal, assert_never

from agent import triggers
from agent.positions import Place
from agent.triggers import Images
from wakestream.conditions import Failed, Matched, NotMatched, Null, Undecided
from wakestream.events import ContextEvent
from wakestream.program import CompiledTrigger

Kind = Literal["hold", "absent", "debounce"]
Key = tuple[str, str]
"""Trigger and subject."""


@dataclass(slots=True)
class Wait:
    """One wait of one key."""

    trigger: str
    subject: str
    place: Place
    kind: Kind
    activation: str
    due: datetime
    until: datetime
    """When a burst is over in any case; of other kinds the same as `due`."""
    depth: int
    first: str | None = None
    """The event that began it; only until it is in the ledger."""
    last: str | None = None
    """The latest event of the key; only until it is in the ledger."""
    steps: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])
    """Those that are not in the ledger yet."""

    @property
    def key(self) -> Key:
        """What it is found by."""
        return self.trigger, self.subject


@dataclass(frozen=True, slots=True)
class Ended:
    """It is over, and the trigger does not fire."""

    reason: str
    letter: str | None = None
    """Why a condition could not be worked out: a dead letter, too."""


def begin(
    trigger: CompiledTrigger, event: ContextEvent, place: Place, payload: str, depth: int, step: dict[str, Any]
) -> Wait:
    """The wait that an event begins for a trigger with `hold`, `absent` or `debounce`."""
    settings, at = trigger.settings, event.at
    kind: Kind = "hold" if settings.hold is not None else "absent" if settings.absent is not None else "debounce"
    until = due = at + timedelta(seconds=_first_wait(trigger))
    if settings.debounce is not None:
        until = at + timedelta(seconds=settings.debounce.at_most)
    identity = f"{trigger.name}/{event.id}"
    return Wait(trigger.name, event.subject, place, kind, identity, due, until, depth, payload, payload, [step])


def _first_wait(trigger: CompiledTrigger) -> float:
    settings = trigger.settings
    if settings.hold is not None:
        return settings.hold
    if settings.absent is not None:
        return settings.absent.within
    assert settings.debounce is not None  # noqa: S101 - asked only of triggers that wait
    return settings.debounce.quiet


def meet(wait: Wait, trigger: CompiledTrigger, images: Images) -> Ended | None:
    """What a later event of the key makes of its wait; None when it goes on."""
    match wait.kind:
        case "hold":
            return _lasts(trigger, images)
        case "absent":
            return _came(trigger, images)
        case "debounce":
            if trigger.settings.debounce is not None:
                quiet = images.event.at + timedelta(seconds=trigger.settings.debounce.quiet)
                wait.due = min(max(quiet, wait.due), wait.until)
            return None
        case _:
            assert_never(wait.kind)


def _lasts(trigger: CompiledTrigger, images: Images) -> Ended | None:
    """Whether a hold goes on: of `enter` while the condition is true, of `leave` while it is not."""
    outcome = triggers.of_side(trigger.condition, images, "after")
    if isinstance(outcome, Undecided):
        return Ended(f"undecided: {outcome.path} is missing")
    if isinstance(outcome, Failed):
        return Ended("its condition cannot be worked out", outcome.message)
    if isinstance(outcome, Matched) == (trigger.settings.fire == "enter"):
        return None
    return Ended(f"it did not last: {images.event.id}")


def _came(trigger: CompiledTrigger, images: Images) -> Ended | None:
    """Whether this is the event that was waited for."""
    expected = trigger.timing.absent
    if expected is None:
        return Ended("the configuration no longer says what is waited for")
    outcome = expected.evaluate(images.whole, missing=images.missing, now=images.now)
    match outcome:
        case Matched():
            return Ended(f"it came: {images.event.id}")
        case NotMatched() | Null():
            return None
        case Undecided(path):
            return Ended(f"undecided: {path} is missing")
        case Failed(message):
            return Ended("its condition cannot be worked out", message)
        case _:
            assert_never(outcome)


class Waits:
    """The waits of the partitions that this process reads."""

    def __init__(self, found: Iterable[Wait] = ()) -> None:
        self._by_key: dict[Key, Wait] = {}
        self._by_subject: defaultdict[tuple[str, str], dict[str, Wait]] = defaultdict(dict)
        self._queues: defaultdict[Place, list[tuple[datetime, str, int, Wait]]] = defaultdict(list)
        self._numbers = itertools.count()
        for wait in found:
            self.add(wait)

    def __len__(self) -> int:
        return len(self._by_key)

    def __iter__(self) -> Iterator[Wait]:
        return iter(list(self._by_key.values()))

    def of(self, place: Place, subject: str) -> list[Wait]:
        """The waits of one key."""
        found = self._by_subject.get((place[0], subject))
        return list(found.values()) if found else []

    def add(self, wait: Wait) -> None:
        """One that has begun."""
        self._by_key[wait.key] = wait
        self._by_subject[wait.place[0], wait.subject][wait.trigger] = wait
        self.queue(wait)

    def queue(self, wait: Wait) -> None:
        """Its time is another one now."""
        heapq.heappush(self._queues[wait.place], (wait.due, wait.activation, next(self._numbers), wait))

    def remove(self, wait: Wait) -> None:
        """One that is over."""
        self._by_key.pop(wait.key, None)
        subject = (wait.place[0], wait.subject)
        self._by_subject[subject].pop(wait.trigger, None)
        if not self._by_subject[subject]:
            del self._by_subject[subject]

    def due(self, place: Place, clock: datetime) -> list[Wait]:
        """Those whose time has come at a mark of their partition, in the order of their times."""
        queue, found = self._queues[place], dict[Key, Wait]()
        while queue and queue[0][0] <= clock:
            at, _, _, wait = heapq.heappop(queue)
            if self._by_key.get(wait.key) is wait and wait.due == at:  # else it is over, or was put off
                found[wait.key] = wait
        return list(found.values())

    def in_place(self, place: Place) -> Iterator[Wait]:
        """Those of one partition."""
        return (wait for wait in self if wait.place == place)


def unfit(wait: Wait, programs: Mapping[str, CompiledTrigger], held: Mapping[str, str]) -> str | None:
    """Why a wait cannot go on under the configuration as it is; None when it can."""
    trigger = programs.get(wait.trigger)
    if trigger is None:
        return f"trigger held: {held[wait.trigger]}" if wait.trigger in held else "the trigger is no longer configured"
    if getattr(trigger.settings, wait.kind) is None:
        return f"the trigger no longer says `{wait.kind}`"
    return None
