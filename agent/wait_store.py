"""Waits in the ledger: what a restart goes on from."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from agent import json_text
from agent.database import Connection, execute_each
from agent.net_change import LONGEST
from agent.positions import Place
from agent.waits import Key, Wait


class Images(NamedTuple):
    """What the ledger has of a wait's events."""

    first: str
    last: str
    steps: list[dict[str, Any]]


def write(connection: Connection, waits: Mapping[Key, Wait | None]) -> None:
    """Write how waits stand; None is one that is over."""
    over = [key for key, wait in waits.items() if wait is None]
    standing = [wait for wait in waits.values() if wait is not None]
    execute_each(connection, "delete from wake.wait where trigger = %s and subject = %s", over)
    execute_each(
        connection,
        "insert into wake.wait"
        " (trigger, subject, topic, partition, kind, activation, due, until, depth, last, steps)"
        " values (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s::jsonb, %s::jsonb)"
        " on conflict (trigger, subject) do update set topic = excluded.topic, partition = excluded.partition,"
        " kind = excluded.kind, due = excluded.due, until = excluded.until, depth = excluded.depth,"
        " last = coalesce(excluded.last, wait.last), activation = excluded.activation,"
        " steps = case when wait.activation <> excluded.activation then excluded.steps"
        " when jsonb_array_length(wait.steps) >= %s then wait.steps"
        " else wait.steps || excluded.steps end",
        [
            (
                *(wait.trigger, wait.subject, *wait.place, wait.kind, wait.activation, wait.due, wait.until),
                *(wait.depth, wait.last, json_text.dump(wait.steps), LONGEST),
            )
            for wait in standing
        ],
    )


def load(connection: Connection, places: Iterable[Place]) -> list[Wait]:
    """The waits of partitions."""
    found = list[Wait]()
    for topic, partition in sorted(places):
        rows = connection.execute(
            "select trigger, subject, kind, activation, due, until, depth from wake.wait"
            " where topic = %s and partition = %s order by due, trigger, subject",
            (topic, partition),
        ).fetchall()
        found += [
            Wait(trigger, subject, (topic, partition), kind, activation, due, until, depth)
            for trigger, subject, kind, activation, due, until, depth in rows
        ]
    return found


def images(connection: Connection, waits: Iterable[Wait]) -> dict[str, Images]:
    """By activation, the first and the last event of waits, and the steps between."""
    rows = connection.execute(
        "select w.activation, a.event::text, w.last::text, w.steps::text from wake.wait w"
        " join wake.activation a on a.id = w.activation where w.activation = any(%s)",
        ([wait.activation for wait in waits],),
    ).fetchall()
    return {activation: Images(first, last, json_text.load(steps)) for activation, first, last, steps in rows}
