"""What led to what: change → run → action → change …, upwards to the first change and down to all that came of it."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import cast

from sqlalchemy import and_, any_, func, literal, or_, select, text
from sqlalchemy.orm import Session

from console import finding
from console.views import View
from wakestream.ledger.models import Action, Activation, Receipt, Run

MANY = 500
"""Runs that a tree shows; what is below those beyond is left out and said."""


class CausedChange(View, frozen=True, kw_only=True):
    """A change that met a trigger, and what came of that."""

    event: str
    subject: str
    changed: list[str]
    """Paths that changed; empty where that is not known."""
    committed_at: datetime | None
    trigger: str
    depth: int
    """How many actions led here."""
    state: str
    """The activation's."""
    reason: str | None
    """Why it was suppressed or held."""
    handed: bool
    """Whether it is the same change again, which an agent handed over."""
    again: bool
    """Whether it is decided again, because an action was stale."""
    run: CausedRun | None


class CausedAction(View, frozen=True, kw_only=True):
    """An action, and the changes that are known to be its own."""

    id: str
    name: str
    kind: str
    state: str
    reason: str | None
    rows: int | None
    """Captured rows that it changed; null without a mark in the change log."""
    changes: list[CausedChange]


class CausedRun(View, frozen=True, kw_only=True):
    """A run, and what it did."""

    id: str
    agent: str
    state: str
    error: str | None
    asked: bool
    """Whether the tree was asked for by this run."""
    actions: list[CausedAction]


class Tree(View, frozen=True, kw_only=True):
    """From the first change on."""

    change: CausedChange
    runs: int
    more: bool
    """Whether something is left out below."""


def tree(session: Session, run_id: str) -> Tree:
    """The whole tree that a run stands in."""
    finding.by_id(session, Run, run_id)
    return _Tree(session, run_id).told()


class _Tree:
    def __init__(self, session: Session, asked: str) -> None:
        self._session = session
        self._asked = asked
        self._runs: dict[str, Run] = {}
        self._actions: dict[str, list[tuple[Action, Receipt | None]]] = {}
        self._woken: dict[str, list[tuple[Activation, Run | None]]] = {}
        """By action, the activations of its changes."""
        self._told: set[str] = set()
        self._more = False

    def told(self) -> Tree:
        activation, run = self._first()
        self._descend(run)
        change = self._change(activation, run)
        return Tree(change=change, runs=len(self._runs), more=self._more)

    def _first(self) -> tuple[Activation, Run]:
        """The run at the top, and the activation that began it."""
        run, seen = self._session.get_one(Run, self._asked), {self._asked}
        while True:
            activation = self._session.get_one(Activation, run.activation)
            above = self._above(run)
            if above is None or above.id in seen:
                return activation, run
            seen.add(above.id)
            run = above

    def _above(self, run: Run) -> Run | None:
        """The run whose action made the change that woke this one; of a batch the first such."""
        in_it = and_(Activation.batch == run.id, _FIRST)
        query = select(_CAUSE).where(or_(Activation.id == run.activation, in_it))
        query = query.where(_CAUSE.is_not(None)).order_by(Activation.committed_at, Activation.id)
        action = self._session.scalars(query.limit(1)).first()
        found = self._session.get(Action, action) if action is not None else None
        return None if found is None else self._session.get(Run, found.run)

    def _descend(self, top: Run) -> None:
        """Read everything below, a level at a time."""
        level = [top]
        self._runs[top.id] = top
        while level:
            actions = self._actions_of([run.id for run in level])
            below = self._woken_by([action.id for action in actions])
            level = [run for run in below if run.id not in self._runs]
            if len(self._runs) + len(level) > MANY:
                level, self._more = level[: max(MANY - len(self._runs), 0)], True
            self._runs |= {run.id: run for run in level}

    def _actions_of(self, runs: list[str]) -> list[Action]:
        query = select(Action, Receipt).outerjoin(Receipt, Receipt.action == Action.id)
        query = query.where(Action.run == any_(literal(runs))).order_by(Action.run, Action.number)
        found = [(action, receipt) for action, receipt in self._session.execute(query)]
        for action, receipt in found:
            self._actions.setdefault(action.run, []).append((action, receipt))
        return [action for action, _ in found]

    def _woken_by(self, actions: list[str]) -> Iterable[Run]:
        in_batch = and_(Run.id == Activation.batch, _FIRST)
        of_it = or_(Run.activation == Activation.id, in_batch)
        query = select(_CAUSE, Activation, Run).outerjoin(Run, of_it)
        query = query.where(any_(literal(actions)) == _CAUSE).order_by(Activation.committed_at, Activation.id)
        below: dict[str, Run] = {}
        found = cast("Iterable[tuple[str, Activation, Run | None]]", self._session.execute(query))
        for cause, activation, run in found:
            self._woken.setdefault(cause, []).append((activation, run))
            if run is not None:
                below[run.id] = run
        return below.values()

    def _change(self, activation: Activation, run: Run | None) -> CausedChange:
        shown = run is not None and run.id in self._runs and run.id not in self._told
        return CausedChange(
            event=activation.event_id,
            subject=activation.subject,
            changed=list(activation.event.get("data", {}).get("changed") or ()),
            committed_at=activation.committed_at,
            trigger=activation.trigger,
            depth=activation.depth,
            state=activation.state,
            reason=activation.reason,
            handed=activation.handed is not None,
            again=activation.again is not None,
            run=self._run(run) if run is not None and shown else None,
        )

    def _run(self, run: Run) -> CausedRun:
        self._told.add(run.id)
        return CausedRun(
            id=run.id,
            agent=run.agent,
            state=run.state,
            error=run.error,
            asked=run.id == self._asked,
            actions=[self._action(*each) for each in self._actions.get(run.id, ())],
        )

    def _action(self, action: Action, receipt: Receipt | None) -> CausedAction:
        return CausedAction(
            id=action.id,
            name=action.name,
            kind=action.kind,
            state=action.state,
            reason=action.reason,
            rows=receipt.rows if receipt else None,
            changes=[self._change(*each) for each in self._woken.get(action.id, ())],
        )


_FIRST = and_(Activation.handed.is_(None), Activation.again.is_(None))
"""What a change itself made: no hand-over, and no second decision."""

_CAUSE = func.coalesce(
    Activation.again.op("->>")(text("'by'")),
    Activation.handed.op("->>")(text("'by'")),
    Activation.event.op("#>>")(text("'{data,cause,action}'")),
)
"""The action that was decided again, or handed over, or else the change, came from; as in the index."""
