"""What was spent of the budgets, what the models' limits hold back, and what today came to."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any

import msgspec
import psycopg

from wakestream.config.models import Config
from wakestream.program_budgets import scope_of

SHOWN = 20
"""How many values of one `by` are shown, those with the most spent first."""


class BudgetSpent(msgspec.Struct, frozen=True):
    """A budget, or a model's rate, in its present window."""

    budget: str
    by: str | None
    """The value of `by` that it is about; null without one."""
    spent: float
    quota: float
    renews_at: datetime | None
    """Null while nothing was spent in this window."""
    runs_out_at: datetime | None
    """When it will be spent if it goes on so; null where that is after it renews."""
    warned: bool
    waiting: int
    """Runs that wait for it: put off, or parked until a person lets them go."""


class ModelUse(msgspec.Struct, frozen=True):
    """A model with limits, or one that pauses."""

    model: str
    under_way: int
    concurrency: int | None
    waiting: int
    paused_until: datetime | None
    reason: str | None


class Today(msgspec.Struct, frozen=True):
    """What the runs that began today (UTC) took, of one agent and model."""

    agent: str
    model: str | None
    runs: int
    tokens_in: int
    tokens_out: int
    cost: float


class Notice(msgspec.Struct, frozen=True):
    """Something that operators were told within a day."""

    at: datetime
    kind: str
    about: str
    text: str


class Spending(msgspec.Struct, frozen=True):
    """Of all sources together."""

    budgets: tuple[BudgetSpent, ...]
    models: tuple[ModelUse, ...]
    today: tuple[Today, ...]
    notices: tuple[Notice, ...]


def read(connection: psycopg.Connection[Any], config: Config) -> Spending:
    """Everything at once."""
    waiting: dict[str, int] = dict(
        connection.execute(
            "select budget, count(*) from wake.run"
            " where budget is not null and state in ('pending', 'parked') group by 1"
        ).fetchall()
    )
    return Spending(
        budgets=tuple(_budgets(connection, config, waiting)),
        models=tuple(_models(connection, config, waiting)),
        today=tuple(_today(connection)),
        notices=tuple(_notices(connection)),
    )


def runs_out(spent: float, quota: float, start: datetime, end: datetime, now: datetime) -> datetime | None:
    """When all is spent if it goes on as it did since the window began; null where the window ends before."""
    elapsed = (now - start).total_seconds()
    if spent <= 0 or elapsed <= 0:
        return None
    left_s = max(quota - spent, 0.0) * elapsed / spent
    return None if left_s >= (end - now).total_seconds() else now + timedelta(seconds=left_s)


def _budgets(connection: psycopg.Connection[Any], config: Config, waiting: dict[str, int]) -> Iterator[BudgetSpent]:
    rows = connection.execute(
        "select * from (select scope, by_value, spent, quota, window_start, window_end, warned_at is not null, now(),"
        " row_number() over (partition by scope order by spent desc, by_value) as place"
        " from wake.spend where window_end > now()) found where place <= %s order by scope, place",
        (SHOWN,),
    ).fetchall()
    for scope, by, spent, quota, start, end, warned, now, _ in rows:
        label = f"{scope} = {by}" if by else scope
        out = runs_out(spent, quota, start, end, now)
        yield BudgetSpent(scope, by or None, spent, quota, end, out, warned, waiting.get(label, 0))
    told = {row[0] for row in rows}
    owners = [(f"trigger {name}", each.budget) for name, each in config.triggers.items()]
    owners += [(f"agent {name}", each.budget) for name, each in config.agents.items()]
    for owner, budgets in owners:
        for budget in budgets:
            scope = scope_of(owner, budget)
            if scope not in told:
                yield BudgetSpent(scope, None, 0.0, budget.quota, None, None, False, waiting.get(scope, 0))


def _models(connection: psycopg.Connection[Any], config: Config, waiting: dict[str, int]) -> Iterator[ModelUse]:
    paused: dict[str, tuple[datetime, str]] = {
        name: (until, reason)
        for name, until, reason in connection.execute(
            "select model, until, reason from wake.model_pause where until > now()"
        )
    }
    calls: dict[str, int] = dict(
        connection.execute(
            "select calling, count(*) from wake.run where calling is not null and state = 'running'"
            " and lease_until > now() group by 1"
        ).fetchall()
    )
    for name, model in config.models.items():
        until, reason = paused.get(name, (None, None))
        if model.concurrency is None and model.rate is None and until is None:
            continue
        held = sum(count for label, count in waiting.items() if label.startswith(f"model {name}:"))
        yield ModelUse(name, calls.get(name, 0), model.concurrency, held, until, reason)


def _today(connection: psycopg.Connection[Any]) -> Iterator[Today]:
    rows = connection.execute(
        "select agent, model, count(*), sum(tokens_in)::bigint, sum(tokens_out)::bigint, sum(cost) from wake.run"
        " where started_at >= date_trunc('day', now(), 'UTC') group by 1, 2 order by 6 desc, 1, 2"
    ).fetchall()
    return (Today(*row) for row in rows)


def _notices(connection: psycopg.Connection[Any]) -> Iterator[Notice]:
    rows = connection.execute(
        "select at, kind, about, text from wake.notice where at > now() - interval '1 day' order by at desc limit 20"
    ).fetchall()
    return (Notice(*row) for row in rows)
