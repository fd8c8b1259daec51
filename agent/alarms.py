"""What should have been seen by now: SQL actions in a captured source whose mark the change log does not show."""

from __future__ import annotations

import logging

from psycopg import conninfo

from agent import notices
from agent.database import Connection
from wakestream import config
from wakestream.config import Config

logger = logging.getLogger(__name__)

NO_EFFECT = "no effect seen"

# An action is looked at for a day; the consumer writes a receipt in the transaction that moves the source's clock.
_RAISE = """
insert into wake.alarm (kind, subject, detail)
select %(kind)s, a.id, 'committed in ' || p.source || ' at ' || (a.result ->> 'committed_by')
    || ', and the change log up to ' || p.clock || ' does not show its mark'
from wake.action a join wake.source_position p on p.source = %(source)s
where a.kind = 'sql' and a.state = 'succeeded' and a.created_at > now() - interval '1 day'
    and a.intent ->> 'system_identifier' = p.system_identifier and a.intent ->> 'database' = %(database)s
    and p.clock > (a.result ->> 'committed_by')::timestamptz + make_interval(secs => %(within)s)
    and not exists (select from wake.receipt r where r.action = a.id)
on conflict (kind, subject) do nothing returning subject, detail
"""
_END = """
update wake.alarm set over_at = clock_timestamp() where kind = %s and over_at is null
    and exists (select from wake.receipt r where r.action = alarm.subject) returning subject
"""


def look(connection: Connection, settings: Config) -> None:
    """Raise an alarm for each action without a receipt, and end those whose receipt has come."""
    for source, each in settings.sources.items():
        database = conninfo.conninfo_to_dict(config.reveal(each.capture)).get("dbname")
        values = {"kind": NO_EFFECT, "source": source, "database": database, "within": settings.limits.receipt_within}
        for action, detail in connection.execute(_RAISE, values).fetchall():
            told = f"no effect of action {action} seen: {detail}; does the guard say how far the source is read?"
            notices.tell(connection, "no_effect_seen", action, told, level=logging.ERROR)
    for (action,) in connection.execute(_END, (NO_EFFECT,)).fetchall():
        logger.info("The effect of action %s was seen after all", action, extra={"action": "effect_seen"})
