"""A person changes what an action that waits has chosen or says: it is proposed anew, and waits for approval again."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sqlalchemy import delete
from sqlalchemy.orm import Session

from agent import editing
from agent.action_store import Proposed
from console import sessions, undoing
from wakestream import approvals, fences, program_keeping
from wakestream.config import Config
from wakestream.errors import EventError, RefusedError
from wakestream.ledger.models import Action, Approval
from wakestream.program import Program


def edit(session: Session, action: Action, config: Config, changes: Mapping[str, Any], by: str) -> str:
    """Put the changed proposal in the place of the one before; returns what policy says of it.

    Approvals that were given were of something else and count no longer. Raises `RefusedError`.
    """
    if action.id.endswith(undoing.SUFFIX):
        raise RefusedError(f"action `{action.id}` takes another back: what it writes is what was there before")
    if not changes:
        raise RefusedError("say what is to be changed: --set NAME=VALUE")
    driver = sessions.driver(session)
    origin = editing.origin(driver, action.run)
    program = _program(session, config, origin.program)
    saw = list(approvals.of_document(action.policy).untrusted)
    waiting = editing.Waiting(action.name, action.chosen, action.arguments, saw)
    made = editing.edited(program, origin, waiting, changes)
    _replace(action, made, by)
    session.execute(delete(Approval).where(Approval.action == action.id))
    return f"edited by {by}; {made.reason}"


def _program(session: Session, config: Config, digest: str | None) -> Program:
    try:
        found = program_keeping.load(sessions.driver(session), digest, config) if digest else None
    except EventError as error:
        raise RefusedError(f"the action cannot be proposed anew: {error}") from error
    if found is None:
        raise RefusedError("the program under which the action was proposed is not kept any more; reject it instead")
    return found


def _replace(action: Action, made: Proposed, by: str) -> None:
    former = {"arguments": action.arguments, "chosen": action.chosen, "by": action.edited_by or "the model"}
    action.edits = [*(action.edits or []), former]
    action.edited_by = by
    action.bound, action.chosen, action.arguments = made.bound, made.chosen, made.arguments
    action.effect, action.approval = made.effect, made.approval
    action.fence = None if made.fence is None else fences.to_document(made.fence)
    action.reason = f"edited by {by}: {made.reason}"
