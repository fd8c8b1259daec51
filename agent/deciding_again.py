"""Decides again what the world has overtaken: a run of its own for the same events, as they are now.

An action whose fence no longer holds is `stale`. Under `on_stale: decide_again` its run's other open actions are given
up with it, and a new run takes the place of both. That one waits until the context store shows what made the action
stale, asks the trigger whether it is still met, and is never offered what its predecessors have done already.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping, Sequence
from typing import Any, assert_never

import msgspec

from agent import json_text, present, run_store, triggers
from agent.answers import Offer
from agent.database import Connection, Ledger
from agent.run_store import Again, Run, Step
from agent.triggers import Images
from wakestream import states
from wakestream.conditions import Failed, Matched, NotMatched, Null, Undecided
from wakestream.errors import EventError, TransientError, WakeError
from wakestream.events import ContextEvent, Position
from wakestream.program import CompiledTrigger

MOST = 3
"""How often one decision is made again; what is stale once more stays so."""
STEP = "present"
PATIENCE = 5.0  # seconds within one attempt
POLL = 0.02  # seconds

Done = Sequence[Sequence[Any]]
"""Name and choices of what the runs before did, which is not to be done twice."""


class OvertakenError(WakeError):
    """There is nothing to decide any more: the trigger is not met by what is there now."""


def begin(connection: Connection, action: str, differences: Sequence[str], wal: int | None) -> str:
    """Give up what the action's run has still open and make the new run; says in words what follows.

    Called in the transaction in which the action becomes `stale`, before that. `wal` is a place in the source's log at
    which the differences are surely in it; None where the context store has told them.
    """
    # First the action, then its run: as everybody does who ends one.
    connection.execute("select 1 from wake.action where id = %s for update", (action,))
    row = connection.execute(
        "select r.id, a.id, a.again::text from wake.action c join wake.run r on r.id = c.run"
        " join wake.activation a on a.id = r.activation where c.id = %s for update of r",
        (action,),
    ).fetchone()
    assert row is not None  # noqa: S101 - the caller holds the action
    run, activation, text = row
    before = msgspec.convert(json_text.load(text), Again) if text else Again(action, run, 0, (), ())
    if before.number >= MOST:
        return f"decided again {MOST} times already: it stays stale"
    number = before.number + 1
    made = f"{before.first}/again/{number}"
    again = Again(action, before.first, number, (*before.runs, run), tuple(differences), wal)
    connection.execute(
        "insert into wake.activation (id, trigger, source, event_id, subject, key, state, reason, depth, event,"
        " committed_at, batch, handed, again)"
        " select %s, trigger, source, event_id, subject, key, 'open', %s, depth, event, committed_at, batch, handed,"
        " %s::jsonb from wake.activation where id = %s",
        (made, f"{action} was stale: decided again", json_text.storable(again), activation),
    )
    connection.execute(
        "insert into wake.run (id, activation, agent, trigger, key, subject, state, rank)"
        " select %s, %s, agent, trigger, key, subject, 'pending', rank from wake.run where id = %s",
        (made, made, run),
    )
    connection.execute(
        "update wake.action set state = 'stale', reason = %s, executed_at = clock_timestamp(), expires_at = null"
        " where run = %s and id <> %s and state = any(%s)",
        (f"{action} was stale: decided again by run {made}", run, action, sorted(states.ACTION_TO_COME)),
    )
    connection.execute("select pg_notify('wake_run', '')")
    return f"decided again by run {made}"


def take_up(ledger: Ledger, trigger: CompiledTrigger, run: Run, steps: Mapping[str, Step]) -> tuple[Run, Done]:
    """The run with its events as they are now, and what was done before; stored before anything is made of them.

    Raises `OvertakenError` where the trigger is no longer met, `TransientError` while the store is behind.
    """
    assert run.again is not None  # noqa: S101 - asked only of such runs
    stored = steps.get(STEP)
    response = stored.response if stored is not None else None
    if response is None:
        _wait_for(ledger, run, run.again)
        with ledger.transaction("reading what is there now") as connection:
            response = _look(connection, run, run.again)
    events = tuple(json_text.load_event(json_text.dump(each)) for each in response["events"])
    _require_met(trigger, events)
    together = events if run.together else ()
    return msgspec.structs.replace(run, event=events[0], together=together), response["done"]


def left(offered: Mapping[str, Offer], done: Done) -> dict[str, Offer]:
    """What may still be proposed: not again what was done, of a batch not for the same element."""
    found: dict[str, Offer] = {}
    for name, offer in offered.items():
        rest = offer.without([chosen for what, chosen in done if what == name])
        if rest is not None:
            found[name] = rest
    return found


def _look(connection: Connection, run: Run, again: Again) -> dict[str, Any]:
    """Read the events as they are and what was done, and store both as the run's first step."""
    texts = present.of(connection, run.source, run.together or (run.event,))
    rows = connection.execute(
        "select name, chosen::text from wake.action where run = any(%s) and state in ('succeeded', 'unknown')"
        " order by run, number",
        (list(again.runs),),
    ).fetchall()
    done = [[name, json_text.load(chosen)] for name, chosen in rows]
    response = {"events": [json_text.load(text) for text in texts], "done": done}
    request = {"again": msgspec.to_builtins(again)}
    run_store.store_step(connection, run, Step(STEP, request, response))
    connection.execute("update wake.activation set event = %s::jsonb where id = %s", (texts[0], run.activation))
    return response


def _wait_for(ledger: Ledger, run: Run, again: Again) -> None:
    """Until the store has what made the action stale, and the events themselves."""
    deadline, pause = time.monotonic() + PATIENCE, threading.Event()
    last = max((each.data.position for each in run.together or (run.event,)), key=lambda position: position.rank)
    while True:
        with ledger.transaction("reading the store's position", durable=False) as connection:
            at = present.place(connection, run.source)
        if at is not None and _shows(at, last, again):
            return
        if time.monotonic() > deadline:
            raise TransientError(
                f"the context store of {run.source} does not show yet what made {again.by} stale; is `wake consume`"
                " running?",
                family="lookup",
            )
        pause.wait(POLL)


def _shows(at: present.Place, last: Position, again: Again) -> bool:
    """Whether a store at this place has the events, and what made the action stale."""
    if at.log > last.log:  # it has begun anew since, and its places say nothing of the old ones
        return True
    reached = (at.log, at.offset) >= (last.log, last.offset)
    return reached and (again.wal is None or at.commit is None or at.commit >= again.wal)


def _require_met(trigger: CompiledTrigger, events: Sequence[ContextEvent]) -> None:
    """Of a batch, by one of its events."""
    outcomes = [triggers.outcome(trigger, Images(event)) for event in events]
    for outcome in outcomes:
        match outcome:
            case Matched():
                return
            case Failed(message):
                raise EventError("the trigger's condition cannot be worked out for what is there now", detail=message)
            case NotMatched() | Null() | Undecided():
                continue
            case _:
                assert_never(outcome)
    raise OvertakenError("what is there now does not meet the trigger any more")
