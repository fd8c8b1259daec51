"""When triggers fire, worked out the plain and slow way: from the whole history, by what the documentation says.

Nothing here knows how the agent does it. Each trigger is asked about the history on its own: every event that meets it
is followed forward to the item that ends its wait, and what fires is then let through or not.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

Row = dict[str, Any]


@dataclass(frozen=True)
class Event:
    """A row event: times are seconds."""

    id: str
    time: float
    partition: int
    subject: str
    before: Row | None
    after: Row | None
    before_known: bool = True
    cause: Mapping[str, Any] | None = None

    @property
    def changed(self) -> list[str] | None:
        if self.before is None or self.after is None:
            return None
        return sorted(name for name in self.after if self.before[name] != self.after[name])

    @property
    def depth(self) -> int:
        return self.cause["depth"] if self.cause else 0


@dataclass(frozen=True)
class Mark:
    """A clock mark of one partition."""

    time: float
    partition: int


@dataclass(frozen=True)
class Lost:
    """A truncate of the table or a gap in it, in every partition."""

    kind: Literal["truncated", "gap"]


@dataclass(frozen=True)
class Pause:
    """A person pauses a trigger, or lets it go on."""

    trigger: str
    paused: bool


Item = Event | Mark | Lost | Pause


@dataclass(frozen=True)
class Rules:
    """A trigger as its configuration says."""

    name: str
    fire: Literal["enter", "leave", "change"]
    when: Callable[[Event, Row], bool | None]
    """Over the event and the image that stands as `after`; None where it cannot be said."""
    hold: float | None = None
    absent: tuple[Callable[[Event], bool], float] | None = None
    debounce: tuple[float, float] | None = None
    batch: tuple[Callable[[Event], object], int, float] | None = None
    cooldown: float | None = None
    breaker: tuple[int, float] | None = None
    own_writes: bool = False


@dataclass
class Outcome:
    """What became of one activation."""

    state: str
    reason: str = ""
    """Its first word."""
    opened_at: float | None = None
    batch: str | None = None
    before: Row | None = None
    after: Row | None = None
    changed: list[str] | None = None
    steps: list[str] = field(default_factory=list[str])


@dataclass
class Fired:
    """At an item of the history, a trigger fires."""

    index: int
    order: tuple[float, str]
    at: float
    identity: str
    event: Event
    """The net change."""
    outcome: Outcome


DEPTH = 3


def expected(history: Sequence[Item], rules: Rules, partitions: int) -> tuple[dict[str, Outcome], dict[str, list[str]]]:
    """Every activation of a trigger, and the runs with the activations that they answer."""
    outcomes = dict[str, Outcome]()
    fired = list[Fired]()
    busy = dict[str, int]()  # subject → index up to which its wait lasts
    for index, event in enumerate(history):
        if not isinstance(event, Event) or busy.get(event.subject, -1) > index:
            continue
        verdict = judge(rules, event)
        if verdict is None:
            continue
        identity = f"{rules.name}/{event.id}"
        outcome = outcomes[identity] = Outcome(*verdict, before=event.before, after=event.after, changed=event.changed)
        if outcome.state != "open":
            continue
        outcome.state = "held"
        waits = _wait(history, rules, index, event)
        if waits is None:
            fired.append(Fired(index, (event.time, identity), event.time, identity, event, outcome))
            continue
        end, steps, reason, due = waits
        busy[event.subject] = end
        net = _net(steps)
        if reason == "fires":
            _show(outcome, net, steps)
            at = history[end]
            assert isinstance(at, Mark)
            clock = _clock(history, end, at.partition)
            fired.append(Fired(end, (due, identity), clock, identity, net, outcome))
        elif reason != "waits":
            outcome.state, outcome.reason = "suppressed", reason
    return outcomes, _admit(history, rules, sorted(fired, key=lambda each: (each.index, *each.order)), partitions)


def judge(rules: Rules, event: Event) -> tuple[str, str] | None:
    """What `fire` says of one event: None, or a state with the reason's first word."""
    now_true = event.after is not None and rules.when(event, event.after)
    if rules.fire == "change":
        met = rules.when(event, event.after or {})
    else:
        was_true = None if not event.before_known else event.before is not None and rules.when(event, event.before)
        if rules.fire == "enter":
            met = False if not now_true else None if was_true is None else not was_true
        else:
            met = False if now_true else was_true
    if met is None:
        return "suppressed", "undecided"
    if not met:
        return None
    cause = event.cause
    if cause and cause["trigger"] == rules.name and event.subject in cause["keys"] and not rules.own_writes:
        return "suppressed", "own"
    if event.depth >= DEPTH:
        return "suppressed", "depth"
    return "open", ""


