"""From a decision to actions: every value comes out of the event, and policy says which wait for a person."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

import msgspec

from agent import action_store, bound, policy
from agent.answers import Decision, Offer, Proposal
from agent.effects.sql import SqlPlan, render
from agent.effects.webhook import WebhookPlan
from wakestream.config.actions import SqlAction, WebhookAction
from wakestream.program_actions import CompiledAction


def proposed(
    decision: Decision,
    offered: Mapping[str, Offer],
    values: Mapping[str, Any],
    missing: tuple[str, ...],
    now: datetime,
) -> list[action_store.Proposed]:
    """The actions of a decision, numbered from one. Raises `EventError` when one cannot be bound for this event."""
    return [
        _proposed(number, each, offered[each.action], values, missing, now)
        for number, each in enumerate(decision.actions, 1)
    ]


def _proposed(
    number: int, proposal: Proposal, offer: Offer, values: Mapping[str, Any], missing: tuple[str, ...], now: datetime
) -> action_store.Proposed:
    action, settings = offer.action, offer.action.settings
    chosen = {choice: offer.element(choice, proposal.arguments[choice]) for choice in action.choose}
    arguments = {name: proposal.arguments[name] for name in settings.parameters}
    seen: dict[str, Any] = {**values, "chosen": chosen}
    if settings.trust_model_arguments:
        seen["args"] = arguments
    values_bound = bound.bound_values(action.name, action.bind, seen, missing)
    ruling = policy.rule(action, {**seen, "bound": values_bound}, missing, now)
    keys = {choice: element[action.choose[choice].key] for choice, element in chosen.items()}
    return action_store.Proposed(
        number=number,
        name=action.name,
        kind=settings.kind,
        state=ruling.state,
        bound=values_bound,
        chosen=chosen,
        arguments=arguments,
        effect=_effect(action, {**values_bound, **keys, **arguments}),
        approval=settings.approval,
        reason=ruling.reason,
    )


def _effect(action: CompiledAction, values: dict[str, Any]) -> dict[str, Any]:
    match action.settings:
        case SqlAction() as settings:
            plan: SqlPlan | WebhookPlan = SqlPlan(
                connection=settings.connection,
                statement=settings.statement,
                values=values,
                text=render(settings.statement, values),
                timeout_s=settings.timeout,
                rows=settings.rows,
                arrays=sorted(action.arrays),
            )
        case WebhookAction() as settings:
            plan = WebhookPlan(
                url=settings.url, body=values, timeout_s=settings.timeout, idempotent=settings.idempotent
            )
    return msgspec.structs.asdict(plan)
