"""What every kind of effect takes and gives."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol, Self

from agent.database import Connection
from wakestream.config import Config
from wakestream.events import Cause, ContextEvent
from wakestream.fences import Fence, Present
from wakestream.program_actions import CompiledAction

MOVED = "moved"
"""Where an intent says what the transaction makes of rows that later actions of the run rest on."""


@dataclass(frozen=True, slots=True)
class Material:
    """What an action's plan is made of, when it is proposed."""

    action: CompiledAction
    bound: dict[str, Any]
    keys: dict[str, Any]
    """Of what was chosen."""
    chosen: dict[str, Any]
    arguments: dict[str, Any]
    """What the model wrote freely."""
    reason: str
    """Why, in the model's words."""
    seen: Mapping[str, Any]
    """What the action's expressions may read."""
    event: ContextEvent

    @property
    def values(self) -> dict[str, Any]:
        """One flat object: bound, chosen by key, written."""
        return {**self.bound, **self.keys, **self.arguments}


@dataclass(frozen=True, slots=True)
class Setting:
    """Where effects take place: what each kind may take of the process around it."""

    config: Config
    mark_key: bytes
    has_receipt: Callable[[str], bool]


@dataclass(frozen=True, slots=True)
class Pending:
    """An action that this worker holds and is to bring about."""

    id: str
    """Also its idempotency key."""
    name: str
    effect: dict[str, Any]
    """As it was shown to whoever approved it; nothing else is executed."""
    cause: Cause
    """What its mark or token says."""
    intent: dict[str, Any] | None
    """What an earlier attempt recorded before its effect, when that attempt was cut short."""
    fence: Fence | None = None
    """The rows that its decision rested on."""
    later: tuple[Fence, ...] = ()
    """The same of the actions of its run that come after it."""
    compare: Callable[[], Present] | None = None
    """Asks the context store whether the fence still holds, for what the effect cannot compare itself."""
    hold: Callable[[], None] = lambda: None
    """Raises where another worker may hold the action by now."""


@dataclass(frozen=True, slots=True)
class Succeeded:
    """It happened."""

    result: dict[str, Any]
    also: Callable[[Connection], None] | None = None
    """What the ledger is to hold with it: done in the transaction that writes the action's end, so exactly once."""


@dataclass(frozen=True, slots=True)
class Failed:
    """It surely did not happen, and trying again is a person's decision."""

    reason: str
    result: dict[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class Again:
    """It surely did not happen, or may safely be repeated; the same effect later."""

    reason: str
    after_s: float | None = None


@dataclass(frozen=True, slots=True)
class Unknown:
    """Whether it happened cannot be told here: its receipt or a person says."""

    reason: str


@dataclass(frozen=True, slots=True)
class Stale:
    """It surely did not happen, because what its decision rested on has changed."""

    differences: tuple[str, ...]
    wal: int | None = field(default=None, compare=False)
    """A place in the source's log behind which they are in it; None where the context store has told them."""


Outcome = Succeeded | Failed | Again | Unknown | Stale
Recorder = Callable[[dict[str, Any]], None]
"""Stores the intent; when it returns, the intent is durable. Raises where this worker may not go on."""


class Effect(Protocol):
    """One kind of effect on the world."""

    @classmethod
    def open(cls, setting: Setting) -> Self:
        """For one worker; called once, in its process."""
        ...

    @staticmethod
    def plan(material: Material) -> dict[str, Any]:
        """The effect as people are shown it and the ledger keeps it: nothing else is executed."""
        ...

    def execute(self, action: Pending, record: Recorder) -> Outcome:
        """Bring it about; called by the worker that holds the action.

        Call `record` before anything can happen that a crash would leave in doubt, and `action.hold` right before
        what nobody else can keep a frozen worker from. Raise nothing but what these two raise.
        """
        ...

    def settle(self, action: Pending, record: Recorder) -> Outcome:
        """An earlier attempt was cut short after it recorded its intent: find out what became of it.

        Brings it about again where it surely did not happen. Raise `TransientError` when it cannot be found out
        now; the action then stays as it is and is settled later.
        """
        ...
