"""When a run is over: the one rule that agent and console share."""

from __future__ import annotations

from typing import Any

import psycopg

from wakestream import states


def settle_run(connection: psycopg.Connection[Any], run_id: str) -> bool:
    """Move a decided run to `succeeded` when all its actions are final; say whether it moved.

    Decided is one that waits, or that runs and no worker holds. Call it in the transaction that changed the action,
    after the change: whoever comes second waits for the run's row here and then sees what the first one did.
    """
    connection.execute("select 1 from wake.run where id = %s for update", (run_id,))
    moved = connection.execute(
        "update wake.run set state = 'succeeded', finished_at = clock_timestamp()"
        " where id = %s and decision is not null"
        " and (state = 'waiting' or (state = 'running' and lease_by is null))"
        " and not exists (select 1 from wake.action where run = %s and state <> all(%s))"
        " returning id",
        (run_id, run_id, sorted(states.ACTION_FINAL)),
    )
    return moved.fetchone() is not None
