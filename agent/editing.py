"""A proposal that a person changes: other choices and parameters go the way that the model's own words went.

They are held to the schema of what exists, bound, judged, planned and fenced anew. Nobody writes what is bound.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jsonschema_rs
import msgspec

from agent import answers, bound, deciding_again, fencing, governing, json_text, proposals
from agent.action_store import Proposed
from agent.answers import Decision, Offer, Proposal
from agent.database import AnyConnection
from wakestream.errors import EventError, RefusedError
from wakestream.events import ContextEvent
from wakestream.program import CompiledAgent, CompiledTrigger, Program


class Origin(msgspec.Struct, frozen=True):
    """The run that proposed it, with its events as they were decided on."""

    run: str
    activation: str
    agent: str
    trigger: str
    depth: int
    program: str | None
    reason: str
    """In the model's words."""
    event: ContextEvent
    together: tuple[ContextEvent, ...]


_ORIGIN = (
    "select r.id, r.activation, r.agent, r.trigger, a.depth, r.config_digest, coalesce(r.decision ->> 'reason', ''),"
    " a.event::text, a.batch, (select s.response::text from wake.run_step s where s.run = r.id and s.step = %s),"
    " array(select b.event::text from wake.activation b where b.batch = a.batch and b.opened_at is not null"
    " order by b.committed_at, b.id)"
    " from wake.run r join wake.activation a on a.id = r.activation where r.id = %s"
)


def origin(connection: AnyConnection, run: str) -> Origin:
    """What a run decided on."""
    row = connection.execute(_ORIGIN, (deciding_again.STEP, run)).fetchone()
    if row is None:
        raise RefusedError(f"no run `{run}`")
    *head, first, batch, present, batched = row
    texts = [json_text.dump(each) for each in json_text.load(present)["events"]] if present else batched
    together = tuple(json_text.load_event(text) for text in texts) if batch is not None else ()
    event = together[0] if together else json_text.load_event(texts[0] if present else first)
    return Origin(*head, event=event, together=together)


class Waiting(msgspec.Struct, frozen=True):
    """The proposal as it waits."""

    name: str
    chosen: dict[str, Any]
    arguments: dict[str, Any]
    saw: list[str]
    """What strangers wrote of what its run saw."""


def edited(program: Program, origin: Origin, waiting: Waiting, changes: Mapping[str, Any]) -> Proposed:
    """The proposal with other arguments.

    Raises `RefusedError` where an argument does not exist, does not fit, or cannot be bound.
    """
    trigger, agent = _agent(program, origin)
    event = origin.event
    identity = {"id": origin.run, "activation": origin.activation, "agent": origin.agent}
    values = bound.event_values(event, {**identity, "trigger": origin.trigger, "depth": origin.depth}, origin.together)
    governing.note(values, waiting.saw)
    offered = answers.offers(agent, values, event.data.missing)
    offer = offered.get(waiting.name)
    if offer is None:
        raise RefusedError(f"there is nothing to choose from any more for `{waiting.name}`")
    keys = {choice: waiting.chosen[choice][each.key] for choice, each in offer.action.choose.items()}
    proposal = Proposal(waiting.name, {**keys, **waiting.arguments, **changes})
    _require_fit(offer, proposal, changes)
    decision = Decision(origin.reason, [proposal])
    try:
        made = proposals.proposed(decision, {waiting.name: offer}, values, event)
        made = governing.governed(made, (trigger.settings.mode, agent.settings.mode), agent, waiting.saw)
        (found,) = fencing.fenced(made, trigger.fences, agent, origin.together or (event,))
    except EventError as error:
        raise RefusedError(str(error)) from error
    return found


def _agent(program: Program, origin: Origin) -> tuple[CompiledTrigger, CompiledAgent]:
    trigger = program.triggers.get(origin.trigger)
    agent = trigger.agents.get(origin.agent) if trigger is not None else None
    if trigger is None or agent is None:
        raise RefusedError(f"trigger `{origin.trigger}` leads to no agent `{origin.agent}` any more")
    return trigger, agent


def _require_fit(offer: Offer, proposal: Proposal, changes: Mapping[str, Any]) -> None:
    known = [*offer.choices, *offer.action.settings.parameters]
    unknown = [name for name in changes if name not in known]
    if unknown:
        raise RefusedError(
            f"`{proposal.action}` has no argument {', '.join(unknown)}; it has: {', '.join(known) or 'none'}."
            " What is bound comes from the event and is nobody's to write"
        )
    schema = answers.action_schema(proposal.action, offer)
    said = {"action": proposal.action, "arguments": proposal.arguments}
    errors = [
        f"{'.'.join(map(str, error.instance_path[1:]))}: {error.message}"
        for error in jsonschema_rs.validator_for(schema).iter_errors(said)
    ]
    if errors:
        raise RefusedError("; ".join(errors))
