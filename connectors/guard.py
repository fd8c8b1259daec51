"""Watches over the sources: helps connectors and snapshots on, and keeps slots from endangering their databases.

It restarts what failed for a passing reason, starts a broken initial snapshot over, settles snapshots that read ahead
of the log, and passes on which dead letters the consumer is to try again.

Kafka Connect never restarts a FAILED task itself. What is done, or cannot be done, is recorded in the ledger.
"""

from __future__ import annotations

import contextlib
import logging
import re
import threading
import time
from dataclasses import dataclass, field
from typing import Protocol

from connectors import databases, ledger_setup, measures, notices, slot, snapshot_log, snapshots
from connectors.connect import Clock, Connect, ConnectorMissing, telling_line, types
from connectors.drift import DriftGuard
from connectors.letters import Retrying
from connectors.slot_guard import SlotGuard
from connectors.snapshot_log import Progress, SnapshotLog
from connectors.snapshots import Settling
from wakestream import ledger, metrics, topics
from wakestream.config import Loaded, reveal
from wakestream.errors import WakeError

logger = logging.getLogger(__name__)

INTERVAL = 3.0  # seconds between two looks
CONNECT_PATIENCE = 5.0  # seconds for a worker that is away
STOP_TIMEOUT = 60.0  # seconds for a connector to stop
FIRST_PAUSE = 2.0  # seconds before a failed task is restarted a second time; doubled each time
LONGEST_PAUSE = 120.0
FATAL_PAUSE = 300.0  # between restarts where only a person can help, who need not tell us that they did
STEADY = 300.0  # seconds of running after which the next failure is a first one again

# What no restart cures, in the words of PostgreSQL, Debezium and Connect.
_FATAL = re.compile(
    "|".join(
        (
            "authentication failed",
            'role ".*" does not exist',
            'database ".*" does not exist',
            "permission denied",
            "must be superuser or replication role",
            "autocreation is disabled",
            'publication ".*" does not exist',
            "no longer available on the server",
            "can no longer get changes",
            "wal_level",
            "Could not resolve",
            "has been invalidated",
        )
    )
)


class Source(Protocol):
    """What the guard asks of, and does to, one source. The real one is `AttachedSource`."""

    name: str

    def status(self) -> types.Status | None:
        """The connector's status; None where there is no connector. Raises `WakeError` when that cannot be asked."""
        ...

    def snapshot(self) -> Progress:
        """How far the initial snapshot has come."""
        ...

    def restart(self) -> None:
        """Restart what is FAILED."""
        ...

    def start_over(self) -> None:
        """Take the initial snapshot anew, with a new slot."""
        ...

    def tend(self) -> None:
        """Judge the slot, settle snapshots that have read ahead of the log, pass on letters, and follow the schema."""
        ...

    def record(self, what: str, detail: str) -> None:
        """Keep in the ledger what was seen or done."""
        ...


@dataclass
class Watch:
    """One source under guard; `look` is called again and again."""

    source: Source
    clock: Clock
    failures: int = 0
    """Restarts since it last ran for long."""
    running_since: float | None = None
    not_before: float = field(default=float("-inf"))
    """When the next attempt may be made."""
    said: str = ""
    """The last problem that was recorded, so that it is recorded once."""

    def look(self) -> None:
        """See how the source does and help where that is possible."""
        try:
            self._look()
        except WakeError as error:
            self._say("unreachable", str(error))

    def _look(self) -> None:
        status = self.source.status()
        if status is None:
            return  # Nobody has attached it yet.
        self.source.tend()
        progress = self.source.snapshot()
        if progress == "starting over":
            self._start_over(status)
        elif status.connector.state in ("STOPPED", "PAUSED"):
            return  # A person did that.
        elif progress == "interrupted" or (progress == "running" and status.failure is not None):
            self._start_over(status)
        elif status.failure is not None:
            self._restart(status)
        elif status.running:
            self._rest()

    def _start_over(self, status: types.Status) -> None:
        if self._too_early():
            return
        reason = _reason(status) or "the snapshot was begun a second time beside the slot of the first"
        self.source.record("snapshot interrupted", f"{reason}; starting it over with a new slot")
        self._attempted(LONGEST_PAUSE)
        self.source.start_over()
        self.source.record("snapshot started over", f"connector {status.name} has no offsets and makes a new slot")

    def _restart(self, status: types.Status) -> None:
        reason = _reason(status)
        self.running_since = None
        fatal = _FATAL.search(reason) is not None
        if fatal and reason != self.said:
            self._say("needs a person", reason)
            self.not_before = self.clock.monotonic() + FATAL_PAUSE
        if self._too_early():
            return
        self._attempted(FATAL_PAUSE if fatal else LONGEST_PAUSE, at_least=FATAL_PAUSE if fatal else 0.0)
        self.source.restart()
        self.source.record("restarted", f"attempt {self.failures}, after: {reason}")

    def _rest(self) -> None:
        now = self.clock.monotonic()
        if self.running_since is None:
            self.running_since = now
            if self.failures or self.said:
                self.source.record("running", f"connector and task run again, after {self.failures} restarts")
            self.said = ""
        if self.failures and now - self.running_since >= STEADY:
            self.failures = 0

    def _too_early(self) -> bool:
        return self.clock.monotonic() < self.not_before

    def _attempted(self, longest: float, *, at_least: float = 0.0) -> None:
        pause = max(at_least, min(longest, FIRST_PAUSE * 2.0**self.failures))
        self.not_before = self.clock.monotonic() + pause
        self.failures += 1
        self.running_since = None

    def _say(self, what: str, detail: str) -> None:
        """Record a problem when it is new; it may be the ledger itself that is away."""
        if detail == self.said:
            return
        self.said = detail
        logger.warning("Guard of %s: %s: %s", self.source.name, what, detail, extra={"action": "guard_problem"})
        with contextlib.suppress(WakeError):
            self.source.record(what, detail)


