"""What was spent of a budget in the present window: counted when a run begins and where an answer is stored.

Windows are fixed and go by the ledger's clock in UTC, so that all workers of all processes agree. Whoever counts a
run holds the rows of its budgets locked, in the order of their names: together they never begin more than allowed.
Tokens and cost are known afterwards only; they can be exceeded by the calls that are under way.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, Literal

import msgspec

from agent import measures, notices
from agent.database import Connection
from wakestream.conditions import Given
from wakestream.config.budgets import Over, Period
from wakestream.program_budgets import CompiledBudget

HOURS: dict[Period, float] = {"minute": 1 / 60, "hour": 1.0, "day": 24.0}

Counted = Literal["runs", "tokens", "cost", "requests"]


class Charge(msgspec.Struct, frozen=True):
    """A budget that counts one run, or a rate that counts one call."""

    scope: str
    by: str
    """What its `by` gave for the event; empty without one."""
    counted: Counted
    per: Period
    quota: float
    over: Over = "queue"
    warn: float | None = None

    @property
    def label(self) -> str:
        """Which budget this is, to people."""
        return f"{self.scope} = {self.by}" if self.by else self.scope

    def amount(self, tokens: int, cost: float) -> float:
        """What an answer takes of it."""
        return tokens if self.counted == "tokens" else cost if self.counted == "cost" else 0.0


class Held(msgspec.Struct, frozen=True):
    """Why a run may not go on, and what becomes of it."""

    key: str
    """What it waits for, the same for all that wait for it."""
    reason: str
    until: datetime
    over: Over = "queue"


class _Window(msgspec.Struct, frozen=True):
    spent: float
    end: datetime


def charges(
    budgets: Iterable[CompiledBudget], values: Mapping[str, Any], missing: tuple[str, ...], now: datetime
) -> tuple[Charge, ...]:
    """The budgets as they count this event's run. What `by` cannot tell counts together, as `null`."""
    return tuple(_charge(each, values, missing, now) for each in budgets)


def _charge(budget: CompiledBudget, values: Mapping[str, Any], missing: tuple[str, ...], now: datetime) -> Charge:
    settings, by = budget.settings, ""
    if budget.by is not None:
        result = budget.by.evaluate(values, missing=missing, now=now)
        by = "null" if not isinstance(result, Given) or result.value is None else str(result.value)
    return Charge(budget.scope, by, settings.quantity, settings.per, settings.quota, settings.over, settings.warn)


def count(
    connection: Connection, charges: Sequence[Charge], counted: Counted, *, regardless: bool = False
) -> Held | None:
    """Count one run or request in each of these budgets that counts such; where one is spent, in none of them.

    `regardless` counts it even then: a person has let it go.
    """
    ordered = sorted(charges, key=lambda each: (each.scope, each.by))
    windows = [(each, _add(connection, each, 0)) for each in ordered]  # locks them
    for each, window in windows:
        left = each.quota - window.spent
        if left < (1 if each.counted == counted else 1e-9) and not regardless:
            return _exhausted(connection, each, window)
    for each in ordered:
        if each.counted == counted:
            _add(connection, each, 1)
    return None


def spent(connection: Connection, charges: Iterable[Charge]) -> Held | None:
    """The first of these budgets of tokens or cost that is spent now; nothing is counted or locked."""
    for each in charges:
        if each.counted not in ("tokens", "cost"):
            continue
        row = connection.execute(
            "select spent, window_end from wake.spend"
            " where scope = %s and by_value = %s and window_start = date_trunc(%s, now(), 'UTC')",
            (each.scope, each.by, each.per),
        ).fetchone()
        if row is not None and row[0] >= each.quota:
            return _exhausted(connection, each, _Window(*row))
    return None


def add(connection: Connection, charges: Iterable[Charge], tokens: int, cost: float) -> None:
    """Count what an answer took; call it in the transaction that stores the answer."""
    for each in sorted(charges, key=lambda each: (each.scope, each.by)):
        amount = each.amount(tokens, cost)
        if amount:
            _add(connection, each, amount)


def forget(connection: Connection) -> None:
    """Remove windows that ended long ago; what each run took stays with the run."""
    connection.execute("delete from wake.spend where window_end < now() - interval '2 days'")


def _add(connection: Connection, charge: Charge, amount: float) -> _Window:
    threshold = None if charge.warn is None else charge.warn * charge.quota
    row = connection.execute(
        "insert into wake.spend as s (scope, by_value, window_start, window_end, spent, quota, warned_at)"
        " select %(scope)s, %(by)s, w, w + make_interval(secs => %(seconds)s), %(amount)s, %(quota)s,"
        " case when %(amount)s >= %(threshold)s then now() end from date_trunc(%(per)s, now(), 'UTC') w"
        " on conflict (scope, by_value, window_start) do update set"
        " spent = s.spent + excluded.spent, quota = excluded.quota,"
        " warned_at = coalesce(s.warned_at, case when s.spent + excluded.spent >= %(threshold)s then now() end)"
        " returning new.spent, new.window_end, old.warned_at is null and new.warned_at is not null",
        {
            **{"scope": charge.scope, "by": charge.by, "per": charge.per, "quota": charge.quota},
            **{"amount": float(amount), "threshold": threshold, "seconds": HOURS[charge.per] * 3600.0},
        },
    ).fetchone()
    if row is None:
        raise LookupError(f"no row for {charge.label}")
    window = _Window(row[0], row[1])
    if row[2]:
        measures.BUDGETS.labels(charge.scope, "warned").inc()
        told = f"{charge.label} comes to its end: {_told(charge, window)} until {_moment(window.end)}"
        notices.tell(connection, "budget_warning", charge.label, told)
    return window


def _exhausted(connection: Connection, charge: Charge, window: _Window) -> Held:
    reason = f"{charge.label} is spent: {_told(charge, window)} until {_moment(window.end)}"
    first = connection.execute(
        "update wake.spend set exhausted_at = now() where scope = %s and by_value = %s and window_end = %s"
        " and exhausted_at is null returning scope",
        (charge.scope, charge.by, window.end),
    ).fetchone()
    if first is not None and charge.warn is not None:  # a rate is there to be reached
        notices.tell(connection, "budget_spent", charge.label, reason)
    measures.BUDGETS.labels(charge.scope, charge.over).inc()
    return Held(charge.label, reason, window.end, charge.over)


def _told(charge: Charge, window: _Window) -> str:
    return f"{window.spent:.6g} of {charge.quota:.6g} {charge.counted}"


def _moment(at: datetime) -> str:
    return f"{at:%Y-%m-%d %H:%M:%S}Z"
