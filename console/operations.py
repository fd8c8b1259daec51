"""`Operations` acts: what a person may do, each in one transaction with its audit row.

Every move is one of `wakestream.states`; one that is not allowed is refused with its reason, never ignored.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, cast

from sqlalchemy import Engine, func, select, text, update
from sqlalchemy.orm import Session

from console import approving, editing, fencing, finding, letters, operators, records, sessions, undoing, views
from console.sessions import transaction
from wakestream import settling, states
from wakestream.config import Config
from wakestream.errors import RefusedError
from wakestream.ledger.models import Action, Audit, DeadLetter, Operator, Receipt, Run, RunStep

OWNER = "holder of the ledger's URL"

Move = Callable[[Session, Action, Operator, str | None], str | None]

TWICE = "whether the effect happened the first time is unknown: it may happen twice"


class Operations:
    """What the operator with this token may do. Without a valid one, nothing."""

    def __init__(self, engine: Engine, token: str | None, config: Config | None = None) -> None:
        self._engine = engine
        self._token = token
        self._config = config
        """Says where Kafka is, which the consumer's letters need."""

    def approve(self, action_id: str, reason: str | None = None, *, although_stale: bool = False) -> views.Decided:
        """Let an action that waits for a person run; one whose decision is stale only when told so."""
        return self._on_action(action_id, "approve", reason, _approve_stale if although_stale else _approve)

    def reject(self, action_id: str, reason: str | None) -> views.Decided:
        """Keep an action from running, for a reason; its run ends when nothing else is open."""
        if not (reason or "").strip():
            raise RefusedError("a rejection needs its reason: --reason TEXT")
        return self._on_action(action_id, "reject", reason, _reject)

    def edit(self, action_id: str, changes: Mapping[str, Any], config: Config, reason: str | None) -> views.Decided:
        """Change what an action that waits for a person has chosen or says; it goes on waiting for approval."""
        if not (reason or "").strip():
            raise RefusedError("changing an action needs its reason: --reason TEXT")

        def move(session: Session, action: Action, who: Operator, _: str | None) -> str:
            if action.state != "awaiting_approval":
                raise RefusedError(_why_not(action, "edited", "only one that awaits approval can be changed"))
            approving.check_name(action, who)
            return editing.edit(session, action, config, changes, who.name)

        return self._on_action(action_id, "edit", reason, move)

    def undo(self, action_id: str, reason: str | None) -> views.Decided:
        """Take back what an SQL action did, as an action of its own; asking for it is one person's approval."""
        if not (reason or "").strip():
            raise RefusedError("taking an action back needs its reason: --reason TEXT")
        with transaction(self._engine) as session:
            who = operators.authenticate(session, self._token)
            made = undoing.undo(session, finding.by_id(session, Action, action_id, lock=True))
            approving.check_name(made, who)
            made.reason = f"asked for by {who.name}"
            session.add(made)
            session.flush()
            note = _given(session, made, who, reason)
            _record(session, who, "action.undo", action_id, reason)
            _record(session, who, "action.approve", made.id, reason)
            session.flush()
            _notify(session, "wake_action", made.id)
            return views.Decided(id=made.id, state=made.state, was="proposed", by=who.name, note=note)

    def retry_action(self, action_id: str, reason: str | None = None) -> views.Decided:
        """Try an action again whose effect failed, or is unknown."""
        return self._on_action(action_id, "retry", reason, _retry)

    def settle_action(self, action_id: str, reason: str | None, *, happened: bool) -> views.Decided:
        """Say of an action whose outcome is unknown whether it happened."""
        if not (reason or "").strip():
            raise RefusedError("settling an action needs how you know: --reason TEXT")
        return self._on_action(action_id, "settle", reason, _happened if happened else _did_not_happen)

    def retry_run(self, run_id: str, reason: str | None = None, *, step: str | None = None) -> views.Decided:
        """Start a failed or parked run again, or let one go that waits for a budget.

        A parked run goes on from what it stored. A failed one decides anew. With `step` either goes on from there. The
        steps that are asked again stay to be seen.
        """
        with transaction(self._engine) as session:
            who = operators.authenticate(session, self._token)
            run = finding.by_id(session, Run, run_id, lock=True)
            was = cast("states.RunState", run.state)
            queued = was == "pending" and run.budget is not None
            if not queued and ("pending" not in states.RUN_MOVES[was] or was == "running"):
                raise RefusedError(
                    f"run `{run_id}` is {was}; only a failed or parked one can be retried,"
                    " or one that waits for a budget"
                )
            if run.budget is not None:
                run.let_go_by, run.budget = who.name, None
            if was == "failed" or step is not None:
                _set_aside_steps(session, run_id, step)
                run.decision = None
            run.state, run.attempts, run.run_at = "pending", 0, _now(session)
            run.error = run.finished_at = run.lease_by = run.lease_until = None
            _record(session, who, "run.retry", run_id, reason)
            _notify(session, "wake_run", run_id)
            return views.Decided(id=run_id, state=run.state, was=was, by=who.name, note=None)

    def foretell_retry(self, number: int) -> str:
        """What trying a dead letter again would do now, or why it would fail; nothing is done."""
        with transaction(self._engine) as session:
            _, letter = self._open_letter(session, number)
            way = letters.way_of(letter, self._config)
            return way.failed or way.meaning

    def retry_letter(self, number: int, reason: str | None = None) -> views.Decided:
        """Try a dead letter again: have the agent evaluate its event, or the consumer bring up to date what it left.

        Raises `RefusedError` with the reason where it fails at once; the letter stays open and keeps that reason.
        """
        with transaction(self._engine) as session:
            who, letter = self._open_letter(session, number)
            way = letters.way_of(letter, self._config)
            _record(session, who, "letter.retry", f"letter/{number}", reason)
            if letter.stage == "consumer":
                letter.attempts += 1
            letter.retrying, letter.told, letter.outcome = way.wish, 0, way.outcome
            if way.failed is None:
                letter.state = "retried"
                _notify(session, "wake_letter", str(number))
        if way.failed is not None:
            raise RefusedError(f"letter {number} stays open: {way.failed}")
        return views.Decided(id=str(number), state=letter.state, was="open", by=who.name, note=way.meaning)

    def discard_letter(self, number: int, reason: str | None) -> views.Decided:
        """Close a dead letter for a reason; nothing is done about its message."""
        if not (reason or "").strip():
            raise RefusedError("discarding a dead letter needs its reason: --reason TEXT")
        with transaction(self._engine) as session:
            who, letter = self._open_letter(session, number)
            letter.state = "discarded"
            _record(session, who, "letter.discard", f"letter/{number}", reason)
            return views.Decided(id=str(number), state=letter.state, was="open", by=who.name, note=None)

    def add_operator(self, name: str) -> str:
        """Make an operator; the token is returned once. Who holds the ledger's URL needs no token for that."""
        with transaction(self._engine) as session:
            return operators.add(session, name, by=self._who(session))

    def revoke_operator(self, name: str) -> None:
        """Make an operator's token worthless."""
        with transaction(self._engine) as session:
            operators.revoke(session, name, by=self._who(session))

    def _who(self, session: Session) -> str:
        return operators.authenticate(session, self._token).name if self._token else OWNER

    def _on_action(self, action_id: str, verb: str, reason: str | None, move: Move) -> views.Decided:
        with transaction(self._engine) as session:
            who = operators.authenticate(session, self._token)
            action = finding.by_id(session, Action, action_id, lock=True)
            was = action.state
            note = move(session, action, who, reason)
            _record(session, who, f"action.{verb}", action_id, reason)
            session.flush()
            if action.state in states.ACTION_FINAL:
                settling.settle_run(sessions.driver(session), action.run)
            _notify(session, "wake_action", action_id)
            return views.Decided(id=action_id, state=action.state, was=was, by=who.name, note=note)

    def _open_letter(self, session: Session, number: int) -> tuple[Operator, DeadLetter]:
        who = operators.authenticate(session, self._token)
        letter = finding.by_id(session, DeadLetter, number, lock=True)
        if letter.state != "open":
            done = _last_deed(session, f"letter/{number}")
            raise RefusedError(f"letter {number} is {letter.state} already{done}")
        return who, letter


