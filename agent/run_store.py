"""Runs in the ledger: their steps, and how they end. Every write is fenced by the claim."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any, LiteralString, NewType

import msgspec

from agent import budgets, json_text, model_limits
from agent.budgets import Charge
from agent.database import Connection, Cursor
from agent.leases import LEASE, Lease, LeaseLostError
from agent.model_limits import Permit
from wakestream import settling, states
from wakestream.events import ContextEvent

RunId = NewType("RunId", str)

OPEN_QUESTIONS = ("awaiting_approval", "unknown")
"""Actions for which a run waits."""

ALIKE = 1000
"""How many runs are put off at once."""

NEWCOMER = timedelta(milliseconds=50)
"""How long after a window's begin a run is tried that has only just come: after those that have waited before."""


class Again(msgspec.Struct, frozen=True):
    """Why a run decides what was decided before."""

    by: str
    """The action that was stale."""
    first: str
    """The run that decided first."""
    number: int
    """How often it is decided again with this."""
    runs: tuple[str, ...]
    """All that decided before."""
    differences: tuple[str, ...]
    """What had changed, in words; strangers may have written the values."""
    wal: int | None = None
    """Where in the source's log that is; null where the context store had told it."""


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
    program: str | None = None
    """The digest of the program that it began with."""
    admitted: bool = False
    """Its budgets have counted it."""
    let_go: bool = False
    """A person said that it may go on although a budget is spent."""
    together: tuple[ContextEvent, ...] = ()
    """Of a batch, every event, in the order of their commits; `event` is the first one. See `together`."""
    batch: str | None = None
    """Which batch's events it answers to."""
    waited: bool = False
    """It was put off before."""
    charges: tuple[Charge, ...] = ()
    """The budgets that count it."""
    handed: dict[str, Any] | None = None
    """What the agent that handed over said, and on which grounds."""
    again: Again | None = None
    """Its events are looked up anew before they are decided on."""

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
    permit: Permit = Permit()
    """What the call held."""


_HELD: LiteralString = """
with held as (
    update wake.run set tokens_in = tokens_in + %(tokens_in)s, tokens_out = tokens_out + %(tokens_out)s,
        cost = cost + %(cost)s, model_ms = model_ms + %(model_ms)s, model = coalesce(%(model)s, model),
        config_digest = coalesce(%(program)s, config_digest), calling = null
"""
_FENCED: LiteralString = """
    where id = %(run)s and state = 'running' and lease_by = %(by)s and attempts = %(attempt)s returning id
), stored as (
    insert into wake.run_step (run, step, request, response, error, tokens_in, tokens_out, ms)
    select id, %(step)s, %(request)s::jsonb, %(response)s::jsonb, %(error)s, %(tokens_in)s, %(tokens_out)s, %(ms)s
    from held where %(step)s::text is not null on conflict do nothing
)
"""
STORE_STEP: LiteralString = _HELD + _FENCED + "select id from held"  # noqa: S608
_DECIDED: LiteralString = """
        , decision = %(decision)s::jsonb, error = null, lease_by = null, lease_until = null,
        state = case when %(over)s then 'succeeded' else state end,
        finished_at = case when %(over)s then clock_timestamp() else finished_at end
"""
_DONE: LiteralString = """
, done as (
    update wake.activation a set state = 'done' from held
    where (a.id = %(activation)s or a.batch = held.id) and a.state = 'open'
)
select id from held
"""
DECIDE: LiteralString = _HELD + _DECIDED + _FENCED + _DONE


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
    """Store a step, and on the run and its budgets what it took."""
    require_held(run, send_step(connection, run, step))
    spend(connection, run, step)


def send_step(connection: Connection, run: Run, step: Step) -> Cursor:
    """Store a step, without counting what it took (`spend`); give the answer to `require_held`.

    Where the claim is lost, nothing is stored.
    """
    return connection.execute(STORE_STEP, _held(run, step))


def require_held(run: Run, answer: Cursor) -> None:
    """Raises `LeaseLostError` when the claim was lost before what this is the answer to."""
    if answer.fetchone() is None:
        raise _lost(run)


def _held(run: Run, step: Step | None) -> dict[str, Any]:
    name, step = (step.name, step) if step is not None else (None, Step(""))
    return {
        **{"run": run.id, "by": run.lease.by, "attempt": run.lease.attempt, "program": run.program},
        **{"step": name, "error": step.error, "model": step.model, "ms": step.ms, "cost": step.cost},
        **{"request": json_text.storable(step.request), "response": json_text.storable(step.response)},
        **{"tokens_in": step.tokens_in, "tokens_out": step.tokens_out},
        "model_ms": step.ms if step.model else 0.0,
    }


