"""What a proposed action's decision rested on, beside the context store as it is now."""

from __future__ import annotations

from sqlalchemy.orm import Session

from agent import own_changes
from console import sessions, views
from wakestream import fences
from wakestream.fences import Fence, Present
from wakestream.ledger.models import Action

NOTHING = Present((), (), False, ())


def present(session: Session, action: Action) -> tuple[Fence | None, Present]:
    """An action's fence and what the store says of it."""
    fence = fences.of_document(action.fence)
    if fence is None:
        return None, NOTHING
    fence = own_changes.accepted(sessions.driver(session), action.id, fence)
    return fence, fences.compare_with_store(sessions.driver(session), fence)


def accept_present(session: Session, action: Action) -> str | None:
    """What the store shows now counts as what the decision rested on; returns what that changes, in words."""
    fence, now = present(session, action)
    if fence is None or not now.differences:
        return None
    action.fence = fences.to_document(fences.accepting(fence, now.images))
    return f"although changed since: {'; '.join(now.differences)}"


def shown(session: Session, action: Action) -> views.FenceView | None:
    """The fence for people. What the rows have become counts for what is still to happen, and beside a shadow."""
    fence, now = present(session, action)
    if fence is None:
        return None
    over = action.state not in ("proposed", "awaiting_approval", "approved", "shadowed")
    return views.FenceView(
        state="over" if over else "behind" if now.behind else "changed" if now.differences else "holds",
        source=fence.source,
        log=fence.log,
        offset=fence.offset,
        on_stale=fence.on_stale,
        rows={row.subject: row.values for row in fence.rows},
        differences=[] if over else list(now.differences),
        untold=[*fence.without, *now.untold],
    )
