"""One source's consumer as a process: opens what it needs, runs cycles, and waits out an absent broker or ledger."""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime

import msgspec
import psycopg
from confluent_kafka import Consumer, KafkaException

from cdc_consumer import measures, mirror_tables, position, start, unreadable
from cdc_consumer.adopted_session import AdoptedSession
from cdc_consumer.collect import Piece, is_revision
from cdc_consumer.cycle import Cycle
from cdc_consumer.plan import Plan
from cdc_consumer.position import Position
from cdc_consumer.publish import Publisher
from cdc_consumer.reading import Read, Reading
from cdc_consumer.rereading import ChangeLog
from wakestream import capture, kafka, ledger, topics
from wakestream.capture import Revision
from wakestream.config import Config, reveal
from wakestream.errors import FatalError, TransientError
from wakestream.failpoint import reach
from wakestream.ledger import Connection, settings

logger = logging.getLogger(__name__)

JOINED = 20_000  # changes of one cycle, and transactions
ACK_LOOK = 0.001  # seconds for what arrives, before a look at whether the broker has the events
JOIN_FOR = 0.05  # seconds in which what arrives joins a cycle
BEHIND_FOR = 0.8  # the same while there is more in the log than is read at once
BACKOFF = (0.2, 0.5, 1.0, 2.0, 5.0)  # seconds between tries while the world is away

# A cycle waits for the broker inside its transaction; longer than that, and the owner is dead. Statements look up a few
# keys by their indexes: guessing a hundred, PostgreSQL would read small tables whole for each.
SESSION = {
    "TimeZone": "UTC",
    "IntervalStyle": "iso_8601",
    "bytea_output": "hex",
    "DateStyle": "ISO",
    "lc_monetary": "C",
    "synchronous_commit": "off",
    "idle_in_transaction_session_timeout": "60s",
    "jit": "off",
    "enable_hashjoin": "off",
    "enable_mergejoin": "off",
    "search_path": "pg_catalog",
}

_LEDGER_AWAY = (psycopg.OperationalError, psycopg.InterfaceError, psycopg.errors.IdleInTransactionSessionTimeout)


class SourceConsumer:
    """Keeps the context of one source up to date until it is told to stop."""

    def __init__(self, config: Config, source: str, stop: threading.Event) -> None:
        self._config = config
        self._source = source
        self._stop = stop
        self._held = position.Ownership()

    def run(self) -> None:
        """Until stopped. Raises `FatalError` when going on would be wrong or useless."""
        failures = 0
        while not self._stop.is_set():
            try:
                with self._session() as session:
                    for _ in session:
                        failures = 0
            except TransientError as error:
                wait = BACKOFF[min(failures, len(BACKOFF) - 1)]
                failures += 1
                measures.WAITS.labels(self._source).inc()
                logger.warning("%s waits %.1f s: %s", self._source, wait, error, extra={"action": "consumer_waits"})
                self._stop.wait(wait)

    @contextmanager
    def _session(self) -> Generator[Iterator[None]]:
        """Everything that one stretch without failures needs, closed at its end."""
        url = reveal(self._config.ledger.url)
        with (
            _ledger_errors(),
            ledger.connect(url, name=f"consume {self._source}", session=SESSION) as connection,
        ):
            connection.prepare_threshold = 1
            mask_key = settings.key(connection, settings.MASK_KEY)
            connection.execute("select set_config('wake.mask_key', %s, false)", (mask_key.hex(),))
            connection.commit()
            consumer = kafka.reader(self._config.kafka, f"consume-{self._source}")
            try:
                kind = Session if self._config.sources[self._source].adopt is None else AdoptedSession
                yield kind(self._config, self._source, connection, consumer, self._stop, self._held).cycles()
            finally:
                consumer.close()