def _approve(session: Session, action: Action, who: Operator, reason: str | None) -> str | None:
    _must_wait(action)
    approving.check(session, action, who)
    _, present = fencing.present(session, action)
    if present.differences:
        raise RefusedError(
            f"action `{action.id}` was decided on what has changed since: {'; '.join(present.differences)}; "
            "reject it, or approve it with --although-stale"
        )
    return _given(session, action, who, reason)


def _approve_stale(session: Session, action: Action, who: Operator, reason: str | None) -> str | None:
    """The person has seen what changed: the present state counts as what the decision rests on."""
    _must_wait(action)
    approving.check(session, action, who)
    note = fencing.accept_present(session, action)
    waits = _given(session, action, who, reason)
    return "; ".join(each for each in (note, waits) if each) or None


def _must_wait(action: Action) -> None:
    if action.state != "awaiting_approval":
        raise RefusedError(_why_not(action, "approved", "only one that awaits approval can be approved"))


def _given(session: Session, action: Action, who: Operator, reason: str | None) -> str | None:
    """One more person approves; returns for whom it still waits, or None when it is approved."""
    given = approving.give(session, action, who, reason)
    if given.waits is not None:
        action.reason = given.waits
        return given.waits
    _decide(session, action, who, "approved", reason)
    action.reason, action.decided_by = f"approved by {given.names}", given.names
    return None