def _wait(
    history: Sequence[Item], rules: Rules, begin: int, event: Event
) -> tuple[int, list[Event], str, float] | None:
    """The item that ends the wait, the events it took in, what comes of it, and when it was due."""
    if rules.hold is None and rules.absent is None and rules.debounce is None:
        return None
    steps = [event]
    due = event.time + (rules.hold or (rules.absent or ((), 0.0))[1] or (rules.debounce or (0.0,))[0])
    for index in range(begin + 1, len(history)):
        item = history[index]
        match item:
            case Mark(partition=partition) if partition == event.partition and _clock(history, index, partition) >= due:
                return index, steps, _after_wait(rules, steps), due
            case Lost(kind):
                return index, steps, "the" if kind == "truncated" else "undecided", due
            case Event(subject=subject) if subject == event.subject:
                if rules.hold is not None:
                    still = item.after is not None and rules.when(item, item.after)
                    if still != (rules.fire == "enter"):
                        return index, steps, "it", due
                elif rules.absent is not None and rules.absent[0](item):
                    return index, steps, "it", due
                elif rules.debounce is not None:
                    due = min(max(due, item.time + rules.debounce[0]), event.time + rules.debounce[1])
                steps.append(item)
            case _:
                pass
    return len(history), steps, "waits", due


def _clock(history: Sequence[Item], index: int, partition: int) -> float:
    return max(each.time for each in history[: index + 1] if isinstance(each, Mark) and each.partition == partition)


def _after_wait(rules: Rules, steps: list[Event]) -> str:
    if rules.debounce is None:
        return "fires"
    net = _net(steps)
    if net.before_known and net.before == net.after:
        return "the"
    verdict = judge(rules, net)
    if verdict is None:
        return "the"
    if verdict[0] != "open":
        return verdict[1]
    return "depth" if max(each.depth for each in steps) >= DEPTH else "fires"


def _net(steps: list[Event]) -> Event:
    first, last = steps[0], steps[-1]
    return Event(
        *(last.id, last.time, last.partition, last.subject, first.before, last.after, first.before_known, first.cause)
    )


def _show(outcome: Outcome, net: Event, steps: list[Event]) -> None:
    outcome.before, outcome.after, outcome.changed = net.before, net.after, net.changed
    outcome.steps = [each.id for each in steps]


def _admit(history: Sequence[Item], rules: Rules, fired: list[Fired], partitions: int) -> dict[str, list[str]]:
    """Let through what may fire, in the order of the history; returns the runs."""
    gate = _Gate(rules)
    clocks = dict[int, float]()
    for index, item in enumerate(history):
        if isinstance(item, Pause) and item.trigger == rules.name:
            gate.paused = item.paused
        if isinstance(item, Mark):
            clocks[item.partition] = max(item.time, clocks.get(item.partition, item.time))
        for each in fired:
            if each.index == index:
                gate.meet(each)
        if isinstance(item, Mark) and len(clocks) == partitions:
            gate.pass_time(min(clocks.values()))
    return gate.runs


@dataclass
class _Gate:
    rules: Rules
    runs: dict[str, list[str]] = field(default_factory=dict[str, list[str]])
    opened: dict[str, list[float]] = field(default_factory=dict[str, list[float]])
    broken: set[str] = field(default_factory=set[str])
    batches: dict[object, tuple[str, float, list[Fired]]] = field(
        default_factory=dict[object, tuple[str, float, list[Fired]]]
    )
    paused: bool = False

    def meet(self, each: Fired) -> None:
        rules, outcome, subject = self.rules, each.outcome, each.event.subject
        before = self.opened.setdefault(subject, [])
        if self.paused:
            outcome.state, outcome.reason = "suppressed", "paused"
        elif subject in self.broken:
            outcome.state, outcome.reason = "held", "breaker:"
        elif rules.cooldown is not None and before and each.at < max(before) + rules.cooldown:
            outcome.state, outcome.reason = "suppressed", "cooldown"
        elif rules.breaker and sum(t > each.at - rules.breaker[1] for t in before) >= rules.breaker[0]:
            self.broken.add(subject)
            outcome.state, outcome.reason = "held", "breaker:"
        elif rules.batch is not None:
            self._join(each, *rules.batch)
        else:
            outcome.state, outcome.opened_at = "open", each.at
            before.append(each.at)
            self.runs[each.identity] = [each.identity]

    def pass_time(self, lowest: float) -> None:
        for value in [value for value, (_, due, _) in self.batches.items() if due <= lowest]:
            self._close(value, lowest)

    def _join(self, each: Fired, by: Callable[[Event], object], at_most: int, within: float) -> None:
        value = by(each.event)
        identity, due, members = self.batches.get(value, (f"{each.identity}/batch", each.at + within, []))
        self.batches[value] = identity, min(due, each.at + within), [*members, each]
        each.outcome.state, each.outcome.reason, each.outcome.batch = "held", "batch:", identity
        if len(members) + 1 >= at_most:
            self._close(value, each.at)

    def _close(self, value: object, at: float) -> None:
        identity, _, members = self.batches.pop(value)
        ordered = sorted(members, key=lambda each: (each.event.time, each.identity))
        self.runs[identity] = [each.identity for each in ordered]
        for each in members:
            each.outcome.state, each.outcome.opened_at, each.outcome.reason = "open", at, ""
            self.opened.setdefault(each.event.subject, []).append(at)