def _reason(status: types.Status) -> str:
    return telling_line(status.failure[1]) if status.failure else ""


class AttachedSource:
    """A configured source: Connect, its database, and the ledger."""

    def __init__(self, loaded: Loaded, name: str, client: Connect) -> None:
        self.name = name
        self._loaded = loaded
        self._client = client
        self._log = SnapshotLog(loaded.config.kafka, name)
        self._slot = SlotGuard(loaded, name)
        self._drift = DriftGuard(loaded, name)
        self._settling = Settling(loaded.config.kafka, name, self._open)
        self._retrying = Retrying(loaded.config.kafka, name)
        self._reader: databases.Connection | None = None

    def status(self) -> types.Status | None:
        """The connector's status; None where there is no connector."""
        try:
            return self._client.status_now(topics.connector(self.name))
        except ConnectorMissing:
            return None

    def snapshot(self) -> Progress:
        """How far the initial snapshot has come, by the notifications in the change log."""
        with self._ledger() as connection, databases.asking("the ledger"):
            return self._log.progress(connection)

    def restart(self) -> None:
        """Restart what is FAILED, and ask anew for the snapshots that were lost with it."""
        name = topics.connector(self.name)
        offsets = self._client.offsets(name)  # final, as the task has ended
        self._client.restart(name)
        with self._ledger() as ledger, databases.asking("the ledger"):
            snapshots.ask_anew(self._loaded.config.kafka, ledger, self.name, offsets)
            self._drift.ask_anew(ledger)

    def start_over(self) -> None:
        """Stop, forget the offsets, drop the slot, begin again; after a crash on the way it is done anew."""
        name, config = topics.connector(self.name), self._loaded.config
        with ledger_setup.locked(reveal(config.ledger.url), logger.info) as connection, databases.asking("the ledger"):
            snapshot_log.begin_anew(connection, self.name)
            self._client.stop_and_wait(name, STOP_TIMEOUT)
            self._client.forget_offsets(name, STOP_TIMEOUT)
            self._drop_slot()
            offset = snapshot_log.end_of_log(config.kafka, self.name)
            self._client.resume(name)
            snapshot_log.begin(connection, self.name, offset)

    def tend(self) -> None:
        """Judge the slot, settle snapshots, follow the schema, and pass on notices and letters."""
        with self._ledger() as ledger, databases.asking("the ledger"):
            notices.forward(self._loaded.config, ledger, self.name)
            self._drift.note_begun(ledger)
            self._settling.look(ledger)
            self._slot.look(self._read_session(), ledger, self._client, self.record)
            self._drift.look(self._read_session(), ledger, self._client, self.record)
            self._retrying.look(ledger)

    def _open(self) -> databases.Connection:
        return databases.capture(self._loaded, self.name, purpose="guard")

    def _read_session(self) -> databases.Connection:
        """One session for all looks, opened again when it broke."""
        if self._reader is None or self._reader.closed:
            self._reader = self._open()
        return self._reader

    def close(self) -> None:
        """End the session with the source."""
        if self._reader is not None:
            self._reader.close()

    def _drop_slot(self) -> None:
        what = f"source {self.name}, dropping its slot"
        with databases.capture(self._loaded, self.name, purpose="guard") as reader, databases.asking(what):
            slot.drop(reader, self.name)

    def record(self, what: str, detail: str) -> None:
        """Keep in the ledger what was seen or done."""
        logger.info("Guard of %s: %s: %s", self.name, what, detail, extra={"action": "guard_event"})
        measures.EVENTS.labels(self.name, what).inc()
        with self._ledger() as connection, databases.asking("the ledger"):
            connection.execute(
                "insert into wake.guard_event (source, what, detail) values (%s, %s, %s)", (self.name, what, detail)
            )

    def _ledger(self) -> databases.Connection:
        return ledger.connect(reveal(self._loaded.config.ledger.url), name="guard", autocommit=True)


def run(loaded: Loaded, stop: threading.Event, *, clock: Clock = time, interval_s: float = INTERVAL) -> None:
    """Guard all sources until `stop` is set, but those whose connector is somebody else's.

    Raises `ConfigurationError` when the ledger's schema is not this version's.
    """
    ledger.require_current(reveal(loaded.config.ledger.url))
    with (
        metrics.served(loaded.config.metrics.guard),
        Connect(loaded.config.connect.url, retry_s=CONNECT_PATIENCE, clock=clock) as client,
    ):
        own = [name for name, settings in loaded.config.sources.items() if settings.adopt is None]
        sources = [AttachedSource(loaded, name, client) for name in own]
        watches = [Watch(source, clock) for source in sources]
        try:
            while not stop.is_set():
                for watch in watches:
                    watch.look()
                stop.wait(interval_s)
        finally:
            for source in sources:
                source.close()
