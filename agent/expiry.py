"""Actions for which nobody has decided in time: rejected, escalated, or executed, as their policy says."""

from __future__ import annotations

from typing import NamedTuple

import msgspec

from agent import json_text, notices, run_store
from agent.database import Connection
from wakestream import approvals
from wakestream.approvals import Policy

BATCH = 100
WHO = "wakestream"


class Expired(NamedTuple):
    """What became of one action."""

    id: str
    what: str


def expire(connection: Connection) -> list[Expired]:
    """Decide on every action whose time is over; each is decided once, whoever makes the round."""
    rows = connection.execute(
        "select id, run, policy::text from wake.action where state = 'awaiting_approval'"
        " and expires_at <= clock_timestamp() order by expires_at for update skip locked limit %s",
        (BATCH,),
    ).fetchall()
    found: list[Expired] = []
    for action, run, text in rows:
        policy = approvals.of_document(text and json_text.load(text))
        found.append(Expired(action, _decide(connection, action, policy)))
        run_store.settle(connection, run)
    if rows:
        connection.execute("select pg_notify('wake_action', '')")
    return found


def _decide(connection: Connection, action: str, policy: Policy) -> str:
    late = f"nobody decided within {policy.expires_s or 0:g} s"
    match policy.on_expiry:
        case "reject":
            connection.execute(
                "update wake.action set state = 'expired', reason = %s, expires_at = null where id = %s", (late, action)
            )
        case "execute":
            connection.execute(
                "update wake.action set state = 'approved', reason = %s, expires_at = null,"
                " run_at = clock_timestamp() where id = %s",
                (f"{late}: on_expiry: execute", action),
            )
        case "escalate":
            _escalate(connection, action, policy, late)
    connection.execute(
        "insert into wake.audit (who, what, ids, reason) values (%s, %s, %s, %s)",
        (WHO, f"action.{policy.on_expiry}", [action], late),
    )
    return policy.on_expiry


def _escalate(connection: Connection, action: str, policy: Policy, late: str) -> None:
    """From now on only those may approve it; what others approved before does not count."""
    after = msgspec.structs.replace(policy, approvers=policy.escalate_to, on_expiry="reject", expires_s=None)
    told = f"{late}: it waits for {', '.join(policy.escalate_to)}"
    connection.execute("delete from wake.approval where action = %s", (action,))
    connection.execute(
        "update wake.action set policy = %s::jsonb, expires_at = null, reason = %s where id = %s",
        (json_text.storable(after), told, action),
    )
    notices.tell(connection, "escalated", action, told)
