"""Runs in the ledger: claiming, their steps, and how they end. Every write is fenced by the claim."""

from __future__ import annotations

from typing import Any, LiteralString, NewType

import msgspec

from agent import json_text
from agent.database import Connection
from agent.leases import LEASE, Lease, LeaseLostError
from wakestream import settling, states
from wakestream.events import ContextEvent

RunId = NewType("RunId", str)

OPEN_QUESTIONS = ("awaiting_approval", "unknown")
"""Actions for which a run waits."""


class Run(msgspec.Struct, frozen=True):
    """A claimed run with the event that it answers to."""

    id: RunId
    activation: str
    agent: str
    trigger: str
    source: str
    depth: int
    event: ContextEvent
    lease: Lease
    begun: bool
    """It has steps from an earlier attempt."""
    together: tuple[ContextEvent, ...] = ()
    """Of a batch, every event, in the order of their commits; `event` is the first one."""

    def log_context(self) -> dict[str, Any]:
        """For `extra` of a log line."""
        return {"id": self.id, "agent": self.agent, "trigger": self.trigger, "attempt": self.lease.attempt}


class Step(msgspec.Struct, frozen=True):
    """Something asked and answered, or about to be asked."""

    name: str
    request: dict[str, Any] | None = None
    response: dict[str, Any] | None = None
    error: str | None = None
    tokens_in: int = 0
    tokens_out: int = 0
    ms: float = 0.0
    cost: float = 0.0
    model: str | None = None


def claim(connection: Connection, by: str) -> Run | None:
    """Take the run whose turn it is: a pending one, or one whose worker let its lease run out."""
    row = connection.execute(
        "with found as ("
        " select id from wake.run where (state = 'pending' and run_at <= now()"
        " and not exists (select from wake.paused_trigger p where p.trigger = run.trigger))"
        " or (state = 'running' and lease_until < now()) order by rank for update skip locked limit 1)"
        " update wake.run r set state = 'running', attempts = attempts + 1, lease_by = %s,"
        " lease_until = now() + make_interval(secs => %s), started_at = coalesce(started_at, clock_timestamp())"
        " from found, wake.activation a where r.id = found.id and a.id = r.activation"
        " returning r.id, r.activation, r.agent, r.trigger, a.source, a.depth, a.event::text, r.attempts,"
        " exists (select 1 from wake.run_step s where s.run = r.id), a.batch = r.id",
        (by, LEASE),
    ).fetchone()
    if row is None:
        return None
    run, activation, agent, trigger, source, depth, event, attempts, begun, batch = row
    lease, first = Lease(by, attempts), json_text.load_event(event)
    together = _together(connection, run) if batch else ()
    return Run(RunId(run), activation, agent, trigger, source, depth, first, lease, begun, together)


def _together(connection: Connection, run: str) -> tuple[ContextEvent, ...]:
    rows = connection.execute(
        "select event::text from wake.activation where batch = %s and opened_at is not null order by committed_at, id",
        (run,),
    ).fetchall()
    return tuple(json_text.load_event(event) for (event,) in rows)


def steps(connection: Connection, run: Run) -> dict[str, Step]:
    """What the run has asked and been answered so far."""
    rows = connection.execute(
        "select step, request::text, response::text, error from wake.run_step where run = %s", (run.id,)
    ).fetchall()
    return {
        name: Step(name, request and json_text.load(request), response and json_text.load(response), error)
        for name, request, response, error in rows
    }


def store_step(connection: Connection, run: Run, step: Step) -> None:
    """Store a step, and on the run what it took."""
    fence(
        connection,
        run,
        "tokens_in = tokens_in + %s, tokens_out = tokens_out + %s, cost = cost + %s, model_ms = model_ms + %s,"
        " model = coalesce(%s, model)",
        (step.tokens_in, step.tokens_out, step.cost, step.ms if step.model else 0.0, step.model),
    )
    connection.execute(
        "insert into wake.run_step (run, step, request, response, error, tokens_in, tokens_out, ms)"
        " values (%s, %s, %s::jsonb, %s::jsonb, %s, %s, %s, %s) on conflict do nothing",
        (
            *(run.id, step.name, json_text.storable(step.request), json_text.storable(step.response), step.error),
            *(step.tokens_in, step.tokens_out, step.ms),
        ),
    )


def decide(connection: Connection, run: Run, decision: dict[str, Any], digest: str) -> None:
    """The model has decided; the run is over when its actions are."""
    assignments = "decision = %s::jsonb, config_digest = %s, error = null, lease_by = null, lease_until = null"
    fence(connection, run, assignments, (json_text.storable(decision), digest))
    _activation_done(connection, run)


def fail(connection: Connection, run: Run, reason: str) -> None:
    """Trying again is no use."""
    _end(connection, run, "failed", reason)
    _activation_done(connection, run)


def park(connection: Connection, run: Run, reason: str) -> None:
    """It was tried as often as allowed; a person may say to try again."""
    _end(connection, run, "parked", reason)


def retry_later(connection: Connection, run: Run, reason: str, delay: float) -> None:
    """Try again after `delay` seconds, from the stored steps on."""
    fence(
        connection,
        run,
        "state = 'pending', error = %s, run_at = now() + make_interval(secs => %s),"
        " rank = greatest(rank, now() + make_interval(secs => %s)), lease_by = null, lease_until = null",
        (reason, delay, delay),
    )


def settle(connection: Connection, run_id: str) -> None:
    """Move a decided run to `waiting` or `succeeded`, as its actions are now."""
    row = connection.execute("select state, lease_by from wake.run where id = %s for update", (run_id,)).fetchone()
    if row is None or (row[0] == "running" and row[1] is not None):
        return
    if row[0] == "running":
        found = {state for (state,) in connection.execute("select state from wake.action where run = %s", (run_id,))}
        if found.isdisjoint(OPEN_QUESTIONS) and not found <= states.ACTION_FINAL:
            return
        connection.execute("update wake.run set state = 'waiting' where id = %s", (run_id,))
    settling.settle_run(connection, run_id)


def fence(connection: Connection, run: Run, assignments: LiteralString, values: tuple[object, ...]) -> None:
    """Change the run while this claim stands; raises `LeaseLostError` when it does not."""
    done = connection.execute(
        f"update wake.run set {assignments} where id = %s and state = 'running' and lease_by = %s and attempts = %s",  # noqa: S608
        (*values, run.id, run.lease.by, run.lease.attempt),
    )
    if done.rowcount == 0:
        raise LeaseLostError(f"run {run.id} is not this worker's any more")


def _end(connection: Connection, run: Run, state: states.RunState, reason: str) -> None:
    assignments = "state = %s, error = %s, finished_at = clock_timestamp(), lease_by = null, lease_until = null"
    fence(connection, run, assignments, (state, reason))


def _activation_done(connection: Connection, run: Run) -> None:
    connection.execute(
        "update wake.activation set state = 'done' where (id = %s or batch = %s) and state = 'open'",
        (run.activation, run.id),
    )
