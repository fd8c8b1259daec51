"""`Insights` reads: everything an operator may ask of the ledger. It changes nothing."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import Engine, any_, func, literal, or_, select
from sqlalchemy.orm import Session

from console import causes, fencing, finding, records, subjects, views
from console.sessions import transaction
from wakestream.config import Config
from wakestream.ledger.models import (
    Action,
    Activation,
    Alarm,
    Audit,
    DeadLetter,
    Operator,
    Receipt,
    Run,
    RunStep,
    TriggerCount,
)

DEFAULT_LIMIT = 50


class Insights:
    """Lists and stories. With a configuration, a story says what the trigger's condition is."""

    def __init__(self, engine: Engine, config: Config | None = None) -> None:
        self._engine = engine
        self._config = config

    def runs(
        self,
        *,
        states: Sequence[str] = (),
        trigger: str | None = None,
        agent: str | None = None,
        key: str | None = None,
        limit: int = DEFAULT_LIMIT,
    ) -> list[views.RunRow]:
        """Runs, newest first."""
        query = select(Run).order_by(Run.created_at.desc(), Run.id).limit(limit)
        if states:
            query = query.where(Run.state.in_(states))
        if trigger is not None:
            query = query.where(Run.trigger == trigger)
        if agent is not None:
            query = query.where(Run.agent == agent)
        if key is not None:
            query = query.join(Activation, Activation.id == Run.activation)
            query = query.where(subjects.matches(Activation.subject, key))
        with transaction(self._engine) as session:
            return [records.run_row(run) for run in session.scalars(query)]

    def run(self, run_id: str) -> views.RunStory:
        """The whole story of a run."""
        with transaction(self._engine) as session:
            return self._run_story(session, run_id)

    def tree(self, run_id: str) -> causes.Tree:
        """What led to a run and what came of it."""
        with transaction(self._engine) as session:
            return causes.tree(session, run_id)

    def actions(
        self,
        *,
        states: Sequence[str] = (),
        trigger: str | None = None,
        agent: str | None = None,
        key: str | None = None,
        limit: int = DEFAULT_LIMIT,
    ) -> list[views.ActionRow]:
        """Actions, newest first."""
        query = select(Action, Receipt).outerjoin(Receipt, Receipt.action == Action.id)
        query = query.join(Run, Run.id == Action.run).join(Activation, Activation.id == Run.activation)
        query = query.order_by(Action.created_at.desc(), Action.run, Action.number).limit(limit)
        if states:
            query = query.where(Action.state.in_(states))
        if trigger is not None:
            query = query.where(Run.trigger == trigger)
        if agent is not None:
            query = query.where(Run.agent == agent)
        if key is not None:
            query = query.where(subjects.matches(Activation.subject, key))
        with transaction(self._engine) as session:
            found = session.execute(query).all()
            open_ones = select(Alarm).where(Alarm.over_at.is_(None), Alarm.subject.in_([row[0].id for row in found]))
            alarms = {alarm.subject: f"{alarm.kind}: {alarm.detail}" for alarm in session.scalars(open_ones)}
            return [records.action_row(action, receipt, alarms.get(action.id)) for action, receipt in found]

    def action(self, action_id: str) -> views.ActionStory:
        """The whole story of an action."""
        with transaction(self._engine) as session:
            origin = self._run_story(session, finding.by_id(session, Action, action_id).run)
        detail = next(action for action in origin.actions if action.id == action_id)
        return records.action_story(detail, origin)

    def letters(self, *, states: Sequence[str] = (), limit: int = DEFAULT_LIMIT) -> list[views.LetterRow]:
        """Dead letters, newest first."""
        query = select(DeadLetter).order_by(DeadLetter.at.desc(), DeadLetter.id.desc()).limit(limit)
        if states:
            query = query.where(DeadLetter.state.in_(states))
        with transaction(self._engine) as session:
            return [records.letter_row(letter) for letter in session.scalars(query)]

    def letter(self, number: int) -> views.LetterStory:
        """One dead letter."""
        with transaction(self._engine) as session:
            letter = finding.by_id(session, DeadLetter, number)
            return records.letter_story(letter, _history(session, f"letter/{number}"))

    def why(self, about: str, *, limit: int = DEFAULT_LIMIT) -> views.Why:
        """What a subject, a key or an event led to: activations, suppressed ones too, counts and dead letters."""
        met = select(Activation, Run).outerjoin(Run, Run.activation == Activation.id)
        met = met.where((Activation.event_id == about) | subjects.matches(Activation.subject, about))
        met = met.order_by(Activation.created_at.desc(), Activation.id).limit(limit)
        of_event = [func.jsonb_extract_path_text(DeadLetter.event, name) == about for name in ("id", "subject")]
        dead = select(DeadLetter).where(or_(subjects.matches(DeadLetter.subject, about), *of_event))
        dead = dead.order_by(DeadLetter.at.desc())
        with transaction(self._engine) as session:
            activations = [records.activation_row(each, run) for each, run in session.execute(met)]
            triggers = {each.trigger for each in activations} | self._watching(about)
            counted = select(TriggerCount).where(TriggerCount.trigger.in_(triggers))
            counts = session.scalars(counted.order_by(TriggerCount.trigger, TriggerCount.outcome))
            return views.Why(
                about=about,
                activations=activations,
                counts=[records.count_row(each) for each in counts],
                letters=[records.letter_row(letter) for letter in session.scalars(dead.limit(limit))],
            )

    def operators(self) -> list[views.OperatorRow]:
        """Everybody who has or had a token."""
        with transaction(self._engine) as session:
            return [records.operator_row(row) for row in session.scalars(select(Operator).order_by(Operator.name))]

    def _watching(self, about: str) -> set[str]:
        """The triggers whose table or entity a subject belongs to."""
        name = about.partition("/")[0]
        triggers = self._config.triggers.items() if self._config else ()
        return {each for each, t in triggers if name in (t.entity, (t.table or "").partition(".")[2])}

    def _run_story(self, session: Session, run_id: str) -> views.RunStory:
        run = finding.by_id(session, Run, run_id)
        activation = session.get_one(Activation, run.activation)
        steps = session.scalars(select(RunStep).where(RunStep.run == run_id).order_by(RunStep.at, RunStep.step))
        proposed = select(Action, Receipt).outerjoin(Receipt, Receipt.action == Action.id)
        proposed = proposed.where(Action.run == run_id).order_by(Action.number)
        actions = [
            records.action_detail(action, receipt, fencing.shown(session, action), _history(session, action.id))
            for action, receipt in session.execute(proposed)
        ]
        return records.run_story(run, activation, list(steps), actions, _history(session, run_id), self._config)


def _history(session: Session, thing: str) -> list[views.AuditRow]:
    query = select(Audit).where(literal(thing) == any_(Audit.ids)).order_by(Audit.id)
    return [records.audit_row(row) for row in session.scalars(query)]
