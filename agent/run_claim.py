"""Whose turn it is: claims a run, and reads all that it answers to."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any, LiteralString, NamedTuple

import msgspec

from agent import json_text
from agent.bell import Bell
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
    and rank >= %(since)s::timestamptz
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
    a.handed::text, a.again::text, r.rank,
    old.budget is not null or exists (select from wake.run n where n.rank >= r.rank and n.id <> r.id
        and ((n.state = 'pending' and n.budget is null and n.run_at <= now())
            or (n.state = 'running' and n.lease_until < now())))
"""
"""What has waited for a budget or a model comes first: its turn was before. Nothing, where `by` took an action."""

BEGINNING = "-infinity"
ANEW = 1.0  # seconds after which a process looks from the beginning again


class Since(NamedTuple):
    """The rank that a claim looks from, and what had been told by then."""

    rank: datetime | str
    news: int


class ClaimingRun(NamedTuple):
    """A claim of a run that is asked for."""

    asked: Claiming
    since: Since

    @property
    def from_beginning(self) -> bool:
        """Whether it looks at everything that is due."""
        return self.since.rank == BEGINNING


class Turn:
    """Whose turn it is, and how far the runs are claimed as this process knows it.

    Until it is vacuumed, the index of what is to be done holds what is done: a claim that began at its beginning would
    walk through all of it. Whatever may come before the last claim, such as a new run with a higher priority, is told
    by the bell; for what is not, such as a lease that has run out, a claim looks from the beginning once a second.
    """

    def __init__(self, bell: Bell, clock: Callable[[], float] = time.monotonic) -> None:
        self._bell = bell
        self._clock = clock
        self._since = Since(BEGINNING, -1)
        self._until = 0.0

    def claim(self, connection: Connection, by: str) -> ClaimingRun:
        """Take a pending run, or one whose worker let its lease run out: `claimed` says which.

        None where the same claim took an action before, in the same transaction.
        """
        news = self._bell.news  # before the look: what is told during it counts for the next one
        is_known = self._since.news == news and self._clock() < self._until
        since = self._since if is_known else Since(BEGINNING, news)
        until = time.monotonic() + LEASE
        answer = connection.execute(CLAIM, {"by": by, "lease": LEASE, "since": since.rank})
        return ClaimingRun(Claiming(by, until, answer), since)

    def claimed(self, claiming: ClaimingRun) -> Run | None:
        """What was taken, if anything; once the transaction is committed it is held. Rings where another may be due."""
        row = claiming.asked.answer.fetchone()
        if row is None:
            self._until = 0.0
            return None
        if claiming.from_beginning:
            self._until = self._clock() + ANEW
        *told, rank, is_more = row
        self._since = Since(rank, claiming.since.news)
        if is_more:
            self._bell.ring()
        return _run(claiming.asked, told)


def _run(claiming: Claiming, row: Sequence[Any]) -> Run:
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
