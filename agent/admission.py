"""Whether a trigger that fires gets its run: pauses, cool-downs, breakers, and batches that make one run of many.

All of it is decided in the transaction that writes the firing, from what the ledger holds and in the order of the
events, so that the same history always comes to the same runs.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import NamedTuple

from agent import json_text, notices
from agent.activations import Firing
from agent.database import Connection, Cursor, execute_each
from agent.triggers import Images
from agent.waits import Key
from wakestream import states, topics
from wakestream.conditions import Failed, Given, Null, Undecided
from wakestream.config.timing import Breaker, Together
from wakestream.program import CompiledTrigger, Program


@dataclass(frozen=True, slots=True)
class Admitted:
    """What became of a firing."""

    firing: Firing
    state: states.ActivationState
    reason: str | None = None
    group: str | None = None
    """As JSON, the value by which it waits for others."""

    @property
    def opened_at(self) -> datetime | None:
        """The source's time at which it was opened."""
        return self.firing.at if self.state == "open" else None


class NewRun(NamedTuple):
    """A run to be begun."""

    id: str
    activation: str
    agent: str
    trigger: str
    key: str
    subject: str
    priority: int


def admit(connection: Connection, firings: Sequence[Firing]) -> list[Admitted]:
    """Decide on each firing, in order."""
    names = sorted({each.trigger.name for each in firings})
    paused, broken = _ask_paused(connection, names), _ask_broken(connection, names)  # they travel with what follows
    known = _Known(opened=_opened(connection, firings), paused=_paused(paused), broken=_broken(broken))
    admitted = [_decide(firing, known) for firing in firings]
    _trip(connection, known)
    return admitted


@dataclass(slots=True)
class _Known:
    """What the ledger says, and what this batch adds to it."""

    paused: dict[str, str]
    opened: defaultdict[Key, list[datetime]]
    broken: dict[Key, str]
    tripped: dict[Key, str] = field(default_factory=dict[Key, str])


def _decide(firing: Firing, known: _Known) -> Admitted:
    key = (firing.trigger.name, firing.event.subject)
    settings = firing.trigger.settings
    if firing.trigger.name in known.paused:
        return Admitted(firing, "suppressed", known.paused[firing.trigger.name])
    if key in known.broken:
        return Admitted(firing, "held", known.broken[key])
    before = known.opened[key]
    if settings.cooldown is not None and before:
        until = max(before) + timedelta(seconds=settings.cooldown)
        if firing.at < until:
            return Admitted(firing, "suppressed", f"cooldown until {until.isoformat(timespec='milliseconds')}")
    breaker = firing.trigger.breaker
    if breaker is not None and _within(before, firing.at, breaker) >= breaker.runs:
        reason = (
            f"breaker: {breaker.runs} runs of {key[1]} within {breaker.within:g} s; `wake triggers release` decides"
        )
        known.broken[key] = known.tripped[key] = reason
        return Admitted(firing, "held", reason)
    if settings.batch is not None:
        return _grouped(firing, settings.batch)
    before.append(firing.at)
    return Admitted(firing, "open")


def _within(opened: Sequence[datetime], at: datetime, breaker: Breaker) -> int:
    since = at - timedelta(seconds=breaker.within)
    return sum(each > since for each in opened)


def _grouped(firing: Firing, batch: Together) -> Admitted:
    together = firing.trigger.timing.together
    if together is None:
        return Admitted(firing, "open")
    images = Images(firing.event)
    result = together.evaluate(images.whole, missing=images.missing)
    match result:
        case Given(value):
            reason = f"batch: at most {batch.at_most} within {batch.within:g} s"
            return Admitted(firing, "held", reason, json_text.dump(value))
        case Null():
            return Admitted(firing, "held", "batch", "null")
        case Undecided(path):
            return Admitted(firing, "suppressed", f"undecided: {path} is missing, and `batch.by` reads it")
        case Failed(message):
            return Admitted(firing, "suppressed", f"`batch.by` cannot be worked out: {message}")


def _ask_paused(connection: Connection, triggers: list[str]) -> Cursor:
    return connection.execute(
        "select trigger, who, reason from wake.paused_trigger where trigger = any(%s)", (triggers,)
    )


def _paused(asked: Cursor) -> dict[str, str]:
    return {trigger: f"paused by {who}: {reason}" for trigger, who, reason in asked.fetchall()}


