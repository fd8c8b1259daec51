"""How a source does whose connector somebody else runs: what it writes, what is read of it, and what is missing."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any, TypeVar

import msgspec
import psycopg
from confluent_kafka import Consumer

from connectors import adopted_plan, adoption, databases, ledger_setup, ledger_status
from connectors.adoption import Adoption
from connectors.checks.finding import CHECKS
from connectors.connect import Connect, telling_line
from connectors.health import BEHIND, Check, ConnectorState, PartitionLag, SourceStatus, TaskState
from connectors.ledger_status import InLedger
from wakestream import inspection, kafka, ledger, topics
from wakestream.capture import Adopted, Capture
from wakestream.catalogue import Catalogue
from wakestream.config import Loaded, reveal
from wakestream.errors import WakeError

T = TypeVar("T")

CONNECT_PATIENCE = 3.0  # seconds


class _Input(msgspec.Struct):
    """The part of an adopted position's input that tells how far it is."""

    next: list[int]


class AdoptedLook:
    """One look at one adopted source. What fails to answer becomes a check that is not well."""

    def __init__(self, loaded: Loaded, source: str, client: Connect, reader: Consumer) -> None:
        self._loaded = loaded
        self._source = source
        self._name = loaded.config.sources[source].adopt or ""
        self._client = client
        self._reader = reader
        self._checks: list[Check] = []

    def count(self) -> None:
        """Nothing is counted of topics that are not ours."""

    def at_everything(self) -> SourceStatus:
        """All checks, in order."""
        connector = self._tried("connector", self._connector)
        self._tried("settings", self._settings)
        found = self._tried("ledger", self._ledger)
        lag = self._tried("consumer", lambda: self._consumer(found)) if found else None
        if found:
            self._judge(found)
        agent = self._tried("agent", lambda: self._agent(found)) if found and self._watched() else None
        return SourceStatus(
            source=self._source,
            ok=all(check.ok for check in self._checks),
            checks=tuple(self._checks),
            connector=connector,
            slot=None,
            clock=None,
            seconds_behind=None,
            consumer_lag=lag,
            agent=agent or (),
            ledger=found,
        )

    def _tried(self, name: str, look: Callable[[], T]) -> T | None:
        try:
            return look()
        except WakeError as error:
            self._check(name, False, str(error))
        return None

    def _check(self, name: str, ok: bool, detail: str) -> None:
        self._checks.append(Check(name, ok, detail))

    def _connector(self) -> ConnectorState | None:
        if adoption.find(self._client, self._name) is None:
            self._check("connector", False, f"there is no connector {self._name} to adopt")
            return None
        found = self._client.status(self._name, wait_s=CONNECT_PATIENCE)
        tasks = tuple(TaskState(each.id, each.state, telling_line(each.trace)) for each in found.tasks)
        reasons = [telling_line(found.connector.trace), *(task.reason for task in tasks)]
        detail = ": ".join([found.label, *[reason for reason in reasons if reason][:1]])
        self._check("connector", found.running, f"{detail}; it is somebody else's and never changed")
        return ConnectorState(self._name, found.connector.state, reasons[0], tasks)

    def _settings(self) -> None:
        """What its settings keep from us, and which would give it."""
        found = self._judged()
        if found is None:
            return
        judged, catalogue = found
        for flaw in judged.flaws:
            remedy = "; ".join(line.removeprefix("none: ") for line in flaw.remedy.split("\n"))
            self._check(flaw.check, CHECKS[flaw.check] == "warning", f"{flaw.evidence}; {remedy}")
        self._check("missing", True, adoption.MISSING)
        with ledger_setup.session(self._loaded, "status") as connection, databases.asking("the ledger"):
            known = ledger_setup.newest_revision(connection, self._source)
        said = adopted_plan.unapplied(known, judged, catalogue) if known else []
        if said:
            self._check("adopt.changed", False, f"{'; '.join(said)}: run `wake apply`")

    def _judged(self) -> tuple[Adoption, Catalogue] | None:
        config = adoption.find(self._client, self._name)
        if config is None:
            return None
        what = f"source {self._source}, reading its catalogue"
        with databases.capture(self._loaded, self._source, purpose="status") as reader, databases.asking(what):
            tables = self._loaded.config.sources[self._source].tables
            catalogue = inspection.read_catalogue(reader, self._source, tables)
            settings = adoption.of_file(self._loaded.config.sources[self._source])
            return adoption.judge(self._name, config, catalogue, settings, reader), catalogue

    def _ledger(self) -> InLedger:
        url = reveal(self._loaded.config.ledger.url)
        ledger.require_current(url)
        with self._own() as connection, databases.asking("the ledger"):
            return ledger_status.read(connection, self._source)

    def _own(self) -> psycopg.Connection[Any]:
        return ledger.connect(reveal(self._loaded.config.ledger.url), name="status", autocommit=True)

    def _consumer(self, found: InLedger) -> int | None:
        with self._own() as connection, databases.asking("the ledger"):
            row = connection.execute(
                "select a.inputs::text, p.updated_at from wake.adopted_position a join wake.source_position p"
                " using (source) where source = %s",
                (self._source,),
            ).fetchone()
        if row is None:
            self._check("consumer", False, "no consumer has read its topics yet; start `wake consume`")
            return None
        inputs = msgspec.json.decode(row[0], type=dict[str, _Input])
        lag = sum(
            max(0, kafka.watermarks(self._reader, topic, partition)[1] - reached)
            for topic, each in inputs.items()
            for partition, reached in enumerate(each.next)
        )
        self._moving("consumer", lag, "records", found.now, row[1])
        return lag

    def _agent(self, found: InLedger) -> tuple[PartitionLag, ...]:
        topic = topics.context(self._source)
        lags = [
            PartitionLag(partition, max(0, kafka.watermarks(self._reader, topic, partition)[1] - at.kafka_offset))
            for partition, at in sorted(found.read.items())
        ]
        if not lags:
            self._check("agent", False, "no agent has read its context yet; start `wake agent`")
            return ()
        with self._own() as connection, databases.asking("the ledger"):
            row = connection.execute(
                "select max(updated_at) from wake.partition_position where topic = %s", (topic,)
            ).fetchone()
        self._moving("agent", sum(lag.lag for lag in lags), "events", found.now, row[0] if row else None)
        return tuple(lags)

    def _moving(self, name: str, left: int, noun: str, now: datetime, moved_at: datetime | None) -> None:
        """Without a clock in the log: well while there is nothing to read, or something was read a moment ago."""
        age = (now - moved_at).total_seconds() if moved_at else float("inf")
        still = f", and nothing was read for {age:.0f} s" if left and age > BEHIND else ""
        self._check(name, not still, f"{left} {noun} to read{still}")

    def _judge(self, found: InLedger) -> None:
        revision = f"revision {found.revision}" if found.revision else "none stored yet"
        self._check("revision", found.revision is not None, revision)
        self._check("mirrors", True, f"{found.mirrors} tables, with the rows that messages have told")
        again = "; `wake detach` and `wake apply` read everything that its topics have once more"
        self._check("gaps", not found.gaps, "; ".join(found.gaps) + again if found.gaps else "none open")
        letters = ", ".join(f"{number} {kind}" for kind, number in self._letters(found).items())
        self._check("dead letters", not letters, letters or "none open")
        for each in found.held:
            trigger = self._loaded.config.triggers.get(each.trigger)
            if trigger is not None and (trigger.table or "").partition(".")[0] == self._source:
                self._check(f"trigger {each.trigger}", False, f"held: {each.reason}")

    def _letters(self, found: InLedger) -> dict[str, int]:
        """The open ones of the context topic, and those of topics that are theirs."""
        with self._own() as connection, databases.asking("the ledger"):
            known = ledger_setup.newest_revision(connection, self._source)
            rows = connection.execute(
                "select kind, count(*) from wake.dead_letter where state = 'open' and topic = any(%s) group by 1",
                (_topics(known.capture if known else None),),
            ).fetchall()
        counts = dict(found.dead_letters)
        for kind, number in rows:
            counts[kind] = counts.get(kind, 0) + number
        return counts

    def _watched(self) -> bool:
        triggers = self._loaded.config.triggers.values()
        return any((trigger.table or "").partition(".")[0] == self._source for trigger in triggers)


def _topics(known: Capture | None) -> list[str]:
    adopted: Adopted | None = known.adopted if known else None
    return list(adopted.topics.values()) if adopted else []
