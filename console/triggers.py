"""Triggers as operators see them: what meets them, what waits, what is paused or held; and what a person may do."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

from sqlalchemy import Engine, text
from sqlalchemy.orm import Session

from console import operators, subjects, views
from console.sessions import transaction
from wakestream.config import Config
from wakestream.errors import RefusedError
from wakestream.ledger.models import Audit, PausedTrigger

_ROWS = """
    select t.name, p.who, p.reason, h.reason,
      (select count(*) from wake.wait w where w.trigger = t.name),
      (select count(*) from wake.activation a where a.trigger = t.name and a.state = 'held' and a.batch is not null),
      (select count(*) from wake.activation a
       where a.trigger = t.name and a.state = 'held' and starts_with(a.reason, 'breaker:')),
      (select count(*) from wake.run r where r.trigger = t.name and r.state in ('pending', 'running')),
      (select max(opened_at) from wake.activation a where a.trigger = t.name)
    from unnest(cast(:names as text[])) with ordinality as t(name, place)
    left join wake.paused_trigger p on p.trigger = t.name
    left join wake.held_trigger h on h.trigger = t.name
    order by t.place
"""


class Triggers:
    """What the operator with this token may see and do about the triggers of a configuration."""

    def __init__(self, engine: Engine, config: Config, token: str | None) -> None:
        self._engine = engine
        self._config = config
        self._token = token

    def list(self) -> Sequence[views.TriggerRow]:
        """Every trigger of the configuration."""
        with transaction(self._engine) as session:
            rows = session.execute(text(_ROWS), {"names": [*self._config.triggers]}).all()
        return [self._row(*row) for row in rows]

    def pause(self, name: str, reason: str | None) -> views.Decided:
        """From now on what meets it is suppressed, and its runs are not begun."""
        if not (reason or "").strip():
            raise RefusedError("a pause needs its reason: --reason TEXT")
        with transaction(self._engine) as session:
            who = self._known(session, name)
            paused = session.get(PausedTrigger, name)
            if paused is not None:
                raise RefusedError(f"trigger `{name}` is paused already, by {paused.who}: {paused.reason}")
            session.add(PausedTrigger(trigger=name, who=who, reason=reason))
            return self._decided(session, name, "pause", reason, who, "active", "paused")

    def resume(self, name: str, reason: str | None = None) -> views.Decided:
        """It goes on with what comes from now on; runs that waited are begun."""
        with transaction(self._engine) as session:
            who = self._known(session, name)
            paused = session.get(PausedTrigger, name)
            if paused is None:
                raise RefusedError(f"trigger `{name}` is not paused")
            session.delete(paused)
            session.execute(text("select pg_notify('wake_run', '')"))
            return self._decided(session, name, "resume", reason, who, "paused", "active")

    def release(
        self, name: str, key: str | None, what: Literal["run", "drop"], reason: str | None = None
    ) -> views.Decided:
        """Close its breakers, of one key or of all: with a run of the newest event of each key, or without."""
        with transaction(self._engine) as session:
            who = self._known(session, name)
            broken = self._breakers(session, name)
            chosen = [subject for subject in broken if key is None or subjects.is_of(subject, key)]
            if not chosen:
                raise RefusedError(f"no breaker of trigger `{name}`{f' for `{key}`' if key else ''} is open")
            given: dict[str, Any] = {"trigger": name, "subjects": chosen, "agent": self._config.triggers[name].agent}
            began = len(session.execute(text(_RUN), given).all()) if what == "run" else 0
            reason_told = f"released by {who} without a run"
            dropped = len(session.execute(text(_DROP), {**given, "reason": reason_told}).all())
            session.execute(
                text("delete from wake.open_breaker where trigger = :trigger and subject = any(:subjects)"), given
            )
            session.execute(text("select pg_notify('wake_run', '')"))
            note = f"{began} begun, {dropped} dropped"
            return self._decided(session, name, f"release.{what}", reason, who, "held", note)

    def _row(self, *values: Any) -> views.TriggerRow:
        name, who, reason, held, waiting, batched, broken, runs, last = values
        settings = self._config.triggers[name]
        state = "held" if held else "paused" if who else "active"
        return views.TriggerRow(
            name=name,
            state=state,
            reason=held or (f"by {who}: {reason}" if who else None),
            watches=settings.entity or settings.table or "",
            agent=settings.agent,
            waiting=waiting,
            batched=batched,
            held_by_breaker=broken,
            runs=runs,
            last_opened_at=last,
        )

    def _known(self, session: Session, name: str) -> str:
        who = operators.authenticate(session, self._token).name
        if name not in self._config.triggers:
            raise RefusedError(f"the configuration has no trigger `{name}`")
        return who

    def _breakers(self, session: Session, name: str) -> Sequence[str]:
        query = text("select subject from wake.open_breaker where trigger = :trigger for update")
        return session.execute(query, {"trigger": name}).scalars().all()

    def _decided(
        self, session: Session, name: str, what: str, reason: str | None, who: str, was: str, state: str
    ) -> views.Decided:
        session.add(Audit(who=who, what=f"trigger.{what}", ids=[f"trigger/{name}"], reason=reason))
        return views.Decided(id=name, state=state, was=was, by=who, note=None)


_RUN = """
    with newest as (
      select distinct on (subject) id from wake.activation
      where trigger = :trigger and subject = any(:subjects) and state = 'held' and starts_with(reason, 'breaker:')
      order by subject, committed_at desc, id desc
    ), opened as (
      update wake.activation a set state = 'open', reason = null, opened_at = a.committed_at
      from newest where a.id = newest.id returning a.id, a.key, a.subject
    )
    insert into wake.run (id, activation, agent, trigger, key, subject, state)
    select id, id, :agent, :trigger, key, subject, 'pending' from opened returning id
"""
_DROP = """
    update wake.activation set state = 'suppressed', reason = :reason
    where trigger = :trigger and subject = any(:subjects) and state = 'held' and starts_with(reason, 'breaker:')
    returning id
"""
