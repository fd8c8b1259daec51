"""Who may approve an action, and how many people it takes; each counts once."""

from __future__ import annotations

from typing import NamedTuple

from sqlalchemy import select
from sqlalchemy.orm import Session

from console import records
from wakestream import approvals
from wakestream.errors import RefusedError
from wakestream.ledger.models import Action, Approval, Operator


class Given(NamedTuple):
    """Where an action stands after one more approval."""

    names: str
    """Of everybody who has approved it, in their order."""
    waits: str | None
    """For what it still waits; None when it is approved."""


def check(session: Session, action: Action, who: Operator) -> None:
    """Raise `RefusedError` where this person may not approve this action, or has done so."""
    check_name(action, who)
    before = session.get(Approval, (action.id, who.name))
    if before is not None:
        raise RefusedError(
            f"action `{action.id}` has your approval since {records.moment(before.at)}; it waits for somebody else's"
        )


def check_name(action: Action, who: Operator) -> None:
    """Raise `RefusedError` where the action's policy names people and this is none of them."""
    names = approvals.of_document(action.policy).approvers
    if names and who.name not in names:
        raise RefusedError(f"action `{action.id}` may be approved by {', '.join(names)}; you are {who.name}")


def give(session: Session, action: Action, who: Operator, reason: str | None) -> Given:
    """Note one person's approval; the action's row is locked by whoever calls this."""
    session.add(Approval(action=action.id, who=who.name, reason=reason))
    session.flush()
    names = list(session.scalars(select(Approval.who).where(Approval.action == action.id).order_by(Approval.at)))
    told, wanted = ", ".join(names), approvals.of_document(action.policy).count
    waits = f"approved by {told}: {len(names)} of {wanted}" if len(names) < wanted else None
    return Given(told, waits)
