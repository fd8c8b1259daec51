"""What all processes together hold to when they ask a model: pauses, calls at once, requests and tokens in a window."""

from __future__ import annotations

from datetime import datetime

import msgspec

from agent import budgets, notices
from agent.budgets import Charge, Counted, Held
from agent.database import Connection, Cursor
from agent.leases import Lease, LeaseLostError
from wakestream.config.models import Model

PATIENCE = 30.0  # seconds until a run looks again by itself for a call's place; it is woken when one becomes free


class Permit(msgspec.Struct, frozen=True):
    """What one call holds and is counted in, until its answer is stored."""

    charges: tuple[Charge, ...] = ()
    place: str | None = None
    """What waits for the place of this call, where the model has a `concurrency`."""


def is_limited(settings: Model) -> bool:
    """Whether calls of this model are counted."""
    return settings.concurrency is not None or settings.rate is not None


def ask(connection: Connection, name: str, settings: Model) -> Cursor:
    """Ask whether the model pauses; `told` reads the answer. A limited model's calls are let in one after the other."""
    if not is_limited(settings):
        return connection.execute("select until, reason, until > now() from wake.model_pause where model = %s", (name,))
    return connection.execute(
        "insert into wake.model_pause as p (model) values (%s) on conflict (model) do update set model = p.model"
        " returning until, reason, until > clock_timestamp()",
        (name,),
    )


def told(asked: Cursor, name: str) -> Held | None:
    """Why the model may not be asked, if it pauses."""
    row = asked.fetchone()
    return _paused(name, row[0], row[1]) if row and row[2] else None


def enter(connection: Connection, run_id: str, lease: Lease, name: str, settings: Model) -> Permit | Held:
    """Whether the model's limits let one more call in; `ask` comes before it, in the same transaction."""
    if settings.concurrency is not None and (full := _full(connection, run_id, lease, name, settings.concurrency)):
        return full
    rates = _rates(name, settings)
    held = budgets.count(connection, rates, "requests") if rates else None
    if held is not None:
        return held
    return Permit(
        tuple(each for each in rates if each.counted == "tokens"),
        _place(name) if settings.concurrency is not None else None,
    )


def pause(connection: Connection, name: str, seconds: float, reason: str) -> Held:
    """Nobody asks the model for so long; what a longer pause says stays."""
    row = connection.execute(
        "insert into wake.model_pause as p (model, until, reason) values (%s, now() + make_interval(secs => %s), %s)"
        " on conflict (model) do update set reason = excluded.reason,"
        " until = greatest(excluded.until, p.until) returning new.until, coalesce(old.until, now()) <= now()",
        (name, seconds, reason),
    ).fetchone()
    if row is None:
        raise LookupError(f"no row for model {name}")
    held = _paused(name, row[0], reason)
    if row[1]:
        notices.tell(connection, "model_paused", f"model {name}", held.reason)
    return held


def leave(connection: Connection, place: str) -> None:
    """A call's place is free: whoever waits longest may try. Call it after the run's row was written."""
    connection.execute("select 1 from wake.model_pause where model = %s for update", (_model(place),))
    woken = connection.execute(
        "update wake.run set run_at = now() where id = (select id from wake.run"
        " where state = 'pending' and budget = %s and run_at > now() order by run_at limit 1 for update skip locked)"
        " returning id",
        (place,),
    ).fetchone()
    if woken is not None:
        connection.execute("select pg_notify('wake_run', '')")


def _paused(name: str, until: datetime, reason: str) -> Held:
    return Held(f"model {name}: paused", f"model {name} pauses until {until:%H:%M:%S}Z: {reason}", until)


def _full(connection: Connection, run_id: str, lease: Lease, name: str, allowed: int) -> Held | None:
    row = connection.execute(
        "select count(*) filter (where id <> %s), now() + make_interval(secs => %s) from wake.run"
        " where calling = %s and state = 'running' and lease_until > now()",
        (run_id, PATIENCE, name),
    ).fetchone()
    if row is None or row[0] < allowed:
        taken = connection.execute(
            "update wake.run set calling = %s where id = %s and state = 'running' and lease_by = %s returning id",
            (name, run_id, lease.by),
        ).fetchone()
        if taken is None:
            raise LeaseLostError(f"run {run_id} is not this worker's any more")
        return None
    return Held(_place(name), f"model {name}: {allowed} calls are under way, which is its concurrency", row[1])


def _rates(name: str, settings: Model) -> tuple[Charge, ...]:
    rate = settings.rate
    if rate is None:
        return ()
    limits: dict[Counted, int | None] = {"requests": rate.requests, "tokens": rate.tokens}
    return tuple(
        Charge(f"model {name}: {counted} per {rate.per}", "", counted, rate.per, float(quota))
        for counted, quota in limits.items()
        if quota is not None
    )


def _place(name: str) -> str:
    return f"model {name}: concurrency"


def _model(place: str) -> str:
    return place.removeprefix("model ").removesuffix(": concurrency")
