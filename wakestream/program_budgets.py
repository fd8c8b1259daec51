"""Budgets as one trigger's runs meet them: those of the trigger and those of its agent."""

from __future__ import annotations

from dataclasses import dataclass

from wakestream import condition_scope
from wakestream.conditions import Expression
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


def scope_of(owner: str, budget: Budget) -> str:
    """What a budget of `trigger disrupted` or `agent rebooker` is called."""
    scope = f"{owner}: {budget.quantity} per {budget.per}"
    return scope if budget.by is None else f"{scope} by {budget.by}"


def compile_budgets(config: Config, trigger: str, within: TriggerScope) -> tuple[CompiledBudget, ...]:
    """The budgets of a trigger and its agent, in a fixed order; those with problems are left out and noted."""
    agent = config.triggers[trigger].agent
    owners: tuple[tuple[KeyPath, str, tuple[Budget, ...]], ...] = (
        (("triggers", trigger), f"trigger {trigger}", config.triggers[trigger].budget),
        (("agents", agent), f"agent {agent}", config.agents[agent].budget),
    )
    made = [
        _compile((*path, "budget", index), owner, budget, within)
        for path, owner, budgets in owners
        for index, budget in enumerate(budgets)
    ]
    return tuple(sorted((each for each in made if each is not None), key=lambda each: each.scope))


def _compile(path: KeyPath, owner: str, budget: Budget, within: TriggerScope) -> CompiledBudget | None:
    if budget.by is None:
        return CompiledBudget(scope_of(owner, budget), budget, None)
    seen = condition_scope.action_scope(within.scope, bound={}, chosen={})
    by = within.expression((*path, "by"), budget.by, seen, BY_ROOTS, "a budget's by")
    return by and CompiledBudget(scope_of(owner, budget), budget, by)