def _reject(session: Session, action: Action, who: Operator, reason: str | None) -> None:
    if "rejected" not in states.ACTION_MOVES[cast("states.ActionState", action.state)]:
        raise RefusedError(_why_not(action, "rejected", "it is too late to reject it"))
    _decide(session, action, who, "rejected", reason)


def _happened(session: Session, action: Action, who: Operator, reason: str | None) -> None:
    _settle(session, action, who, "succeeded", reason)


def _did_not_happen(session: Session, action: Action, who: Operator, reason: str | None) -> None:
    receipt = session.get(Receipt, action.id)
    if receipt is not None:
        raise RefusedError(
            f"action `{action.id}` took effect: its mark is in the change log at {views.lsn(receipt.commit)}"
        )
    _settle(session, action, who, "failed", reason)


def _settle(session: Session, action: Action, who: Operator, state: states.ActionState, reason: str | None) -> None:
    if action.state != "unknown":
        raise RefusedError(_why_not(action, "settled", "only one whose outcome is unknown can be settled"))
    said = "it happened" if state == "succeeded" else "it did not happen"
    action.state, action.reason = state, f"{said}, says {who.name}: {reason}"
    action.executed_at = action.executed_at or _now(session)
    action.result = {**(action.result or {}), "settled": f"by {who.name}"}
    action.lease_by = action.lease_until = None


def _retry(session: Session, action: Action, who: Operator, _: str | None) -> str | None:
    if action.state not in ("failed", "unknown"):
        raise RefusedError(f"action `{action.id}` is {action.state}; only a failed or unknown one can be retried")
    approving.check_name(action, who)
    receipt = session.get(Receipt, action.id)
    if receipt is not None:
        raise RefusedError(
            f"action `{action.id}` took effect: its mark is in the change log at {views.lsn(receipt.commit)}, "
            f"committed on {records.moment(receipt.committed_at)}; retrying would do it twice"
        )
    note = TWICE if action.state == "unknown" else None
    action.state, action.attempts, action.run_at = "approved", 0, _now(session)
    action.reason = f"retried by {who.name}"
    # What an earlier attempt intended must not settle the new one.
    action.intent = action.lease_by = action.lease_until = None
    return note


def _decide(session: Session, action: Action, who: Operator, state: states.ActionState, reason: str | None) -> None:
    action.state = state
    action.reason = f"{state} by {who.name}"
    action.decided_by = who.name
    action.decision_reason = reason
    action.decided_at = action.run_at = _now(session)
    action.expires_at = None
    action.lease_by = action.lease_until = None


def _why_not(action: Action, wanted: str, otherwise: str) -> str:
    """Who decided before, and when; else what its state allows."""
    already = "already " if action.state == wanted else ""
    if action.decided_by is not None and action.decided_at is not None:
        why = f" for the reason: {action.decision_reason}" if action.decision_reason else ""
        verb = "rejected" if action.state == "rejected" else "approved"
        decided = f"{verb} by {action.decided_by} on {records.moment(action.decided_at)}{why}"
        return f"action `{action.id}` is {already}{action.state}: {decided}"
    return f"action `{action.id}` is {already}{action.state}; {otherwise}"


def _set_aside_steps(session: Session, run_id: str, step: str | None) -> None:
    """Rename the steps from `step` on, all without one, so that the retry asks anew and both can be seen."""
    before = select(func.count()).select_from(Audit).where(Audit.what == "run.retry", Audit.ids.contains([run_id]))
    name = f"before retry {(session.scalar(before) or 0) + 1}/"
    latest = (RunStep.run == run_id) & ~RunStep.step.contains("/")
    steps = list(session.scalars(select(RunStep.step).where(latest).order_by(RunStep.at, RunStep.step)))
    if step is not None and step not in steps:
        raise RefusedError(f"run `{run_id}` has no step `{step}`; it has: {', '.join(steps) or 'none yet'}")
    again = steps[steps.index(step) :] if step is not None else steps
    chosen = latest & RunStep.step.in_(again)
    renamed = update(RunStep).where(chosen).values(step=func.concat(name, RunStep.step))
    session.execute(renamed, execution_options={"synchronize_session": False})


def _record(session: Session, who: Operator, what: str, thing: str, reason: str | None) -> None:
    session.add(Audit(who=who.name, what=what, ids=[thing], reason=reason))


def _last_deed(session: Session, thing: str) -> str:
    query = select(Audit).where(Audit.ids.contains([thing])).order_by(Audit.id.desc()).limit(1)
    deed = session.scalar(query)
    return f", by {deed.who} on {records.moment(deed.at)}" if deed else ""


def _now(session: Session) -> Any:
    return session.scalar(select(func.clock_timestamp()))


def _notify(session: Session, channel: str, payload: str) -> None:
    session.execute(text("select pg_notify(:channel, :payload)"), {"channel": channel, "payload": payload})
