"""From a decision to the rows that it rested on, with their values as the event had them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgspec

from agent.action_store import Proposed
from wakestream.events import ContextEvent
from wakestream.fences import Fence, FencedRow
from wakestream.program import CompiledAgent
from wakestream.program_actions import CompiledAction
from wakestream.program_fences import FencePlan

BATCH = "batch"
"""The list of the documents of a batch, of which an action may choose one."""


def fenced(
    actions: Iterable[Proposed], plans: Mapping[str, FencePlan], agent: CompiledAgent, events: Sequence[ContextEvent]
) -> list[Proposed]:
    """The proposed actions, each with the rows that its decision on these events rested on, unless `fence: none`."""
    return [
        msgspec.structs.replace(action, fence=_fence(plans[action.name], compiled, events, action))
        if (compiled := agent.actions[action.name]).settings.fence != "none"
        else action
        for action in actions
    ]


def _fence(plan: FencePlan, compiled: CompiledAction, events: Sequence[ContextEvent], action: Proposed) -> Fence:
    without, found = list(plan.root.without()), list[FencedRow]()
    of_batch = False
    for choice, element in action.chosen.items():
        source = compiled.choose[choice].source.text
        event = _event_of(element, events) if source == BATCH else None
        of_batch = of_batch or event is not None
        path, missing = ("after", _missing(event)) if event else (source, _missing(events[0]))
        found += plan.chosen[choice].rows(element, path, missing)
    for event in () if of_batch else events:
        found += _of_event(plan, event, without)
    last = max((event.data.position for event in events), key=lambda position: (position.log, position.offset))
    return Fence(
        source=plan.source,
        system_identifier=plan.system_identifier,
        log=last.log,
        offset=last.offset,
        rows=_merged(found),
        on_stale=compiled.settings.on_stale,
        without=sorted(set(without)),
    )


def _of_event(plan: FencePlan, event: ContextEvent, without: list[str]) -> Iterable[FencedRow]:
    """The rows of one event's document; notes what it could not know."""
    missing = _missing(event)
    if "after" in missing:
        without.append(f"{event.subject}: the event could not know the row")
        return ()
    if event.data.after is None:
        return plan.root.gone(event.data.key or {})
    return plan.root.rows(event.data.after, "after", missing)


def _event_of(document: Any, events: Sequence[ContextEvent]) -> ContextEvent | None:
    """The event of a batch whose document was chosen."""
    return next((event for event in events if document in (event.data.after, event.data.before)), None)


def _missing(event: ContextEvent) -> frozenset[str]:
    return frozenset(event.data.missing)


def _merged(found: Iterable[FencedRow]) -> list[FencedRow]:
    """Each row once, with all that was read of it, in the order of subjects."""
    merged: dict[str, FencedRow] = {}
    for row in found:
        before = merged.get(row.subject)
        if before is not None and before.values is not None and row.values is not None:
            row = msgspec.structs.replace(row, values={**before.values, **row.values})
        merged[row.subject] = row
    return [merged[subject] for subject in sorted(merged)]
