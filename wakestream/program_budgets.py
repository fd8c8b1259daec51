"""Budgets as one trigger's runs meet them: those of the trigger and those of its agent."""

from __future__ import annotations

from dataclasses import dataclass

from wakestream import condition_scope
from wakestream.conditions import Expression
from wakestream.config import handing
from wakestream.config.budgets import Budget
from wakestream.config.document import KeyPath
from wakestream.config.models import Config
from wakestream.program_actions import TriggerScope

BY_ROOTS = frozenset({"after", "before", "key", "cause", "event"})


@dataclass(frozen=True, slots=True)
class CompiledBudget:
    """A budget ready to be asked."""

    scope: str
    """What it is called, in the ledger and to people: `trigger disrupted: runs per hour by after.tenant`."""
    settings: Budget
    by: Expression | None
    agent: str | None = None
    """Whose it is; the trigger's where it is nobody's."""


def scope_of(owner: str, budget: Budget) -> str:
    """What a budget of `trigger disrupted` or `agent rebooker` is called."""
    scope = f"{owner}: {budget.quantity} per {budget.per}"
    return scope if budget.by is None else f"{scope} by {budget.by}"


def compile_budgets(config: Config, trigger: str, within: TriggerScope) -> tuple[CompiledBudget, ...]:
    """The budgets of a trigger and its agents, in a fixed order; those with problems are left out and noted."""
    made = [
        _compile(("triggers", trigger, "budget", index), f"trigger {trigger}", None, budget, within)
        for index, budget in enumerate(config.triggers[trigger].budget)
    ]
    made += [
        _compile(("agents", agent, "budget", index), f"agent {agent}", agent, budget, within)
        for agent in handing.reachable(config, config.triggers[trigger].agent)
        for index, budget in enumerate(config.agents[agent].budget)
    ]
    return tuple(sorted((each for each in made if each is not None), key=lambda each: each.scope))


def _compile(
    path: KeyPath, owner: str, agent: str | None, budget: Budget, within: TriggerScope
) -> CompiledBudget | None:
    if budget.by is None:
        return CompiledBudget(scope_of(owner, budget), budget, None, agent)
    seen = condition_scope.action_scope(within.scope, bound={}, chosen={})
    by = within.expression((*path, "by"), budget.by, seen, BY_ROOTS, "a budget's by")
    return by and CompiledBudget(scope_of(owner, budget), budget, by, agent)