def _opened(connection: Connection, firings: Sequence[Firing]) -> defaultdict[Key, list[datetime]]:
    """When runs of these keys were opened, as far back as cool-downs and breakers look."""
    found: defaultdict[Key, list[datetime]] = defaultdict(list)
    looking = [(each, back) for each in firings if (back := _back(each.trigger))]
    if not looking:
        return found
    keys = sorted({(each.trigger.name, each.event.subject) for each, _ in looking})
    rows = connection.execute(
        "select trigger, subject, opened_at from unnest(%s::text[], %s::text[]) as k(t, s)"
        " join wake.activation on trigger = t and subject = s where opened_at > %s",
        (
            *([trigger for trigger, _ in keys], [subject for _, subject in keys]),
            min(each.at - timedelta(seconds=back) for each, back in looking),
        ),
    ).fetchall()
    for trigger, subject, at in rows:
        found[trigger, subject].append(at)
    return found


def _back(trigger: CompiledTrigger) -> float:
    """How many seconds before a firing matter."""
    return max(trigger.settings.cooldown or 0.0, trigger.breaker.within if trigger.breaker else 0.0)


def _ask_broken(connection: Connection, triggers: list[str]) -> Cursor:
    return connection.execute(
        "select trigger, subject, reason from wake.open_breaker where trigger = any(%s)", (triggers,)
    )


def _broken(asked: Cursor) -> dict[Key, str]:
    return {(trigger, subject): reason for trigger, subject, reason in asked.fetchall()}


def _trip(connection: Connection, known: _Known) -> None:
    execute_each(
        connection,
        "insert into wake.open_breaker (trigger, subject, reason) values (%s, %s, %s) on conflict do nothing",
        [(*key, reason) for key, reason in known.tripped.items()],
    )
    for (trigger, subject), reason in known.tripped.items():
        notices.tell(connection, "breaker_open", f"{trigger} {subject}", f"trigger {trigger}, {subject}: {reason}")


def join_batches(connection: Connection, admitted: Sequence[Admitted]) -> list[NewRun]:
    """Let firings join the batch of their value; returns the runs of those that are full by that."""
    runs = list[NewRun]()
    for each in admitted:
        firing, batch = each.firing, each.firing.trigger.settings.batch
        if batch is None:
            continue
        row = connection.execute(
            "insert into wake.batch (id, trigger, value, topic, due, count) values (%s, %s, %s, %s, %s, 1)"
            " on conflict (trigger, value) do update set count = batch.count + 1, due = least(batch.due, excluded.due)"
            " returning id, count",
            (
                *(f"{firing.id}/batch", firing.trigger.name, each.group, topics.context(firing.trigger.source)),
                firing.at + timedelta(seconds=batch.within),
            ),
        ).fetchone()
        identity, count = row if row else ("", 0)
        connection.execute("update wake.activation set batch = %s where id = %s", (identity, firing.id))
        if count >= batch.at_most:
            runs += _close(connection, identity, firing.trigger, firing.at)
    return runs


def close_batches(connection: Connection, program: Program) -> list[NewRun]:
    """End the batches whose time has come at the lowest clock of their topic's partitions; returns their runs."""
    names = sorted(name for name, trigger in program.triggers.items() if trigger.settings.batch is not None)
    if not names:
        return []
    rows = connection.execute(
        "select b.id, b.trigger, c.clock from wake.batch b join lateral (select min(clock) as clock,"
        " bool_and(clock is not null) as known from wake.partition_position p where p.topic = b.topic) c on c.known"
        " where b.trigger = any(%s) and b.due <= c.clock order by b.due for update of b skip locked",
        (names,),
    ).fetchall()
    runs = list[NewRun]()
    for identity, trigger, clock in rows:
        runs += _close(connection, identity, program.triggers[trigger], clock)
    return runs


def drop_batches(connection: Connection, program: Program) -> None:
    """What waits for others under a setting that is gone waits for nothing."""
    names = sorted(name for name, trigger in program.triggers.items() if trigger.settings.batch is not None)
    gone = connection.execute(
        "delete from wake.batch where not trigger = any(%s) returning id", ([*names, *program.held],)
    ).fetchall()
    connection.execute(
        "update wake.activation set state = 'suppressed', reason = 'the trigger no longer says `batch`'"
        " where batch = any(%s) and state = 'held'",
        ([identity for (identity,) in gone],),
    )


def _close(connection: Connection, identity: str, trigger: CompiledTrigger, at: datetime) -> list[NewRun]:
    """The run of a batch: begun for its first activation, with all of them."""
    connection.execute("delete from wake.batch where id = %s", (identity,))
    rows = connection.execute(
        "update wake.activation set state = 'open', reason = null, opened_at = %s"
        " where batch = %s and state = 'held' returning id, key::text, subject, committed_at",
        (at, identity),
    ).fetchall()
    if not rows:
        return []
    first, key, subject, _ = min(rows, key=lambda row: (row[3], row[0]))
    return [NewRun(identity, first, trigger.agent.name, trigger.name, key, subject, trigger.settings.priority)]
