"""Budgets that can never be spent, or that cannot be told apart."""

from __future__ import annotations

from collections.abc import Iterator

from wakestream.config.budgets import Budget
from wakestream.config.document import KeyPath
from wakestream.config.models import Config

Problem = tuple[KeyPath, str]


def problems(config: Config) -> Iterator[Problem]:
    """What the budgets of triggers and agents need of one another and of the models."""
    for name, trigger in config.triggers.items():
        agent = config.agents.get(trigger.agent)
        yield from _budgets(config, ("triggers", name, "budget"), trigger.budget, agent.model if agent else "")
    for name, agent in config.agents.items():
        yield from _budgets(config, ("agents", name, "budget"), agent.budget, agent.model)


def _budgets(config: Config, path: KeyPath, budgets: tuple[Budget, ...], model: str) -> Iterator[Problem]:
    seen: set[tuple[str, str, str | None]] = set()
    for index, budget in enumerate(budgets):
        kind = (budget.quantity, budget.per, budget.by)
        if kind in seen:
            yield (*path, index), f"there is a budget of {kind[0]} per {kind[1]} above already; remove one of the two"
        seen.add(kind)
        found = config.models.get(model)
        if budget.cost is not None and found is not None and not (found.price.input or found.price.output):
            yield (
                (*path, index, "cost"),
                f"`{model}` costs nothing, so this is never spent: give `models.{model}.price`, or limit `tokens`",
            )
