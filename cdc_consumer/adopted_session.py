"""The cycle over a connector that somebody else runs, in one order that a crash at any point leaves right.

1. Read what is there, of all partitions of all topics.
2. Write down, durably, how far that reaches.
3. In one ledger transaction, which starts by claiming the position row: drop what was sent before, move the mirrors,
   work out the events.
4. Publish them and wait for the broker.
5. Commit, with what is read next.

A crash before 2 has published nothing; one before 5 repeats exactly what was written down, in the same order, and makes
the same bytes again. `offset` in the events counts the messages in that order, so it rises within every partition of
the context topic. docs/decisions/0012 tells why that order is right for each key, and what is not known of the rest.
"""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections.abc import Iterator, Mapping

import msgspec
import psycopg
from confluent_kafka import Consumer

from cdc_consumer import adopted_position, adopted_reading, adopted_topics, mirror_tables, position, start
from cdc_consumer.adopted_cycle import AdoptedCycle
from cdc_consumer.adopted_position import Inputs, Stretch
from cdc_consumer.adopted_reading import Reading
from cdc_consumer.plan import Plan
from cdc_consumer.position import Position
from cdc_consumer.publish import Publisher
from wakestream import capture, topics
from wakestream.capture import Revision
from wakestream.config import Config
from wakestream.errors import FatalError
from wakestream.failpoint import reach
from wakestream.ledger import Connection

logger = logging.getLogger(__name__)

LOOK = 10.0  # seconds between two looks at which topics and partitions there are

Grown = Mapping[str, tuple[list[int], list[int]]]
"""Topics that got partitions: the ends of the old ones, the beginnings of the new ones."""


