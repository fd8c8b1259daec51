"""Where a consumer starts: at its committed position, in a new log, or behind a gap that it must declare first."""

from __future__ import annotations

import dataclasses
import time
from datetime import datetime
from typing import Any, cast

import msgspec
from confluent_kafka import Consumer, KafkaException, TopicCollection, TopicPartition

from cdc_consumer import mirror_tables, position
from cdc_consumer.collect import Piece
from cdc_consumer.mirrors import Mirrors
from cdc_consumer.plan import Plan
from cdc_consumer.position import Position
from cdc_consumer.publish import Publisher
from cdc_consumer.render import Renderer
from wakestream import capture, events, kafka, topics
from wakestream.config.models import Kafka
from wakestream.errors import EventError, FatalError, TransientError
from wakestream.ledger import Connection


class Context:
    """What the context topic of a source already holds."""

    def __init__(self, settings: Kafka, source: str) -> None:
        self._settings = settings
        self._topic = topics.context(source)
        self.partitions = kafka.partition_count(kafka.admin(settings), self._topic)
        if self.partitions == 0:
            raise TransientError(f"there is no topic {self._topic}; `wake apply` makes it")
        self._highest: list[tuple[int, int]] = []

    def highest_log(self) -> int:
        """The highest `log` that any event has; 0 in an empty topic."""
        return max((log for log, _ in self._highest), default=0)

    def highest_offset(self, log: int) -> int:
        """The highest `offset` of the change log that an event of this `log` was made from; -1 without one."""
        return max((offset for of, offset in self._highest if of == log), default=-1)

    def read_ends(self) -> None:
        """Look at the topic's ends; only when nobody else writes there any more."""
        consumer = kafka.reader(self._settings, f"ends-{self._topic}")
        try:
            ends = [self._end(consumer, number) for number in range(self.partitions)]
            self._highest = [end for end in ends if end is not None]
        finally:
            consumer.close()

    def _end(self, consumer: Consumer, number: int) -> tuple[int, int] | None:
        """`log` and `offset` of the last event of a partition."""
        low, high = kafka.watermarks(consumer, self._topic, number)
        if high <= low:
            return None
        consumer.assign([TopicPartition(self._topic, number, high - 1)])
        message = consumer.poll(kafka.REQUEST_TIMEOUT)
        if message is None or message.error() is not None:
            raise TransientError(f"the end of {self._topic}[{number}] cannot be read")
        try:
            place = events.parse_head(message.value() or b"").data.position
        except EventError as error:
            where = f"{self._topic}[{number}]"
            raise FatalError(f"{where} ends with a foreign message; only the consumer may write there") from error
        return place.log, place.offset


@dataclasses.dataclass(frozen=True)
class Opened:
    """A position to go on from, and what may be missing before it."""

    position: Position
    gap: str | None = None
    clock: datetime | None = None


def open_position(
    connection: Connection,
    consumer: Consumer,
    context: Context,
    settings: Kafka,
    source: str,
    held: position.Ownership,
) -> Opened:
    """Take the source over and find out where to go on. Nothing but the ownership is committed here."""
    row = position.take_over(connection, source, held)
    context.read_ends()
    newest = capture.load(connection, source)
    if newest is None:
        raise FatalError(f"the ledger knows nothing of {source}; run `wake apply`")
    topic = topics.changes(source)
    identifier = _topic_id(settings, topic)
    low, high = kafka.watermarks(consumer, topic, 0)
    catalogue = newest.catalogue
    fresh = Position(
        log=context.highest_log() + 1,
        topic_id=identifier,
        system_identifier=catalogue.system_identifier,
        timeline=catalogue.timeline,
        offset=-1,
        commit=None,
        read_from=low,
        revision=capture.newest_unplaced(connection, source) or newest.id,
        epoch=1,
    )
    if row is None:
        first = capture.load(connection, source, fresh.revision) or newest
        mirror_tables.prepare(connection, Plan(first))
        position.create(connection, source, fresh)
        position.make_durable(connection)
        connection.commit()
        held.epoch = fresh.epoch
        return Opened(fresh, f"the change log starts at offset {low}, not at its beginning" if low else None)
    clock = position.clock(connection, source)
    anew = msgspec.structs.replace(fresh, log=max(row.log + 1, fresh.log), epoch=row.epoch, revision=row.revision)
    if (row.system_identifier, row.timeline) != (fresh.system_identifier, fresh.timeline):
        if row.topic_id == identifier:  # Records that were applied stay so; those behind them belong to what is new.
            read_from = min(max(row.read_from, low), high)
            anew = msgspec.structs.replace(anew, offset=min(row.offset, high - 1), read_from=read_from)
        return Opened(anew, "the source is another database, or was restored or failed over", clock)
    if row.topic_id != identifier:
        # Positions of the database stay what they are, so the last applied transaction is still known.
        return Opened(msgspec.structs.replace(anew, commit=row.commit), f"topic {topic} was made anew", clock)
    if row.offset >= high:
        reason = f"the change log ends at offset {high}, and {row.offset} was applied: the broker has lost its end"
        return Opened(msgspec.structs.replace(anew, commit=row.commit, offset=high - 1, read_from=high), reason, clock)
    if row.read_from < low <= row.offset + 1:
        # Only the beginning of a transaction is gone that has not ended: it tells itself that changes are missing.
        return Opened(msgspec.structs.replace(row, read_from=low))
    if row.read_from < low:
        reason = f"the change log no longer has offsets {row.read_from} to {low - 1}: the consumer was away too long"
        return Opened(msgspec.structs.replace(row, offset=low - 1, read_from=low), reason, clock)
    return Opened(row)


def announce_gap(connection: Connection, publisher: Publisher, context: Context, plan: Plan, opened: Opened) -> None:
    """Declare the gap before anything behind it: one event, one commit."""
    at, source = opened.position, plan.revision.source
    if opened.gap is None:
        return
    position.claim(connection, source, at.epoch)
    states = Mirrors(connection, source, at.log, plan.tables)
    tables = sorted(plan.tables)
    number = states.open_gap(tables, opened.gap, at.offset)
    ts_ms = int((opened.clock.timestamp() if opened.clock else time.time()) * 1000)
    renderer = Renderer(source, at.log, context.partitions)
    place = renderer.at(Piece("control", at.offset, ts_ms=ts_ms))
    message = renderer.gap(place, number, "open", tables, opened.gap, 1, 1)
    states.keep_event(number, message.value)
    publisher.send([message])
    publisher.wait()
    position.replace(connection, source, at)
    position.make_durable(connection)
    connection.commit()


def _topic_id(settings: Kafka, topic: str) -> str:
    """Kafka's own id of a topic: another one after it was deleted and made anew."""
    try:
        client = cast("Any", kafka.admin(settings))  # must outlive the answer
        asked = client.describe_topics(TopicCollection([topic]), request_timeout=kafka.REQUEST_TIMEOUT)
        return str(asked[topic].result().topic_id)
    except KafkaException as error:
        raise kafka.convert(error, f"looking for topic {topic}; `wake apply` makes it") from error
