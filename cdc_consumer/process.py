"""One source's consumer as a process: opens what it needs, runs cycles, and waits out an absent broker or ledger."""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import partial

import msgspec
import psycopg
from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition

from cdc_consumer import decode, large, measures, mirror_tables, position, start
from cdc_consumer.adopted_session import AdoptedSession
from cdc_consumer.collect import Collector, Piece, is_border, is_revision
from cdc_consumer.cycle import Cycle
from cdc_consumer.plan import Plan
from cdc_consumer.position import Position
from cdc_consumer.publish import Publisher
from wakestream import capture, kafka, ledger, topics
from wakestream.capture import Revision
from wakestream.config import Config, reveal
from wakestream.errors import FatalError, TransientError, WakeError
from wakestream.failpoint import reach
from wakestream.ledger import Connection, settings

logger = logging.getLogger(__name__)

POLL_TIMEOUT = 0.2  # seconds until a stop is noticed
READ_AT_ONCE = 500  # messages
BATCH = 1000  # messages read before what is whole is applied
JOINED = 4000  # pieces of one cycle
ACK_LOOK = 0.001  # seconds for what arrives, before a look at whether the broker has the events
JOIN_FOR = 0.05  # seconds in which what arrives joins a cycle
BEHIND_FOR = 0.4  # the same while there is more in the log than is read at once
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
        options = " ".join(f"-c {name}={value}" for name, value in SESSION.items())
        with (
            _ledger_errors(),
            ledger.connect(url, name=f"consume {self._source}", options=options) as connection,
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
        self._topic = topics.changes(source)
        self._connection = connection
        self._consumer = consumer
        self._stop = stop
        self._held = held
        self._context = start.Context(config.kafka, source)
        self._ahead: list[Message] = []
        """Read already, and behind a revision's record."""
        self._is_behind = False
        """Whether there was more in the log than was read at once."""
        self._unmeasured = 0
        """Records that were read, and of which the measures do not know."""

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
        collector = Collector(at.commit, plan.keyless)
        self._consumer.assign([TopicPartition(self._topic, 0, at.read_from)])
        key = settings.key(self._connection, settings.MARK_KEY)
        self._connection.commit()
        cycle = self._cycle(plan, at, publisher, key)
        logger.info("%s is read from offset %d on", self._topic, at.read_from, extra={"action": "consumer_started"})
        newest, wanted = 0, self._unplaced(gap=gap)
        while not self._stop.is_set():
            # What was published under a revision is published again under the same one, never under a newer.
            if wanted.id > plan.revision.id and at.offset >= replay_to:
                plan = self._switch(wanted, plan, at)
                collector.keyless = plan.keyless
                cycle = self._cycle(plan, at, publisher, key)
            last, pieces = self._read(collector, at.offset, cycle)  # 1, 2
            if not pieces:
                cycle.leave()
                self._measure(last)
                continue
            reach("consume.2.read")
            record = pieces.pop() if is_border(pieces[-1]) else None
            if not pieces:
                cycle.leave()
            else:
                cycle.add(pieces)
                offset = pieces[-1].offset
                if record is None:
                    last, offset, record = self._join(cycle, collector, last, offset)
                number = cycle.finish(collector.read_from(last - (record is not None)), collector.applied)
                self._measure(last)
                newest, wanted = number, wanted if number == newest else self._unplaced()
                at = msgspec.structs.replace(at, offset=offset)
            if record is not None and not is_revision(record):
                self._begin_history(record, plan, publisher, at)
                return  # to be opened anew
            if record is not None:
                # Durable before the record counts as read: a restart that has not switched finds it again.
                placed = capture.find_placed(self._connection, self._source, record.body["revision"])
                if placed is not None and placed.id > plan.revision.id:
                    plan = self._switch(placed, plan, at)
                    collector.keyless = plan.keyless
                    cycle = self._cycle(plan, at, publisher, key)
                cycle.run([record], collector.read_from(last), collector.applied)
                at = msgspec.structs.replace(at, offset=record.offset)
            yield

    def _join(self, cycle: Cycle, collector: Collector, last: int, offset: int) -> tuple[int, int, Piece | None]:
        """Let what arrives while the broker takes the events join the cycle.

        Returns the last record read, that of the last piece applied, and a border if one came.
        """
        began = time.monotonic()
        while cycle.size < JOINED and time.monotonic() - began < (BEHIND_FOR if self._is_behind else JOIN_FOR):
            if cycle.is_told and cycle.is_published():
                break
            read, pieces = self._read(collector, offset, cycle, wait=ACK_LOOK if cycle.is_told else 0.0)
            last = max(last, read)
            record = pieces.pop() if pieces and is_border(pieces[-1]) else None
            if pieces:
                cycle.add(pieces)
                offset = pieces[-1].offset
            else:
                cycle.tell()
            if record is not None:
                return last, offset, record
        return last, offset, None

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

    def _read(
        self, collector: Collector, applied_offset: int, cycle: Cycle, wait: float = POLL_TIMEOUT
    ) -> tuple[int, list[Piece]]:
        """What is there now, up to a batch or a border; waits a little for the first message only."""
        pieces: list[Piece] = []
        last = applied_offset
        messages, self._ahead = self._ahead or self._wait(wait), []
        count = 0
        if messages and decode.is_end(messages[-1].value()):
            cycle.open()
        while messages:
            for place, message in enumerate(messages, 1):
                error = message.error()
                if error is not None:
                    raise self._unreadable(error)
                last = message.offset() or 0
                piece = collector.take(last, message.key(), message.value())  # pyright: ignore[reportArgumentType]
                # A snapshot row inside an unfinished transaction was applied before the restart and is read again.
                if piece is not None and last > applied_offset:
                    pieces.append(piece)
                    if is_border(piece):
                        self._ahead = messages[place:]
                        return last, pieces
            count += len(messages)
            messages = self._consumer.consume(READ_AT_ONCE, 0) if count < BATCH else []
        self._unmeasured += count
        self._is_behind = count >= BATCH
        return last, pieces

    def _measure(self, last: int) -> None:
        """Say what was read; no event waits for it."""
        if self._unmeasured:
            measures.read(self._source, self._unmeasured, last, self._known_end())
            self._unmeasured = 0

    def _known_end(self) -> int | None:
        """Where the log ended when the broker was last heard; asks nobody."""
        known = self._consumer.get_watermark_offsets(TopicPartition(self._topic, 0), cached=True)
        return known[1] if known[1] >= 0 else None

    def _wait(self, wait: float) -> list[Message]:
        first = self._consumer.poll(wait)
        return [] if first is None else [first, *self._consumer.consume(READ_AT_ONCE, 0)]

    def _unreadable(self, error: KafkaError) -> WakeError:
        if error.code() == KafkaError._AUTO_OFFSET_RESET:  # noqa: SLF001 - librdkafka's own code
            return TransientError(f"{self._topic} no longer has what was to be read next; looking again")
        return kafka.convert(error, f"reading {self._topic}")

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
            reread=partial(large.reread, self._config.kafka, self._source),
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
        raise FatalError(f"the ledger refuses a statement: {str(error).strip()}") from error
    except KafkaException as error:
        raise kafka.convert(error, "reading the change log") from error
    except LookupError as error:
        raise FatalError(str(error)) from error
