"""A recorded change log applied once more: in other batches, with crashes, against a ledger of its own."""

from __future__ import annotations

import dataclasses
import random
import secrets
from collections.abc import Generator, Iterable, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from urllib.parse import urlsplit

import psycopg
from psycopg import sql

from cdc_consumer import fitting, mirror_tables, position, process
from cdc_consumer.collect import Collector, Piece
from cdc_consumer.cycle import Cycle
from cdc_consumer.plan import Plan
from cdc_consumer.position import Position
from cdc_consumer.publish import Publisher
from cdc_consumer.render import Message
from tests.harness.context import ContextLog, Raw
from tests.harness.stack import drop_database
from wakestream import ledger
from wakestream.capture import Capture, Revision
from wakestream.catalogue import Catalogue

Record = tuple[int, bytes | None, bytes | None]
"""Offset, key and value of one message of the change log."""


class Recorder(Publisher):
    """Takes messages where Kafka would; `refuse` makes the next cycle fail before it is committed."""

    def __init__(self, most: int = 2**24) -> None:
        self.messages: list[Message] = []
        self.unshown: list[fitting.Unshown] = []
        self._most = most
        self.refuse = False
        self.sent = 0

    def send(self, messages: Iterable[Message]) -> None:
        self.messages += [fitting.fitted(each, self._most, self.unshown.append) for each in messages]
        self.sent = len(self.messages)

    def wait(self) -> None:
        if self.refuse:
            self.refuse = False
            raise Refused

    def give_up(self) -> None:
        return

    def context(self, partitions: int) -> ContextLog:
        """What Kafka would have: a list for each partition, and what is for all in each."""
        raw: list[Raw] = []
        for place, message in enumerate(self.messages):
            targets = range(partitions) if message.partition is None else (message.partition,)
            raw += [Raw(each, place, message.subject.encode(), message.value.encode()) for each in targets]
        return ContextLog(raw, partitions)


class Refused(Exception):
    """The broker was not there when the cycle needed it."""


@dataclass(frozen=True)
class Recording:
    """A change log as it was recorded, and what is needed to apply it."""

    source: str
    catalogue: Catalogue
    capture: Capture
    mark_key: bytes
    partitions: int
    records: Sequence[Record]

    def head(self, count: int) -> Recording:
        """Its first records."""
        return dataclasses.replace(self, records=self.records[:count])

    def replay(
        self, url: str, rng: random.Random, *, largest: int, crashes: float = 0.0, most: int = 2**24
    ) -> ContextLog:
        """Apply it in batches of random size up to `largest` records; a part of the cycles fails and is repeated.

        No message has more bytes than `most`.
        """
        recorder = Recorder(most)
        with _prepared(url, self) as (connection, plan):
            at = 0
            collector = Collector(keyless=self._keyless)
            while at < len(self.records):
                cycle = self._cycle(connection, plan, recorder)
                recorder.refuse = rng.random() < crashes
                try:
                    at = self._one(cycle, collector, at, rng.randint(1, largest), rng)
                except Refused:
                    connection.rollback()
                    at, collector = self._restart(connection)
        return recorder.context(self.partitions)

    @contextmanager
    def cycle(self, url: str, recorder: Recorder) -> Generator[tuple[ledger.Connection, Cycle]]:
        """A cycle over a new ledger, for who adds its pieces himself."""
        with _prepared(url, self) as (connection, plan):
            yield connection, self._cycle(connection, plan, recorder)

    def pieces(self) -> list[Piece]:
        """All of its pieces."""
        collector = Collector(keyless=self._keyless)
        return [piece for record in self.records if (piece := collector.take(*record)) is not None]

    def between(self, first: int, last: int) -> Sequence[Record]:
        """What is read again of it."""
        return self.records[first : last + 1]

    def since(self, ts_ms: int) -> int:
        """Its records keep no time of their own. A broker refuses times that are none."""
        assert 0 <= ts_ms < 2**63
        return 0

    @property
    def _keyless(self) -> frozenset[str]:
        return frozenset(label for label, table in self.catalogue.tables.items() if not table.key)

    def _one(self, cycle: Cycle, collector: Collector, at: int, count: int, rng: random.Random) -> int:
        """One cycle, whose pieces come at once or one part after another."""
        records = self.records[at : at + count]
        pieces = [piece for record in records if (piece := collector.take(*record)) is not None]
        if pieces and rng.random() < 0.5:
            cycle.open()
        left = pieces
        while left:
            part, left = left[: (size := rng.randint(1, len(left)))], left[size:]
            cycle.add(part)
            if rng.random() < 0.3:
                cycle.tell()
        if pieces:
            cycle.finish(collector.read_from(records[-1][0]), collector.applied)
        return at + len(records)

    def _restart(self, connection: psycopg.Connection) -> tuple[int, Collector]:
        """Where a process that starts anew reads on; nothing between its first record and its position is a piece."""
        row = connection.execute('select read_from, "commit", "offset" from wake.source_position').fetchone()
        assert row is not None
        read_from, commit, applied = row
        collector = Collector(commit, self._keyless)
        for record in self.records[read_from : applied + 1]:
            collector.take(*record)
        return applied + 1, collector

    def _cycle(self, connection: psycopg.Connection, plan: Plan, recorder: Recorder) -> Cycle:
        return Cycle(
            connection,
            plan,
            log=1,
            epoch=1,
            publisher=recorder,
            partitions=self.partitions,
            mark_key=self.mark_key,
            records=self,
        )


@contextmanager
def scratch_ledger(cluster: str, template: str | None = None) -> Generator[str]:
    """The URL of a new ledger in this cluster, for as long as it is needed: with the newest schema, or as a copy."""
    name = f"ledger_{secrets.token_hex(5)}"
    with psycopg.connect(cluster, autocommit=True) as admin:
        admin.execute(
            sql.SQL("create database {} template {}").format(
                sql.Identifier(name), sql.Identifier(template or "template1")
            )
        )
    url = urlsplit(cluster)._replace(path=f"/{name}").geturl()
    try:
        if template is None:
            ledger.migrate(url)
        yield url
    finally:
        with psycopg.connect(cluster, autocommit=True) as admin:
            drop_database(admin, name)


def ledger_session(url: str, settings: Mapping[str, str] = process.SESSION) -> ledger.Connection:
    """A session with the consumer's own settings."""
    return ledger.connect(url, name="consume replay", session={**settings, "wake.mask_key": "00"})


@contextmanager
def _prepared(url: str, recording: Recording) -> Generator[tuple[ledger.Connection, Plan]]:
    with ledger_session(url) as connection:
        row = connection.execute(
            "insert into wake.revision (source, digest, catalogue, capture) values (%s, '', '{}', '{}') returning id",
            (recording.source,),
        ).fetchone()
        assert row is not None
        plan = Plan(Revision(row[0], recording.source, recording.catalogue, recording.capture))
        mirror_tables.prepare(connection, plan)
        start = Position(1, "", "", 1, -1, None, 0, row[0], 1)
        position.create(connection, recording.source, start)
        connection.commit()
        yield connection, plan
