"""What came of a batch of events, collected in memory until one ledger transaction writes it (`activation_store`)."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from datetime import datetime

import msgspec

from agent.positions import Moved, Place
from agent.triggers import Broken, Opened, Quiet, Suppressed, Verdict
from agent.waits import Key, Wait
from wakestream.errors import EventError
from wakestream.events import ContextEvent
from wakestream.program import CompiledTrigger


class Message(msgspec.Struct, frozen=True, gc=False):
    """One record of a context topic."""

    topic: str
    partition: int
    offset: int
    payload: bytes

    @property
    def source(self) -> str:
        """The configured name of the source."""
        return self.topic.removesuffix(".context")


@dataclass(frozen=True, slots=True)
class Letter:
    """A message, or a condition over it, that cannot be processed."""

    message: Message
    kind: str
    reason: str
    subject: str = ""
    event: str | None = None


@dataclass(frozen=True, slots=True)
class NewActivation:
    """A trigger that was met and may not fire now: kept from it, or waiting."""

    trigger: CompiledTrigger
    event: ContextEvent
    payload: str
    verdict: Suppressed | Waiting

    @property
    def id(self) -> str:
        """The same whenever the event is read again."""
        return f"{self.trigger.name}/{self.event.id}"


@dataclass(frozen=True, slots=True)
class Waiting:
    """It waits; nothing is decided."""

    reason: str
    depth: int


@dataclass(frozen=True, slots=True)
class Firing:
    """A trigger that fires, unless it may not so soon, so often or at all."""

    id: str
    """Of its activation."""
    trigger: CompiledTrigger
    event: ContextEvent
    payload: str
    at: datetime
    """The source's time: the event's, or the clock mark's that ended a wait."""
    depth: int
    waited: bool = False
    """Whether its activation is in the ledger already."""


@dataclass(frozen=True, slots=True)
class Ending:
    """A wait that is over without firing."""

    activation: str
    trigger: str
    reason: str


@dataclass(slots=True)
class Batch:
    """What came of the events read at once."""

    read: Counter[str] = field(default_factory=Counter[str])
    """How many messages, by topic."""
    moved: dict[Place, Moved] = field(default_factory=dict[Place, Moved])
    activations: list[NewActivation] = field(default_factory=list[NewActivation])
    firings: list[Firing] = field(default_factory=list[Firing])
    endings: list[Ending] = field(default_factory=list[Ending])
    waits: dict[Key, Wait | None] = field(default_factory=dict[Key, Wait | None])
    """Those that began or went on; None for one that is over."""
    letters: list[Letter] = field(default_factory=list[Letter])
    own_rows: list[str] = field(default_factory=list[str])
    """Events of rows that our own actions changed."""
    counts: dict[tuple[str, str], tuple[int, str]] = field(default_factory=dict[tuple[str, str], tuple[int, str]])

    def add(self, trigger: CompiledTrigger, event: ContextEvent, message: Message, verdict: Verdict) -> None:
        """Note what one trigger made of one event."""
        match verdict:
            case Quiet("null"):
                self.count(trigger, "null", event.id)
            case Quiet():
                pass
            case Broken(reason):
                self.broken(trigger, event, message, reason)
            case Suppressed():
                self.count(trigger, "suppressed", event.id)
                self.activations.append(NewActivation(trigger, event, text_of(message.payload), verdict))
            case Opened(depth):
                self.count(trigger, "opened", event.id)
                identity = f"{trigger.name}/{event.id}"
                self.firings.append(Firing(identity, trigger, event, text_of(message.payload), event.at, depth))

    def broken(self, trigger: CompiledTrigger, event: ContextEvent, message: Message, reason: str) -> None:
        """A condition cannot be worked out for this event."""
        self.count(trigger, "failed", event.id)
        self.letters.append(Letter(message, "condition", reason, trigger.name, message.payload.decode()))

    def begun(self, wait: Wait, trigger: CompiledTrigger, event: ContextEvent) -> None:
        """A wait has begun."""
        self.count(trigger, "waited", event.id)
        self.activations.append(NewActivation(trigger, event, wait.first or "", Waiting(_waits(wait), wait.depth)))
        self.waits[wait.key] = wait

    def ended(self, wait: Wait, reason: str) -> None:
        """A wait is over, and its trigger does not fire."""
        self.endings.append(Ending(wait.activation, wait.trigger, reason))
        self.waits[wait.key] = None

    @property
    def clocks(self) -> bool:
        """Whether time has passed in a partition."""
        return any(moved.clock for moved in self.moved.values())

    @property
    def matters(self) -> bool:
        """Whether anything but positions and counts is in it."""
        return bool(self.activations or self.firings or self.endings or self.waits or self.letters or self.own_rows)

    def count(self, trigger: CompiledTrigger, outcome: str, event_id: str) -> None:
        """One more of what conditions came to."""
        number, _ = self.counts.get((trigger.name, outcome), (0, ""))
        self.counts[trigger.name, outcome] = number + 1, event_id


def text_of(payload: bytes) -> str:
    """The event as `jsonb` can hold it; raises `EventError` when it cannot."""
    if b"\\u0000" in payload:
        raise EventError("not a context event", detail="it holds a character that no PostgreSQL row can hold")
    return payload.decode()


def _waits(wait: Wait) -> str:
    words = {"hold": "it must last", "absent": "the expected may still come", "debounce": "until it is quiet"}
    return f"{wait.kind}: {words[wait.kind]}; by {wait.until.isoformat(timespec='milliseconds')} at the latest"
