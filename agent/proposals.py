"""From a decision to actions: every value comes out of the event, and policy says which wait for a person."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from agent import action_store, bound, effects, policy
from agent.answers import Decision, Offer, Proposal
from agent.effects.outcome import Material
from wakestream.events import ContextEvent


def proposed(
    decision: Decision,
    offered: Mapping[str, Offer],
    values: Mapping[str, Any],
    event: ContextEvent,
) -> list[action_store.Proposed]:
    """The actions of a decision, numbered from one. Raises `EventError` when one cannot be bound for this event."""
    return [
        _proposed(number, each, decision.reason, offered[each.action], values, event)
        for number, each in enumerate(decision.actions, 1)
    ]


def _proposed(
    number: int, proposal: Proposal, reason: str, offer: Offer, values: Mapping[str, Any], event: ContextEvent
) -> action_store.Proposed:
    action, settings, missing = offer.action, offer.action.settings, event.data.missing
    chosen = {choice: offer.element(choice, proposal.arguments[choice]) for choice in action.choose}
    arguments = {name: proposal.arguments[name] for name in settings.parameters}
    seen: dict[str, Any] = {**values, "chosen": chosen}
    if settings.trust_model_arguments:
        seen["args"] = arguments
    values_bound = bound.bound_values(action.name, action.bind, seen, missing)
    seen["bound"] = values_bound
    ruling = policy.rule(action, seen, missing, event.at)
    keys = {choice: element[action.choose[choice].key] for choice, element in chosen.items()}
    material = Material(action, values_bound, keys, chosen, arguments, reason, seen, event)
    return action_store.Proposed(
        number=number,
        name=action.name,
        kind=settings.kind,
        state=ruling.state,
        bound=values_bound,
        chosen=chosen,
        arguments=arguments,
        effect=effects.plan(material),
        approval=settings.approval,
        reason=ruling.reason,
    )
