"""Activations, runs and dead letters of a batch, written in the transaction that moves its positions."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from agent import admission, json_text, own_changes, positions, wait_store
from agent.activations import Batch, Ending, Firing, Letter, NewActivation, Waiting
from agent.admission import Admitted, NewRun
from agent.database import Connection, execute_each
from agent.positions import Owned, Place
from wakestream.events import ContextEvent
from wakestream.program import Program


class Written(NamedTuple):
    """What became of firings."""

    admitted: list[Admitted]
    runs: int
    """How many runs were begun."""


def write(connection: Connection, batch: Batch, owned: Mapping[Place, Owned], program: Program) -> Written:
    """Write a batch with its positions, which the caller's transaction makes one."""
    moving = positions.move(connection, batch.moved, owned)
    insert(connection, batch.activations)
    _end(connection, batch.endings)
    wait_store.write(connection, batch.waits)
    written = fire(connection, batch.firings, program)
    if batch.clocks:
        complete = admission.close_batches(connection, program)
        begin_runs(connection, complete, program.digest)
        written = written._replace(runs=written.runs + len(complete))
    own_changes.write(connection, batch.own_rows)
    write_letters(connection, batch.letters)
    write_counts(connection, batch.counts)
    if batch.letters:
        connection.execute("select pg_notify('wake_letter', '')")
    positions.require_ours(moving)
    return written


def fire(connection: Connection, firings: Sequence[Firing], program: Program) -> Written:
    """Open what may be opened, each with a run of its own or as part of a batch."""
    if not firings:
        return Written([], 0)
    admitted = admission.admit(connection, firings)
    execute_each(connection, _INSERT, [_fired_row(each) for each in admitted if not each.firing.waited])
    execute_each(
        connection,
        "update wake.activation set state = %s, reason = %s, opened_at = %s, event = %s::jsonb where id = %s",
        [
            (each.state, each.reason, each.opened_at, each.firing.payload, each.firing.id)
            for each in admitted
            if each.firing.waited
        ],
    )
    runs = [_run_of(each) for each in admitted if each.state == "open"]
    runs += admission.join_batches(connection, [each for each in admitted if each.group is not None])
    begin_runs(connection, runs, program.digest)
    return Written(admitted, len(runs))


def begin_runs(connection: Connection, runs: Sequence[NewRun], digest: str) -> None:
    """A run for each open activation and each batch that is complete.

    `rank` is the order in which they are claimed: a key that has runs waiting already comes after the keys that have
    none, a second for each, so that one key's burst does not hold up the others.
    """
    if not runs:
        return
    execute_each(
        connection,
        "insert into wake.run (id, activation, agent, trigger, key, subject, state, config_digest, rank)"
        " values (%(id)s, %(activation)s, %(agent)s, %(trigger)s, %(key)s::jsonb, %(subject)s, 'pending',"
        " %(digest)s, greatest(clock_timestamp() - make_interval(mins => %(priority)s),"
        " (select max(rank) + interval '1 second' from wake.run"
        " where trigger = %(trigger)s and subject = %(subject)s and state = 'pending')))"
        " on conflict do nothing",
        [{**each._asdict(), "digest": digest} for each in runs],
    )
    connection.execute("select pg_notify('wake_run', '')")


def write_letters(connection: Connection, letters: list[Letter]) -> None:
    """Dead letters; one that is there already stays as it is."""
    if not letters:
        return
    execute_each(
        connection,
        'insert into wake.dead_letter (stage, kind, reason, topic, partition, "offset", digest, subject, event)'
        " values ('agent', %s, %s, %s, %s, %s, %s, %s, %s::jsonb) on conflict do nothing",
        [
            (
                *(each.kind, each.reason, each.message.topic, each.message.partition, each.message.offset),
                *(hashlib.sha256(each.message.payload).hexdigest(), each.subject, each.event),
            )
            for each in letters
        ],
    )


def write_counts(connection: Connection, counts: Mapping[tuple[str, str], tuple[int, str]]) -> None:
    """Add to what conditions came to."""
    for (trigger, outcome), (number, last) in sorted(counts.items()):
        connection.execute(
            "insert into wake.trigger_count (trigger, outcome, count, last_event) values (%s, %s, %s, %s)"
            " on conflict (trigger, outcome) do update set count = trigger_count.count + excluded.count,"
            " last_event = excluded.last_event, last_at = clock_timestamp()",
            (trigger, outcome, number, last),
        )


_INSERT = (
    "insert into wake.activation"
    " (id, trigger, source, event_id, subject, key, state, reason, depth, event, committed_at, opened_at)"
    " values (%s, %s, %s, %s, %s, %s::jsonb, %s, %s, %s, %s::jsonb, %s, %s) on conflict do nothing"
)


def insert(connection: Connection, found: Iterable[NewActivation]) -> None:
    """Activations that wait, or were kept from firing; those that exist already stay as they are."""
    execute_each(connection, _INSERT, [_row(each) for each in found])


def _row(each: NewActivation) -> tuple[object, ...]:
    event, verdict = each.event, each.verdict
    state = "held" if isinstance(verdict, Waiting) else "suppressed"
    return (
        *(each.id, each.trigger.name, each.trigger.source, event.id, event.subject, _key(event)),
        *(state, verdict.reason, verdict.depth, each.payload, event.at, None),
    )


def _fired_row(each: Admitted) -> tuple[object, ...]:
    firing, event = each.firing, each.firing.event
    return (
        *(firing.id, firing.trigger.name, firing.trigger.source, event.id, event.subject, _key(event)),
        *(each.state, each.reason, firing.depth, firing.payload, event.at, each.opened_at),
    )


def _run_of(each: Admitted) -> NewRun:
    firing = each.firing
    trigger = firing.trigger
    return NewRun(
        *(firing.id, firing.id, trigger.agent.name, trigger.name, _key(firing.event), firing.event.subject),
        trigger.settings.priority,
    )


def _end(connection: Connection, endings: Iterable[Ending]) -> None:
    execute_each(
        connection,
        "update wake.activation set state = 'suppressed', reason = %s where id = %s and state = 'held'",
        [(each.reason, each.activation) for each in endings],
    )


def _key(event: ContextEvent) -> str:
    return json_text.dump(event.data.key or {})
