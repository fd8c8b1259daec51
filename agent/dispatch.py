"""Finds the triggers that an event may concern, from its head alone where that is enough."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence

import msgspec

from agent.activations import Message
from wakestream.errors import EventError
from wakestream.events import Position
from wakestream.program import CompiledTrigger

_ROW_TYPES = frozenset({"row.inserted", "row.updated", "row.deleted", "entity.changed"})
CLOCK = "context.clock"
_HEAD = 512
"""Bytes in which an event's type stands; what is taken for a mark and is none only makes a part shorter."""
TRUNCATED, GAP = "table.truncated", "context.gap"
ENDINGS = frozenset({TRUNCATED, GAP})
"""After which nothing is known of what a key waits for."""


class GlanceData(msgspec.Struct, frozen=True, gc=False):
    """The part of the data that decides who is concerned."""

    position: Position
    changed: tuple[str, ...] | None = None
    missing: tuple[str, ...] = ()
    cause: GlanceCause | None = None


class GlanceCause(msgspec.Struct, frozen=True, gc=False):
    """That one of our actions made the change; which, is read where that counts."""


class Glance(msgspec.Struct, frozen=True, gc=False):
    """An event without its images."""

    type: str
    subject: str
    time: str
    data: GlanceData

    @property
    def is_own_row(self) -> bool:
        """Whether it is a row that one of our actions changed."""
        return self.data.cause is not None and self.type.startswith("row.")


_glances = msgspec.json.Decoder(Glance)


def glance(payload: bytes) -> Glance:
    """What can be said of an event at little cost. Raises `EventError` for what is no event."""
    try:
        return _glances.decode(payload)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise EventError("not a context event", detail=str(error)) from error


def by_marks(found: Sequence[Message]) -> Iterator[Sequence[Message]]:
    """The messages in parts that each end with a clock mark, but for the last."""
    begin = 0
    for at, message in enumerate(found, 1):
        if CLOCK.encode() in message.payload[:_HEAD] or at == len(found):
            yield found[begin:at]
            begin = at


class _Watchers:
    """The triggers of one table or entity."""

    def __init__(self, triggers: list[CompiledTrigger]) -> None:
        self.all = triggers
        self._always: list[CompiledTrigger] = []
        self._by_column: defaultdict[str, list[CompiledTrigger]] = defaultdict(list)
        for trigger in triggers:
            if trigger.settings.fire == "change" or not trigger.reads:
                self._always.append(trigger)
                continue
            for column in {read.partition(".")[0] for read in trigger.reads}:
                self._by_column[column].append(trigger)

    def touched(self, changed: Iterable[str]) -> Iterator[CompiledTrigger]:
        """Those for which the two images can differ in what they read."""
        yield from self._always
        columns = {path.partition(".")[0] for path in changed}
        seen = set[str]()
        for column in columns:
            for trigger in self._by_column.get(column, ()):
                if trigger.name not in seen:
                    seen.add(trigger.name)
                    yield trigger


class Dispatch:
    """The triggers of a program by what they watch."""

    def __init__(self, triggers: Iterable[CompiledTrigger]) -> None:
        grouped: defaultdict[tuple[str, str], list[CompiledTrigger]] = defaultdict(list)
        for trigger in triggers:
            grouped[trigger.source, trigger.subject].append(trigger)
        self._watchers = {key: _Watchers(found) for key, found in grouped.items()}

    def candidates(self, source: str, seen: Glance, payload: bytes) -> list[CompiledTrigger]:
        """The triggers for which the event has to be looked at whole.

        `enter` and `leave` need two images that differ in what the condition reads. That can be told from `changed`
        when it is there, which it is only where both images are known, unless something is missing in them. Where
        nothing is, many a condition can be told to be false from what does not stand in the event at all.
        """
        if seen.type not in _ROW_TYPES:
            return []
        watchers = self._watchers.get((source, seen.subject.partition("/")[0]))
        if watchers is None:
            return []
        if seen.data.missing:
            return watchers.all
        touched = watchers.all if seen.data.changed is None else watchers.touched(seen.data.changed)
        return [trigger for trigger in touched if trigger.condition.may_hold(payload)]
