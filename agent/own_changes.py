"""Rows that our own actions changed, as the change log told it: no action takes the work of its own run for a change.

What the agent reads with an action's cause is kept, before and after, in the transaction that moves its position.
"""

from __future__ import annotations

from collections.abc import Sequence

from agent import json_text
from agent.database import AnyConnection, Connection, execute_each
from wakestream import fences
from wakestream.fences import Fence, Move

TOLD_WITHIN = 60.0  # seconds after an action in which the change log should have told what it changed


def write(connection: Connection, payloads: Sequence[str]) -> None:
    """Keep row events that have the cause of an action of this ledger; what is kept already stays."""
    if not payloads:
        return
    execute_each(
        connection,
        'insert into wake.changed_row (action, event, "table", subject, key, before, after, missing, position)'
        " select e -> 'data' -> 'cause' ->> 'action', e ->> 'id', split_part(e ->> 'subject', '/', 1),"
        " e ->> 'subject', coalesce(nullif(e -> 'data' -> 'key', 'null'), '{}'),"
        " nullif(e -> 'data' -> 'before', 'null'), nullif(e -> 'data' -> 'after', 'null'),"
        " array(select jsonb_array_elements_text(e -> 'data' -> 'missing')), e -> 'data' -> 'position'"
        " from (select %s::jsonb as e) as given"
        " where exists (select from wake.action a where a.id = e -> 'data' -> 'cause' ->> 'action')"
        " on conflict do nothing",
        [(payload,) for payload in payloads],
    )


def accepted(connection: AnyConnection, action: str, fence: Fence) -> Fence:
    """The fence for which what earlier actions of the same run made of its rows counts as well."""
    rows = connection.execute(
        "select c.subject, c.before::text, c.after::text from wake.action me"
        " join wake.action e on e.run = me.run and e.number < me.number join wake.changed_row c on c.action = e.id"
        " where me.id = %s and c.subject = any(%s)"
        " order by e.number, (c.position ->> 'offset')::bigint, (c.position ->> 'seq')::bigint",
        (action, [row.subject for row in fence.rows]),
    ).fetchall()
    moves = [
        Move(subject, before and json_text.load(before), after and json_text.load(after))
        for subject, before, after in rows
    ]
    return fences.after_own(fence, moves)


def untold(connection: Connection, action: str) -> bool:
    """Whether an earlier SQL action of the same run may have changed rows that the change log has not told yet."""
    row = connection.execute(
        "select exists (select from wake.action me join wake.action e on e.run = me.run and e.number < me.number"
        " left join wake.receipt r on r.action = e.id where me.id = %s and e.state = 'succeeded' and e.kind = 'sql'"
        " and e.executed_at > now() - make_interval(secs => %s) and (r.action is null"
        " or r.rows > (select count(*) from wake.changed_row c where c.action = e.id)))",
        (action, TOLD_WITHIN),
    ).fetchone()
    return bool(row and row[0])
