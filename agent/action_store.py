"""Actions in the ledger: proposing, claiming, intents, and how they end. Every write is fenced by the claim."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any, LiteralString, NamedTuple, assert_never

import msgspec

from agent import deciding_again, json_text, run_store
from agent.database import Connection
from agent.effects.outcome import MOVED, Again, Failed, Outcome, Pending, Stale, Succeeded, Unknown
from agent.leases import LEASE, Claiming, Lease, LeaseLostError
from wakestream import fences, states
from wakestream.approvals import Policy
from wakestream.events import Cause
from wakestream.fences import Fence, Move

ATTEMPTS = 20
"""How often an effect is tried before it fails; about two hours with the longest pauses."""


class Proposed(msgspec.Struct, frozen=True):
    """An action that a decision leads to, with its policy's ruling."""

    number: int
    name: str
    kind: str
    state: states.ActionState
    bound: dict[str, Any]
    chosen: dict[str, Any]
    arguments: dict[str, Any]
    effect: dict[str, Any]
    approval: str
    reason: str
    fence: Fence | None = None
    policy: Policy | None = None


class Claimed(NamedTuple):
    """An action that this worker holds."""

    pending: Pending
    kind: str
    run: str
    attempts: int
    lease: Lease
    interrupted: bool
    """An earlier attempt was cut short after it recorded its intent."""
    broken: str | None
    """An earlier action of the same decision that did not come about."""

    def log_context(self) -> dict[str, Any]:
        """For `extra` of a log line."""
        return {"id": self.pending.id, "name": self.pending.name, "kind": self.kind, "attempt": self.attempts}


def propose(connection: Connection, run: run_store.Run, actions: list[Proposed]) -> None:
    """Write the actions of a decision."""
    for each in actions:
        connection.execute(
            "insert into wake.action"
            " (id, run, number, name, kind, state, bound, chosen, arguments, effect, fence, policy,"
            " reason, approval, depth, expires_at)"
            " values (%s, %s, %s, %s, %s, %s, %s::jsonb, %s::jsonb, %s::jsonb, %s::jsonb, %s::jsonb, %s::jsonb,"
            " %s, %s, %s, clock_timestamp() + make_interval(secs => %s))"
            " on conflict do nothing",
            (
                *(f"{run.id}/{each.number}", run.id, each.number, each.name, each.kind, each.state),
                *map(json_text.storable, (each.bound, each.chosen, each.arguments, each.effect)),
                *map(json_text.storable, (each.fence, each.policy)),
                *(each.reason, each.approval, run.depth + 1),
                each.policy.expires_s if each.policy and each.state == "awaiting_approval" else None,
            ),
        )
    if any(each.state == "approved" for each in actions):
        connection.execute("select pg_notify('wake_action', '')")


def claim(connection: Connection, by: str) -> Claiming:
    """Take an approved action whose turn it is, or one whose worker let its lease run out: `claimed` says which.

    The actions of a run happen in the order of its decision: each waits until those before it are final.
    """
    until = time.monotonic() + LEASE
    answer = connection.execute(
        "with found as ("
        " select a.id, a.state from wake.action a where"
        " ((a.state = 'approved' and a.run_at <= now()) or (a.state = 'executing' and a.lease_until < now()))"
        " and not exists (select 1 from wake.action e"
        " where e.run = a.run and e.number < a.number and e.state <> all(%s))"
        " order by a.run_at for update of a skip locked limit 1)"
        " update wake.action a set state = 'executing', attempts = a.attempts + 1, lease_by = %s,"
        " lease_until = now() + make_interval(secs => %s),"
        " intent = case when found.state = 'executing' then a.intent end"
        " from found, wake.run r where a.id = found.id and r.id = a.run"
        " returning a.id, a.name, a.effect::text, a.intent::text, a.kind, a.run, a.attempts, a.depth,"
        " r.trigger, array(select o.subject from wake.activation o where o.id = r.activation or o.batch = r.id"
        " or o.batch = (select h.batch from wake.activation h where h.id = r.activation"
        " and (h.handed is not null or h.again is not null)) order by o.committed_at, o.id),"
        " a.fence::text, array(select e.fence::text from wake.action e where e.run = a.run and e.number > a.number"
        " and e.fence is not null and e.state = any(%s)),"
        " case when a.decided_by is null then (select e.name || ' ' || e.state from wake.action e"
        " where e.run = a.run and e.number < a.number and e.state <> 'succeeded' order by e.number limit 1) end",
        (sorted(states.ACTION_FINAL), by, LEASE, sorted(states.ACTION_TO_COME)),
    )
    return Claiming(by, until, answer)


