"""Guards a source's database against its slot: looks, judges, remembers, tells, and sheds where the file says so."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import msgspec
import psycopg
from psycopg.types.json import Jsonb

from connectors import databases, measures, notices, slot, snapshots
from connectors.connect import Clock, Connect
from connectors.databases import Connection
from connectors.wal_watch import Judgement, Level, Reading, WalWatch
from wakestream import topics
from wakestream.config import Loaded

STOP_TIMEOUT = 60.0  # seconds for a connector to stop
LATE = 600.0  # seconds to the limit at which a source is shed, whatever its share
_FULL = 0.9  # of the limit, likewise

_QUERY = """
    select coalesce(pg_wal_lsn_diff(pg_current_wal_lsn(), s.restart_lsn), 0)::bigint as retained,
           case when current_setting('max_slot_wal_keep_size') = '-1' then null
                else pg_size_bytes(current_setting('max_slot_wal_keep_size')) end as limit,
           s.wal_status as status, s.active, coalesce(age(s.catalog_xmin), 0) as xmin_age,
           clock_timestamp() as now
    from (select 1) one left join pg_replication_slots s on s.slot_name = %s
"""


class SlotGuard:
    """One source's slot under guard; `look` is called again and again."""

    def __init__(self, loaded: Loaded, source: str, *, clock: Clock = time) -> None:
        self._loaded = loaded
        self._source = source
        self._clock = clock
        self._settings = loaded.config.sources[source].guard
        self._watch = WalWatch(self._settings.wal_limit)
        self._began = False

    def look(
        self,
        reader: Connection,
        ledger: psycopg.Connection[Any],
        client: Connect,
        record: Callable[[str, str], None],
    ) -> Judgement:
        """See how the slot does, say what has changed, and shed it in time where that is wanted."""
        if not self._began:  # what another guard has said is not said again
            self._watch.level, self._began = _stored_level(ledger, self._source), True
        reading = self._read(reader, ledger)
        before = self._watch.level
        found = self._watch.judge(reading)
        shed = is_shed(ledger, self._source)
        _remember(ledger, self._source, reading, found, new=found.level != before)
        measures.looked(self._source, reading, found, shed=shed)
        if found.level != before and not shed:
            self._say(f"level {found.level}", found, record)
        if not shed and self._settings.policy == "shed" and reading.status != "missing" and _too_late(found):
            self._shed(reader, ledger, client, found, record)
        return found

    def _read(self, reader: Connection, ledger: psycopg.Connection[Any]) -> Reading:
        with databases.asking(f"source {self._source}, looking at its slot"):
            row = reader.execute(_QUERY, (topics.slot(self._source),)).fetchone()
        retained, limit, status, active, xmin_age, now = row or (0, None, None, False, 0, None)
        applied = ledger.execute("select clock from wake.source_position where source = %s", (self._source,)).fetchone()
        clock = applied[0] if applied else None
        return Reading(
            at=self._clock.monotonic(),
            retained=retained,
            limit=limit,
            status=status or "missing",
            active=bool(active),
            xmin_age=xmin_age,
            clock_age=None if clock is None or now is None else (now - clock).total_seconds(),
        )

    def _say(self, what: str, found: Judgement, record: Callable[[str, str], None]) -> None:
        detail = "; ".join(found.reasons) or "everything is well again"
        record(what, detail)
        notices.send(self._loaded.config, self._source, what.replace(" ", "."), found.level, found.reasons)

    def _shed(
        self,
        reader: Connection,
        ledger: psycopg.Connection[Any],
        client: Connect,
        found: Judgement,
        record: Callable[[str, str], None],
    ) -> None:
        """Give the slot up before the database suffers: first the gap is declared, then nothing is kept for us."""
        reason = f"the guard gave the slot up: {'; '.join(found.reasons)}"
        ledger.execute("update wake.guard_state set shed = true where source = %s", (self._source,))
        snapshots.declare_gap(self._loaded.config.kafka, self._source, None, reason)
        client.stop_and_wait(topics.connector(self._source), STOP_TIMEOUT)
        with databases.asking(f"source {self._source}, dropping its slot"):
            slot.drop(reader, self._source)
        self._say("shed", found, record)


def forget_shed(ledger: psycopg.Connection[Any], source: str) -> None:
    """The source has a slot again."""
    ledger.execute("update wake.guard_state set shed = false where source = %s", (source,))


def is_shed(ledger: psycopg.Connection[Any], source: str) -> bool:
    """Whether the guard has given the source's slot up."""
    row = ledger.execute("select shed from wake.guard_state where source = %s", (source,)).fetchone()
    return row is not None and bool(row[0])


def _stored_level(ledger: psycopg.Connection[Any], source: str) -> Level:
    row = ledger.execute("select level from wake.guard_state where source = %s", (source,)).fetchone()
    return row[0] if row else "ok"


def _too_late(found: Judgement) -> bool:
    return found.fraction >= _FULL or (found.seconds_left is not None and found.seconds_left <= LATE)


def _remember(ledger: psycopg.Connection[Any], source: str, reading: Reading, found: Judgement, *, new: bool) -> None:
    """The newest state, for `status` and whoever asks the ledger."""
    told = {
        **msgspec.to_builtins(reading),
        "growth": round(found.growth),
        "seconds_left": found.seconds_left,
        "fraction": round(found.fraction, 4),
    }
    ledger.execute(
        "insert into wake.guard_state (source, level, reasons, reading) values (%s, %s, %s, %s)"
        " on conflict (source) do update set level = excluded.level, reasons = excluded.reasons,"
        " reading = excluded.reading, at = clock_timestamp(),"
        " since = case when %s then clock_timestamp() else guard_state.since end",
        (source, found.level, list(found.reasons), Jsonb(told), new),
    )