def spends(run: Run, step: Step) -> bool:
    """Whether a step's answer took anything that is counted, or had a place."""
    return bool(step.permit.place or run.charges or step.permit.charges)


def spend(connection: Connection, run: Run, step: Step) -> None:
    """Count what a step's answer took, and give its place to another."""
    if step.permit.place:
        model_limits.leave(connection, step.permit.place)
    budgets.add(connection, run.charges + step.permit.charges, step.tokens_in + step.tokens_out, step.cost)


def extend(connection: Connection, run: Run) -> None:
    """Hold the run for another while."""
    fence(connection, run, "lease_until = clock_timestamp() + make_interval(secs => %s)", (LEASE,))


def give_place(connection: Connection, run: Run, permit: Permit) -> None:
    """The call came to nothing: its place is another's, and the run may ask elsewhere."""
    if permit.place:
        fence(connection, run, "calling = null", ())
        model_limits.leave(connection, permit.place)


def decide(connection: Connection, run: Run, decision: dict[str, Any], answered: Step | None, *, over: bool) -> Cursor:
    """The model has decided; the run is over when its actions are, or at once. Give the answer to `require_held`.

    `answered` is the step in which it did so, where that is not stored yet; what it spent is not counted by this.
    """
    said = {"activation": run.activation, "decision": json_text.storable(decision), "over": over}
    return connection.execute(DECIDE, {**_held(run, answered), **said})


def fail(connection: Connection, run: Run, reason: str) -> None:
    """Trying again is no use."""
    _end(connection, run, "failed", reason)
    _activation_done(connection, run)


def park(connection: Connection, run: Run, reason: str, *, waits_for: str | None = None) -> None:
    """It was tried as often as allowed, or waits for a budget: a person may say to try again."""
    assignments = (
        "state = 'parked', error = %s, budget = %s, finished_at = clock_timestamp(),"
        " lease_by = null, lease_until = null"
    )
    fence(connection, run, assignments, (reason, waits_for))


def cancel(connection: Connection, run: Run, reason: str) -> None:
    """It is not to be; its activation says why."""
    _end(connection, run, "cancelled", reason)
    connection.execute(
        "update wake.activation set state = 'done', reason = %s where id = %s and state = 'open'",
        (reason, run.activation),
    )


def admitted(connection: Connection, run: Run) -> None:
    """Its budgets have counted it."""
    fence(connection, run, "admitted_at = clock_timestamp()", ())


def put_off(connection: Connection, run: Run, reason: str, *, until: datetime, waits_for: str) -> None:
    """Not now, which is no fault of the run's: the attempt does not count."""
    fence(
        connection,
        run,
        "state = 'pending', error = %s, run_at = %s, budget = %s, attempts = greatest(attempts - 1, 0),"
        " started_at = case when admitted_at is not null then started_at end, lease_by = null, lease_until = null",
        (reason, until if run.waited else until + NEWCOMER, waits_for),
    )


def put_off_alike(connection: Connection, reason: str, *, until: datetime, waits_for: str) -> None:
    """Put off others that wait for the same, in their order and without claiming each of them."""
    connection.execute(
        "with found as ("
        " select id, run_at, created_at from wake.run where state = 'pending' and budget = %(key)s and run_at <= now()"
        " order by run_at for update skip locked limit %(many)s),"
        " turn as (select id, row_number() over (order by run_at, created_at) as number from found)"
        " update wake.run r set error = %(reason)s, run_at = %(until)s + turn.number * interval '1 microsecond'"
        " from turn where r.id = turn.id",
        {"key": waits_for, "many": ALIKE, "reason": reason, "until": until},
    )


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
        f"update wake.run set {assignments}"  # noqa: S608
        " where id = %s and state = 'running' and lease_by = %s and attempts = %s returning id",
        (*values, run.id, run.lease.by, run.lease.attempt),
    )
    if done.fetchone() is None:
        raise _lost(run)


def _lost(run: Run) -> LeaseLostError:
    return LeaseLostError(f"run {run.id} is not this worker's any more")


def _end(connection: Connection, run: Run, state: states.RunState, reason: str) -> None:
    assignments = "state = %s, error = %s, finished_at = clock_timestamp(), lease_by = null, lease_until = null"
    fence(connection, run, assignments, (state, reason))


def _activation_done(connection: Connection, run: Run) -> None:
    connection.execute(
        "update wake.activation set state = 'done' where (id = %s or batch = %s) and state = 'open'",
        (run.activation, run.id),
    )