def claimed(claiming: Claiming) -> Claimed | None:
    """What was taken, if anything; once the transaction is committed it is held."""
    row = claiming.answer.fetchone()
    if row is None:
        return None
    action, name, effect, intent, kind, run, attempts, depth, trigger, subjects, fence, later, broken = row
    cause = Cause(action, run, trigger, tuple(subjects), depth)
    pending = Pending(
        *(action, name, json_text.load(effect), cause, intent and json_text.load(intent)),
        fence=fences.load(fence) if fence else None,
        later=tuple(fences.load(text) for text in later),
    )
    return Claimed(
        pending, kind, run, attempts, Lease(claiming.by, attempts, claiming.until), intent is not None, broken
    )


def extend(connection: Connection, action: Claimed) -> None:
    """Hold the action for another while."""
    _fence(connection, action, "lease_until = clock_timestamp() + make_interval(secs => %s)", (LEASE,))


def record_intent(connection: Connection, action: Claimed, intent: dict[str, Any]) -> None:
    """Say durably what is about to happen."""
    _fence(connection, action, "intent = %s::jsonb", (json_text.storable(intent),))


def finish(connection: Connection, action: Claimed, outcome: Outcome, delay: float) -> states.ActionState:
    """Write what became of an action; returns its state. `delay` is the pause before another attempt."""
    match outcome:
        case Succeeded(result, also):
            _end(connection, action, "succeeded", None, result)
            if also is not None:
                also(connection)
            rebase(connection, action.pending.id)
            return "succeeded"
        case Stale(differences, wal):
            end_stale(connection, action, differences, wal)
            return "stale"
        case Failed(reason, result):
            _end(connection, action, "failed", reason, result)
            return "failed"
        case Unknown(reason):
            _end(connection, action, "unknown", reason, None)
            return "unknown"
        case Again(reason) if action.attempts >= ATTEMPTS:
            _end(connection, action, "failed", f"tried {action.attempts} times: {reason}", None)
            return "failed"
        case Again(reason, after):
            assignments = (
                "state = 'approved', reason = %s, intent = null, lease_by = null, lease_until = null,"
                " run_at = now() + make_interval(secs => %s)"
            )
            _fence(connection, action, assignments, (reason, delay if after is None else max(after, 0.1)))
            return "approved"
        case _:
            assert_never(outcome)


def end_stale(connection: Connection, action: Claimed, differences: Sequence[str], wal: int | None) -> None:
    """What its decision rested on has changed: it must not happen, and may be decided again."""
    told, fence = list(differences), action.pending.fence
    if fence is not None and fence.on_stale == "decide_again":
        told.append(deciding_again.begin(connection, action.pending.id, differences, wal))
    turn_stale(connection, action, "; ".join(told), {"differences": list(differences)})


def turn_stale(connection: Connection, action: Claimed, reason: str, result: dict[str, Any] | None = None) -> None:
    """It must not happen any more."""
    _end(connection, action, "stale", reason, result)


