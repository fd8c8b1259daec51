"""How `wake status` tells what was spent."""

from __future__ import annotations

from cli import output
from connectors.spending import BudgetSpent, ModelUse, Spending


def tell(spending: Spending) -> None:
    """Budgets, models, today, notices; nothing where there is nothing to tell."""
    if spending.budgets or spending.models:
        lines = [*map(_budget, spending.budgets), *map(_model, spending.models)]
        output.section("spending", lines)
    if spending.today:
        output.section(
            "today (UTC)",
            [
                f"{each.agent}, {each.model or 'no model asked'}: {each.runs} runs,"
                f" {each.tokens_in}+{each.tokens_out} tokens, cost {each.cost:.4f}"
                for each in spending.today
            ],
        )
    if spending.notices:
        output.section("notices", [f"{output.ago(each.at)}: {each.text}" for each in spending.notices])


def _budget(each: BudgetSpent) -> str:
    name = each.budget if each.by is None else f"{each.budget} = {each.by}"
    told = [f"{each.spent:.6g} of {each.quota:.6g}"]
    if each.renews_at is not None:
        told.append(f"renews {output.ago(each.renews_at)}")
    if each.spent >= each.quota:
        told.append("SPENT")
    elif each.runs_out_at is not None:
        told.append(f"at this rate spent {output.ago(each.runs_out_at)}")
    if each.waiting:
        told.append(f"{each.waiting} wait")
    return f"{name}: {', '.join(told)}"


def _model(each: ModelUse) -> str:
    told = [f"{each.under_way} calls under way" + (f" of {each.concurrency}" if each.concurrency else "")]
    if each.waiting:
        told.append(f"{each.waiting} wait")
    if each.paused_until is not None:
        told.append(f"PAUSES until {each.paused_until:%H:%M:%S}Z: {each.reason}")
    return f"model {each.model}: {', '.join(told)}"
