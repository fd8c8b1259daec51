"""Whose turn it is: claims a run, and reads all that it answers to."""

from __future__ import annotations

import time
from typing import LiteralString

import msgspec

from agent import json_text
from agent.database import Connection
from agent.leases import LEASE, Claiming, Lease
from agent.run_store import Again, Run, RunId

CLAIM: LiteralString = """
with waited as (
    select id from wake.run where state = 'pending' and budget is not null and run_at <= now()
    and not exists (select from wake.action where state = 'executing' and lease_by = %(by)s)
    and not exists (select from wake.paused_trigger p where p.trigger = run.trigger)
    order by run_at for update skip locked limit 1
), next as (
    select id from wake.run where not exists (select from waited)
    and not exists (select from wake.action where state = 'executing' and lease_by = %(by)s)
    and ((state = 'pending' and budget is null and run_at <= now()
        and not exists (select from wake.paused_trigger p where p.trigger = run.trigger))
        or (state = 'running' and lease_until < now()))
    order by rank for update skip locked limit 1
), found as (select id from waited union all select id from next)
update wake.run r set state = 'running', attempts = attempts + 1, lease_by = %(by)s, budget = null, calling = null,
    lease_until = now() + make_interval(secs => %(lease)s), started_at = coalesce(started_at, clock_timestamp())
from found, wake.activation a where r.id = found.id and a.id = r.activation
returning r.id, r.activation, r.agent, r.trigger, a.source, a.depth, a.event::text, r.attempts,
    exists (select from wake.run_step s where s.run = r.id and s.step not like '%%/%%'),
    r.config_digest, r.admitted_at is not null, r.let_go_by is not null, old.budget is not null, a.batch,
    a.handed::text, a.again::text
"""
"""What has waited for a budget or a model comes first: its turn was before. Nothing, where `by` took an action."""


def claim(connection: Connection, by: str) -> Claiming:
    """Take the run whose turn it is: a pending one, or one whose worker let its lease run out. `claimed` says which.

    None where the same claim took an action before, in the same transaction.
    """
    until = time.monotonic() + LEASE
    return Claiming(by, until, connection.execute(CLAIM, {"by": by, "lease": LEASE}))


def claimed(claiming: Claiming) -> Run | None:
    """What was taken, if anything; once the transaction is committed it is held."""
    row = claiming.answer.fetchone()
    if row is None:
        return None
    run, activation, agent, trigger, source, depth, event, attempts, begun, *rest, batch, handed, again = row
    program, admitted, let_go, waited = rest
    lease, first = Lease(claiming.by, attempts, claiming.until), json_text.load_event(event)
    origin = (RunId(run), activation, agent, trigger, source, depth, first, lease, begun)
    made = Run(*origin, program=program, admitted=admitted, let_go=let_go, waited=waited)
    return msgspec.structs.replace(
        made,
        batch=batch if batch is not None and (batch == run or handed or again) else None,
        handed=json_text.load(handed) if handed else None,
        again=msgspec.convert(json_text.load(again), Again) if again else None,
    )


def together(connection: Connection, run: Run) -> Run:
    """A batch's run with all of its events."""
    rows = connection.execute(
        "select event::text from wake.activation where batch = %s and opened_at is not null order by committed_at, id",
        (run.batch,),
    ).fetchall()
    return msgspec.structs.replace(run, together=tuple(json_text.load_event(event) for (event,) in rows))