class Session:
    """One stretch of cycles over one connection, one reader and one publisher."""

    def __init__(
        self,
        config: Config,
        source: str,
        connection: Connection,
        consumer: Consumer,
        stop: threading.Event,
        held: position.Ownership,
    ) -> None:
        self._config = config
        self._source = source
        self._connection = connection
        self._consumer = consumer
        self._stop = stop
        self._held = held
        self._context = start.Context(config.kafka, source)

    def cycles(self) -> Iterator[None]:
        """Run cycle after cycle; yields after each that moved the position."""
        opened = start.open_position(
            self._connection, self._consumer, self._context, self._config.kafka, self._source, self._held
        )
        at = opened.position
        plan = self._plan(at.revision)
        publisher = Publisher(self._config.kafka, topics.context(self._source), self._context.partitions)
        try:
            start.announce_gap(self._connection, publisher, self._context, plan, opened)
            yield from self._cycles(at, plan, publisher, gap=opened.gap is not None)
        except BaseException:
            publisher.give_up()  # before anybody else can claim the position
            with contextlib.suppress(psycopg.OperationalError):  # a broken session has rolled back by itself
                self._connection.rollback()
            raise

    def _cycles(self, at: Position, plan: Plan, publisher: Publisher, *, gap: bool) -> Iterator[None]:
        replay_to = self._context.highest_offset(at.log)
        reading = Reading(self._consumer, self._source, at, plan.keyless)
        key = settings.key(self._connection, settings.MARK_KEY)
        self._connection.commit()
        cycle = self._cycle(plan, at, publisher, key)
        topic = topics.changes(self._source)
        logger.info("%s is read from offset %d on", topic, at.read_from, extra={"action": "consumer_started"})
        newest, wanted = 0, self._unplaced(gap=gap)
        while not self._stop.is_set():
            # What was published under a revision is published again under the same one, never under a newer.
            if wanted.id > plan.revision.id and at.offset >= replay_to:
                plan = self._switch(wanted, plan, at)
                reading.switch(plan.keyless)
                cycle = self._cycle(plan, at, publisher, key)
            read = reading.read(on_end=cycle.open)  # 1, 2
            if not read.pieces:
                cycle.leave()
            if not read.pieces and read.border is None:
                reading.measure(read.last)
                continue
            reach("consume.2.read")
            if read.pieces:
                cycle.add(read.pieces)
                read = self._join(cycle, reading, read)
                offset, number = cycle.offset, cycle.finish(read.read_from, read.commit)
                reading.measure(read.last)
                newest, wanted = number, wanted if number == newest else self._unplaced()
                at = msgspec.structs.replace(at, offset=offset)
            border = read.border
            if border is not None and not is_revision(border):
                self._begin_history(border, plan, publisher, at)
                return  # to be opened anew
            if border is not None:
                # Durable before the record counts as read: a restart that has not switched finds it again.
                placed = capture.find_placed(self._connection, self._source, border.body["revision"])
                if placed is not None and placed.id > plan.revision.id:
                    plan = self._switch(placed, plan, at)
                    reading.switch(plan.keyless)
                    cycle = self._cycle(plan, at, publisher, key)
                cycle.run([border], reading.behind(border), read.commit)
                at = msgspec.structs.replace(at, offset=border.offset)
            yield

    def _join(self, cycle: Cycle, reading: Reading, read: Read) -> Read:
        """Let what arrives while the broker takes the events join the cycle; returns the last read that did."""
        began = time.monotonic()
        while (
            read.border is None
            and cycle.size < JOINED
            and time.monotonic() - began < (BEHIND_FOR if reading.is_behind else JOIN_FOR)
            and not (cycle.is_told and cycle.is_published())
        ):
            read = reading.read(ACK_LOOK if cycle.is_told else 0.0)
            if read.pieces:
                cycle.add(read.pieces)
            else:
                cycle.tell()
        if read.border is None:
            cycle.tell()
            reading.read_on(cycle.is_published)
        return read

    def _begin_history(self, record: Piece, plan: Plan, publisher: Publisher, at: Position) -> None:
        """What follows is of a database that was restored: its positions begin anew, behind a gap."""
        catalogue = self._newest().catalogue
        anew = msgspec.structs.replace(
            at,
            log=at.log + 1,
            offset=record.offset,
            commit=None,
            read_from=record.offset + 1,
            system_identifier=catalogue.system_identifier,
            timeline=catalogue.timeline,
            revision=plan.revision.id,
        )
        told_at = datetime.fromtimestamp(record.body["ts_ms"] / 1000, UTC)
        opened = start.Opened(anew, f"the source was restored: {record.body['reason']}", told_at)
        start.announce_gap(self._connection, publisher, self._context, plan, opened)

    def _newest(self) -> Revision:
        found = capture.load(self._connection, self._source)
        self._connection.commit()
        if found is None:
            raise FatalError(f"the ledger knows nothing of {self._source}; run `wake apply`")
        return found

    def _unplaced(self, *, gap: bool = False) -> Revision:
        """The newest revision that needs no place in the log; behind a gap, where its place may be gone, any."""
        number = None if gap else capture.newest_unplaced(self._connection, self._source)
        if number is None:
            return self._newest()
        found = self._plan(number).revision
        self._connection.commit()
        return found

    def _switch(self, revision: Revision, before: Plan, at: Position) -> Plan:
        """Work under a newer revision from here on; committed before anything is published under it."""
        plan = Plan(revision)
        position.claim(self._connection, self._source, at.epoch)
        mirror_tables.prepare(self._connection, plan, before.revision)
        position.make_durable(self._connection)
        position.set_revision(self._connection, self._source, revision.id)
        self._connection.commit()
        return plan

    def _plan(self, revision: int) -> Plan:
        found = capture.load(self._connection, self._source, revision)
        if found is None:
            raise FatalError(f"the ledger has no revision {revision} of {self._source}; run `wake apply`")
        return Plan(found)

    def _cycle(self, plan: Plan, at: Position, publisher: Publisher, key: bytes) -> Cycle:
        return Cycle(
            self._connection,
            plan,
            log=at.log,
            epoch=at.epoch,
            publisher=publisher,
            partitions=self._context.partitions,
            mark_key=key,
            records=ChangeLog(self._config.kafka, self._source),
        )


@contextmanager
def _ledger_errors() -> Generator[None]:
    """Psycopg's and Kafka's errors as ours, in one place."""
    try:
        yield
    except _LEDGER_AWAY as error:
        if (getattr(error, "sqlstate", None) or "").startswith("28"):
            raise FatalError(f"the ledger refuses us: {error}") from error
        raise TransientError(f"the ledger is away: {str(error).strip()}") from error
    except psycopg.Error as error:
        quotes_values = isinstance(error, unreadable.UNREADABLE)
        said = unreadable.kind(error) if quotes_values else str(error).strip()
        raise FatalError(f"the ledger refuses a statement: {said}") from error
    except KafkaException as error:
        raise kafka.convert(error, "reading the change log") from error
    except LookupError as error:
        raise FatalError(str(error)) from error
