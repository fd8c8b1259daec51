"""What happens to waits as events and clock marks are read; noted in the batch, and true once that is written."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from datetime import datetime

from agent import activations, dispatch, net_change, triggers, waits
from agent.activations import Batch, Firing, Message
from agent.positions import Place
from agent.triggers import Broken, Images, Opened, Quiet, Suppressed
from agent.wait_store import Images as Stored
from agent.waits import Wait, Waits
from wakestream import events
from wakestream.events import ContextEvent
from wakestream.program import CompiledTrigger, Program

Load = Callable[[Sequence[Wait]], dict[str, Stored]]
"""What the ledger has of waits, by activation."""


class Waiting:
    """The waits of one intake."""

    def __init__(self, program: Program, load: Load) -> None:
        self._program = program
        self._load = load
        self._waits = Waits()
        self._unsure = True
        """Whether a wait may be one that the configuration no longer says."""

    def resume(self, found: Iterable[Wait]) -> None:
        """Go on from what the ledger has; what was noted and not written is forgotten."""
        self._waits, self._unsure = Waits(found), True

    def take_up(self, program: Program) -> None:
        """Work under another program from here on."""
        self._program, self._unsure = program, True

    def of(self, place: Place, subject: str) -> list[Wait]:
        """The waits of one key."""
        return self._waits.of(place, subject) if len(self._waits) else []

    def begin(self, trigger: CompiledTrigger, event: ContextEvent, message: Message, depth: int, batch: Batch) -> None:
        """An event begins a wait."""
        payload, place = activations.text_of(message.payload), (message.topic, message.partition)
        wait = waits.begin(trigger, event, place, payload, depth, net_change.step(event))
        self._waits.add(wait)
        batch.begun(wait, trigger, event)

    def meet(self, found: Sequence[Wait], images: Images, message: Message, batch: Batch) -> set[str]:
        """Let the waits of a key meet its event; returns the triggers whose wait goes on."""
        busy = set[str]()
        for wait in found:
            trigger = self._program.triggers[wait.trigger]
            ended = waits.meet(wait, trigger, images)
            if ended is None:
                busy.add(wait.trigger)
                self._go_on(wait, images.event, message, batch)
                continue
            if ended.letter is not None:
                batch.broken(trigger, images.event, message, ended.letter)
            self._end(wait, ended.reason, batch)
        return busy

    def pass_time(self, place: Place, clock: datetime, batch: Batch) -> None:
        """A clock mark: the waits of its partition whose time has come are over."""
        due = self._waits.due(place, clock)
        if not due:
            return
        older = [wait for wait in due if wait.first is None or wait.last is None]
        stored = self._load(older) if older else {}
        for wait in due:
            self._fire(wait, _net(wait, stored.get(wait.activation)), clock, batch)

    def interrupt(self, message: Message, batch: Batch) -> None:
        """A table was emptied, or part of its history may be missing: nothing is known of its keys' waits."""
        event = events.parse(message.payload)
        truncated = event.type == dispatch.TRUNCATED
        if not truncated and event.data.state != "open":
            return
        reason = f"the table was truncated: {event.id}" if truncated else f"undecided: a gap in the history: {event.id}"
        for wait in list(self._waits.in_place((message.topic, message.partition))):
            trigger = self._program.triggers[wait.trigger]
            gap = not event.data.tables or bool(trigger.tables & set(event.data.tables))
            if trigger.root == event.subject if truncated else gap:
                self._end(wait, reason, batch)

    def drop_unfit(self, batch: Batch) -> None:
        """End what the configuration no longer says."""
        if not self._unsure:
            return
        self._unsure = False
        for wait in self._waits:
            reason = waits.unfit(wait, self._program.triggers, self._program.held)
            if reason is not None:
                self._end(wait, reason, batch)

    def written(self, batch: Batch) -> None:
        """The batch is in the ledger, and with it what its waits have met."""
        for wait in batch.waits.values():
            if wait is not None:
                wait.first = wait.last = None
                wait.steps = []

    def _go_on(self, wait: Wait, event: ContextEvent, message: Message, batch: Batch) -> None:
        wait.last = activations.text_of(message.payload)
        wait.steps.append(net_change.step(event))
        if wait.kind == "debounce":
            wait.depth = max(wait.depth, event.data.cause.depth if event.data.cause else 0)
            self._waits.queue(wait)
        batch.waits[wait.key] = wait

    def _end(self, wait: Wait, reason: str, batch: Batch) -> None:
        self._waits.remove(wait)
        batch.ended(wait, reason)

    def _fire(self, wait: Wait, payload: str, clock: datetime, batch: Batch) -> None:
        trigger, event = self._program.triggers[wait.trigger], events.parse(payload.encode())
        self._waits.remove(wait)
        batch.waits[wait.key] = None
        reason = self._kept_back(trigger, event, payload, wait) if wait.kind == "debounce" else None
        if reason is not None:
            batch.ended(wait, reason)
            return
        batch.count(trigger, "opened", event.id)
        batch.firings.append(Firing(wait.activation, trigger, event, payload, clock, wait.depth, waited=True))

    def _kept_back(self, trigger: CompiledTrigger, event: ContextEvent, payload: str, wait: Wait) -> str | None:
        """Why a burst fires nothing: its net change is what the trigger is asked about."""
        if net_change.cancels_out(payload):
            return "the changes cancel out"
        limit = self._program.config.limits.depth
        verdict = triggers.judge(trigger, Images(event), depth_limit=limit)
        match verdict:
            case Suppressed(reason):
                return reason
            case Quiet():
                return "the net change does not meet the trigger"
            case Broken(message):
                return f"the condition cannot be worked out for the net change: {message}"
            case Opened():
                deep = f"depth: {wait.depth} actions led here, limits.depth is {limit}"
                return deep if wait.depth >= limit else None


def _net(wait: Wait, stored: Stored | None) -> str:
    """The net change of a wait: from what the ledger has, and what has come since."""
    if stored is None:
        return net_change.between(wait.first or "", wait.last or "", wait.steps)
    return net_change.between(stored.first, wait.last or stored.last, [*stored.steps, *wait.steps])
