"""Proposals that wait for a person while the world goes on: what is to be decided again is not left for them."""

from __future__ import annotations

from agent import action_store, deciding_again, own_changes, run_store
from agent.database import Connection
from wakestream import fences

AT_ONCE = 50
"""How many are compared in a round."""


def look(connection: Connection, after: str) -> tuple[str, list[tuple[str, str]]]:
    """Compare the next ones behind `after` with what is there now; returns where to go on, and what became stale.

    Only those with `on_stale: decide_again`: of others a person sees the difference and says what follows.
    """
    rows = connection.execute(
        "select id, run, fence::text from wake.action where state = 'awaiting_approval' and id > %s"
        " and fence ->> 'on_stale' = 'decide_again' order by id for update skip locked limit %s",
        (after, AT_ONCE),
    ).fetchall()
    told: list[tuple[str, str]] = []
    for action, run, text in rows:
        fence = own_changes.accepted(connection, action, fences.load(text))
        found = fences.compare_with_store(connection, fence)
        if found.differences and not own_changes.untold(connection, action):
            follows = deciding_again.begin(connection, action, found.differences, None)
            action_store.overtake(connection, action, [*found.differences, follows], found.differences)
            run_store.settle(connection, run)
            told.append((action, follows))
    return (rows[-1][0] if len(rows) == AT_ONCE else ""), told