def overtake(connection: Connection, action_id: str, told: Sequence[str], differences: Sequence[str]) -> None:
    """One that waited for a person is stale; the caller holds its row."""
    connection.execute(
        "update wake.action set state = 'stale', reason = %s, result = %s::jsonb, expires_at = null,"
        " executed_at = clock_timestamp() where id = %s",
        ("; ".join(told), json_text.storable({"differences": list(differences)}), action_id),
    )


def rebase(connection: Connection, action_id: str) -> None:
    """What an action's own transaction made of rows that later ones of its run rest on counts for these as well."""
    row = connection.execute(
        "select run, number, (intent -> %s)::text from wake.action where id = %s", (MOVED, action_id)
    ).fetchone()
    moved = json_text.load(row[2]) if row and row[2] else None
    if row is None or not moved:
        return
    following = connection.execute(
        "select id, fence::text from wake.action where run = %s and number > %s and fence is not null"
        " and state = any(%s) order by number for update",
        (row[0], row[1], sorted(states.ACTION_TO_COME)),
    ).fetchall()
    for later, text in following:
        fence = fences.after_own(fences.load(text), (Move(*each) for each in moved))
        connection.execute("update wake.action set fence = %s::jsonb where id = %s", (json_text.storable(fence), later))


def settle_later(connection: Connection, action: Claimed, reason: str, delay: float) -> None:
    """What became of an interrupted attempt cannot be found out now; look again after `delay` seconds."""
    assignments = "reason = %s, lease_by = null, lease_until = now() + make_interval(secs => %s)"
    _fence(connection, action, assignments, (reason, delay))


def settle_or_give_up(connection: Connection, action: Claimed, reason: str, delay: float) -> None:
    """It met a fault of ours: look again later, as often as allowed, then leave it to a person.

    What never said that it would begin has surely not begun; of anything else nobody knows.
    """
    if action.attempts < ATTEMPTS:
        settle_later(connection, action, reason, delay)
        return
    row = connection.execute("select intent is null from wake.action where id = %s", (action.pending.id,)).fetchone()
    _end(connection, action, "failed" if row and row[0] else "unknown", reason, None)


def has_receipt(connection: Connection, action_id: str) -> bool:
    """Whether the action's mark was seen in the change log."""
    return connection.execute("select 1 from wake.receipt where action = %s", (action_id,)).fetchone() is not None


def settle_by_receipts(connection: Connection) -> list[str]:
    """Unknown actions whose mark has been seen have succeeded; returns their ids."""
    rows = connection.execute(
        "update wake.action a set state = 'succeeded', reason = 'its mark was seen in the change log',"
        " executed_at = r.committed_at, result = coalesce(a.result, '{}') || '{\"settled\": \"by its mark\"}'"
        " from wake.receipt r where r.action = a.id and a.state = 'unknown' returning a.id, a.run"
    ).fetchall()
    for run in sorted({row[1] for row in rows}):
        run_store.settle(connection, run)
    for action, _ in rows:
        rebase(connection, action)
    return [row[0] for row in rows]


def _end(
    connection: Connection,
    action: Claimed,
    state: states.ActionState,
    reason: str | None,
    result: dict[str, Any] | None,
) -> None:
    _fence(
        connection,
        action,
        "state = %s, reason = %s, result = %s::jsonb, executed_at = clock_timestamp(),"
        " lease_by = null, lease_until = null",
        (state, reason, json_text.storable(result)),
    )
    run_store.settle(connection, action.run)
    connection.execute("select pg_notify('wake_action', '')")  # the next one of the run may go on


def _fence(connection: Connection, action: Claimed, assignments: LiteralString, values: tuple[object, ...]) -> None:
    done = connection.execute(
        f"update wake.action set {assignments}"  # noqa: S608
        " where id = %s and state = 'executing' and lease_by = %s and attempts = %s returning id",
        (*values, action.pending.id, action.lease.by, action.lease.attempt),
    )
    if done.fetchone() is None:
        raise LeaseLostError(f"action {action.pending.id} is not this worker's any more")