class AdoptedSession:
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
        self._reading = Reading(consumer, stop)
        self._context = start.Context(config.kafka, source)

    def cycles(self) -> Iterator[None]:
        """Run cycle after cycle; yields after each that moved the position, and ends when topics or tables changed."""
        newest = self._newest()
        at, inputs, stretch = self._open(newest)
        publisher = Publisher(self._config.kafka, topics.context(self._source), self._context.partitions)
        try:
            yield from self._cycles(at, inputs, stretch, newest, publisher)
        except BaseException:
            publisher.give_up()  # before anybody else can claim the position
            with contextlib.suppress(psycopg.OperationalError):  # a broken session has rolled back by itself
                self._connection.rollback()
            raise

    def _newest(self) -> Revision:
        found = capture.load(self._connection, self._source)
        self._connection.commit()
        if found is None or found.capture.adopted is None:
            raise FatalError(f"the ledger does not know what is read of {self._source}; run `wake apply`")
        return found

    def _open(self, newest: Revision) -> tuple[Position, Inputs, Stretch | None]:
        """Take the source over; nothing but the ownership, and a first position, is committed here."""
        at = position.take_over(self._connection, self._source, self._held)
        self._context.read_ends()
        if at is None:
            return self._first(newest)
        found = adopted_position.load(self._connection, self._source)
        self._connection.commit()
        if found is None:
            raise FatalError(f"{self._source} was read from a change log of its own; `wake detach` it, then apply anew")
        return at, *found

    def _first(self, newest: Revision) -> tuple[Position, Inputs, None]:
        catalogue = newest.catalogue
        at = Position(
            log=self._context.highest_log() + 1,
            topic_id="",
            system_identifier=catalogue.system_identifier,
            timeline=catalogue.timeline,
            offset=-1,
            commit=None,
            read_from=0,
            revision=newest.id,
            epoch=1,
        )
        inputs = adopted_topics.first_inputs(newest, self._find(newest, {}))
        mirror_tables.prepare(self._connection, Plan(newest))
        position.create(self._connection, self._source, at)
        adopted_position.create(self._connection, self._source, inputs)
        position.make_durable(self._connection)
        self._connection.commit()
        self._held.epoch = at.epoch
        return at, inputs, None

    def _cycles(
        self, at: Position, inputs: Inputs, stretch: Stretch | None, newest: Revision, publisher: Publisher
    ) -> Iterator[None]:
        """First what was under way, under the revision of then; then what has changed; then what comes."""
        found = self._find(newest, inputs)
        plan = self._plan(at.revision)
        if stretch is not None and stretch.loss is None and adopted_topics.is_repeatable(stretch, inputs, found):
            cycle = self._cycle(plan, at.log, publisher)
            at, inputs = cycle.run(at, inputs, stretch, self._reading.again(inputs, stretch))
            stretch = None
            yield
        plan = self._follow(newest, plan, at)
        following, lost, anew = adopted_topics.followed(newest, inputs, found)
        loss = stretch.loss if stretch is not None else None
        if loss is None:
            if stretch is not None:  # some of it may be published, and cannot be made again
                lost, anew = lost or dict.fromkeys(plan.tables, "messages are gone that were being read"), True
            loss = adopted_topics.loss(at, newest, following, lost, anew=anew)
        if loss is not None:
            adopted_position.write_down(self._connection, self._source, at.epoch, Stretch(loss=loss))
            self._cycle(plan, loss.log, publisher).declare(at, loss)
            yield
            return  # to be opened anew
        if following != inputs:
            self._save(at, following)
        self._reading.assign({topic: each for topic, each in following.items() if topic in found})
        grown = adopted_topics.grown(following, found)
        yield from self._onwards(at, following, newest, self._cycle(plan, at.log, publisher), grown)

    def _onwards(
        self, at: Position, inputs: Inputs, newest: Revision, cycle: AdoptedCycle, grown: Grown
    ) -> Iterator[None]:
        logger.info("%s is read from %d topics", self._source, len(inputs), extra={"action": "consumer_started"})
        looked = time.monotonic()
        while not self._stop.is_set():
            if grown and self._join(at, inputs, grown):
                return
            if time.monotonic() - looked > LOOK:
                looked = time.monotonic()
                if self._has_changed(newest, inputs, grown):
                    return
            read = self._reading.read()  # 1
            if not read:
                continue
            reach("consume.2.read")
            stretch = Stretch(adopted_reading.ends(inputs, read))
            adopted_position.write_down(self._connection, self._source, at.epoch, stretch)  # 2
            reach("consume.2.written")
            at, inputs = cycle.run(at, inputs, stretch, read)
            yield

    def _cycle(self, plan: Plan, log: int, publisher: Publisher) -> AdoptedCycle:
        return AdoptedCycle(self._connection, plan, log, publisher, self._context.partitions)

    def _follow(self, newest: Revision, before: Plan, at: Position) -> Plan:
        """Work under the newest revision from here on; committed before anything is published under it."""
        if newest.id == before.revision.id:
            return before
        plan = Plan(newest)
        position.claim(self._connection, self._source, at.epoch)
        mirror_tables.prepare(self._connection, plan, before.revision)
        position.make_durable(self._connection)
        position.set_revision(self._connection, self._source, newest.id)
        self._connection.commit()
        return plan

    def _plan(self, revision: int) -> Plan:
        found = capture.load(self._connection, self._source, revision)
        self._connection.commit()
        if found is None:
            raise FatalError(f"the ledger has no revision {revision} of {self._source}; run `wake apply`")
        return Plan(found)

    def _join(self, at: Position, inputs: Inputs, grown: Grown) -> bool:
        """Whether new partitions may be read now, since the old ones were read to where they ended."""
        ready = {
            topic: first
            for topic, (ends, first) in grown.items()
            if all(reached >= end for reached, end in zip(inputs[topic].next, ends, strict=True))
        }
        if not ready:
            return False
        more = {
            topic: msgspec.structs.replace(each, next=[*each.next, *ready.get(topic, [])])
            for topic, each in inputs.items()
        }
        self._save(at, more)
        return True

    def _save(self, at: Position, inputs: Inputs) -> None:
        position.claim(self._connection, self._source, at.epoch)
        adopted_position.finish(self._connection, self._source, inputs)
        position.make_durable(self._connection)
        self._connection.commit()

    def _has_changed(self, newest: Revision, inputs: Inputs, grown: Grown) -> bool:
        """Whether there is another revision, or a topic or partition that was not there."""
        if self._newest().id != newest.id:
            return True
        known = {
            topic: (each.id, len(each.next) + len(grown[topic][1] if topic in grown else []))
            for topic, each in inputs.items()
        }
        there = adopted_topics.shapes(self._config.kafka, _names(newest))
        return any(known.get(topic) != shape for topic, shape in there.items())

    def _find(self, newest: Revision, inputs: Inputs) -> dict[str, adopted_topics.Found]:
        return adopted_topics.find(self._config.kafka, self._consumer, _names(newest) | inputs.keys())


def _names(revision: Revision) -> set[str]:
    adopted = revision.capture.adopted
    return set() if adopted is None else set(adopted.topics.values())
