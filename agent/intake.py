"""Steps 1 to 3 of the agent's cycle: from the context topics to activations, each event once."""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime

from confluent_kafka import Consumer, KafkaException, TopicPartition
from confluent_kafka import Message as KafkaMessage

from agent import activation_store, admission, dispatch, measures, positions, triggers, wait_store
from agent.activations import Batch, Letter, Message, text_of
from agent.backoff import Backoff
from agent.database import Ledger
from agent.positions import Moved, Owned, Place, Start
from agent.sharing import Shares
from agent.waiting import Waiting
from agent.waits import Wait
from wakestream import events, kafka, membership, topics
from wakestream.errors import EventError, TakenOverError, TransientError
from wakestream.failpoint import reach
from wakestream.program import Program

logger = logging.getLogger(__name__)

BATCH = 2000  # messages
FETCH_KB = 256  # of each partition at once: there are several, and a run takes longer than to fetch what wakes it
POLL = 0.2  # seconds
POSITIONS_EVERY = 0.1  # seconds in which positions alone may wait for what is worth a transaction


class Intake:
    """Reads every partition of every source's context topic, or those that a group gives it, in one thread."""

    def __init__(
        self,
        program: Program,
        ledger: Ledger,
        *,
        name: str,
        start: Start,
        wake: Callable[[int], None],
        shares: Shares | None = None,
    ) -> None:
        self._program = program
        self._ledger = ledger
        self._name = name
        self._start: Start = start
        self._wake = wake
        self._shares = shares
        self._dispatch = dispatch.Dispatch(program.triggers.values())
        self._next: Program | None = None
        self._owned: dict[Place, Owned] = {}
        self._rules: dict[str, events.ReaderRule] = {}
        self._waiting = Waiting(program, self._images)
        self._carried: Batch | None = None
        """Positions and counts that are not written yet: nothing came of their events, which may be read again."""
        self._carried_since = 0.0

    def run(self, stop: threading.Event) -> None:
        """Read until told to stop; an outage of broker or ledger is waited for."""
        try:
            self._read_on(stop)
        finally:
            if self._shares is not None:
                self._shares.let_go()  # or the group waits for us until its patience ends

    def _read_on(self, stop: threading.Event) -> None:
        backoff = Backoff()
        while not stop.is_set():
            try:
                self._read(stop, backoff)
            except TakenOverError as error:
                if self._shares is None:
                    raise
                # Whoever took it over has it by the group's word, unless the group still gives it to us.
                logger.warning("%s", error, extra={"action": "intake_taken_over"})
                self._owned = {}
                self._shares.wait_changed(membership.CONFIRMED, stop)
            except TransientError as error:
                delay = backoff.next()
                logger.warning("Reading context events pauses: %s", error, extra={"action": "intake_paused"})
                stop.wait(delay)

    def take_up(self, program: Program) -> None:
        """Work under another program from the next batch on."""
        self._next = program

    def _read(self, stop: threading.Event, backoff: Backoff) -> None:
        reader = kafka.reader(self._program.config.kafka, "agent", group="wake-agent", fetch_kb=FETCH_KB)
        with contextlib.closing(reader) as consumer:
            shared = self._shares.now() if self._shares is not None else None
            self._assign(consumer, shared)
            while not stop.is_set():
                if self._shares is not None and self._shares.now() != shared:
                    self.process([])
                    self._shares.let_go()
                    return  # to read what is ours now
                found = _take(consumer)
                reach("agent.1.after_read")
                self.process(found, may_wait=bool(found))
                backoff.reset()
            self.process([])

    def _assign(self, consumer: Consumer, shared: frozenset[Place] | None) -> None:
        listed = shared if shared is not None else self._partitions()
        ends = {(topic, partition): kafka.watermarks(consumer, topic, partition) for topic, partition in sorted(listed)}
        self.own(ends)
        consumer.assign([_from(place, owned, ends[place]) for place, owned in self._owned.items()])
        logger.info(
            "Reading %s partitions of context events",
            len(ends),
            extra={"action": "intake_started", "owner": self._name},
        )

    def own(self, ends: Mapping[Place, tuple[int, int]]) -> None:
        """Become the owner of partitions, or see that we still are, and know what was seen of them."""
        with self._ledger.transaction("taking over the partitions") as connection:
            kept = {place: owned for place, owned in self._owned.items() if place in ends}
            gained = {place: each for place, each in ends.items() if place not in kept}
            kept = positions.resume(connection, kept)
            self._owned = kept | positions.take(connection, gained, owner=self._name, start=self._start)
            self._waiting.resume(wait_store.load(connection, self._owned))
            admission.drop_batches(connection, self._program)
        self._carried = None
        self._rules = {topic: events.ReaderRule() for topic, _ in self._owned}
        for (topic, partition), owned in self._owned.items():
            self._rules[topic].highest[partition] = owned.rank

    def _partitions(self) -> list[Place]:
        admin = kafka.admin(self._program.config.kafka)
        counts = {topics.context(source): 0 for source in self._program.config.sources}
        for topic in counts:
            counts[topic] = kafka.partition_count(admin, topic)
            if counts[topic] == 0:
                raise TransientError(f"there is no topic {topic} yet; `wake apply` makes it")
        return [(topic, partition) for topic, count in counts.items() for partition in range(count)]

    def process(self, found: Sequence[Message], *, may_wait: bool = False) -> None:
        """Steps 2 and 3 for what was read at once; positions alone may wait a little for what comes next.

        Batches end with clock marks and with what fires, whichever comes first: where there are any, no transaction
        goes beyond a mark, so that how much was read at once makes no difference.
        """
        together = any(trigger.settings.batch for trigger in (self._next or self._program).triggers.values())
        for part in dispatch.by_marks(found) if found and together else [found]:
            self._process(part, may_wait=may_wait)

    def _process(self, found: Sequence[Message], *, may_wait: bool) -> None:
        program, self._next = self._next, None
        if program is not None:
            self._program, self._dispatch = program, dispatch.Dispatch(program.triggers.values())
            self._waiting.take_up(program)
        batch = self.evaluate(found)
        reach("agent.2.after_evaluate")
        if not batch.moved or (may_wait and program is None and self._carry(batch)):
            return
        self._carried = None
        # A crash of the ledger may take it back: the positions are lost with what came of their events, our session
        # ends, and with the next one we go on from what the ledger has (`own`). Whatever is done about an activation, a
        # stored answer or an intent, is committed durably, and with it everything before it.
        with self._ledger.transaction("writing activations", durable=False) as connection:
            if program is not None:
                admission.drop_batches(connection, program)
            written = activation_store.write(connection, batch, self._owned, self._program)
            reach("agent.3.before_commit")
        reach("agent.3.after_commit")
        self._waiting.written(batch)
        measures.processed(batch, written)
        if written.runs:
            self._wake(written.runs)

    def _carry(self, batch: Batch) -> bool:
        """Whether a batch of positions alone goes on growing: a transaction for each event would be waste."""
        now = time.monotonic()
        if self._carried is None:
            self._carried, self._carried_since = batch, now
        return not (batch.matters or batch.clocks) and now - self._carried_since < POSITIONS_EVERY

    def evaluate(self, found: Iterable[Message]) -> Batch:
        """Steps 1 and 2 for a batch: the reader's rule, then the triggers."""
        batch = self._carried or Batch()
        self._waiting.drop_unfit(batch)
        batch.read.update(message.topic for message in found)
        for message in found:
            place = (message.topic, message.partition)
            moved = batch.moved.get(place)
            if moved is None:
                moved = batch.moved[place] = Moved(self._owned[place].rank, 0)
            moved.kafka_offset = message.offset + 1
            try:
                self._judge(message, place, moved, batch)
            except EventError as error:
                batch.letters.append(Letter(message, "message", str(error)))
                logger.warning(
                    "A message is no context event: %s[%s]@%s",
                    *(message.topic, message.partition, message.offset),
                    extra={"action": "dead_letter", "reason": str(error)},
                )
        for (topic, partition), moved in batch.moved.items():
            moved.rank = self._rules[topic].highest[partition]
        return batch

    def _judge(self, message: Message, place: Place, moved: Moved, batch: Batch) -> None:
        seen = dispatch.glance(message.payload)
        if not self._rules[message.topic].is_new(message.partition, seen.data.position):
            return
        if seen.type == dispatch.CLOCK:
            clock = datetime.fromisoformat(seen.time)
            moved.clock = max(clock, moved.clock or clock)
            self._waiting.pass_time(place, moved.clock, batch)
            return
        if seen.type in dispatch.ENDINGS:
            self._waiting.interrupt(message, batch)
            return
        if seen.is_own_row:
            batch.own_rows.append(text_of(message.payload))
        candidates = self._dispatch.candidates(message.source, seen, message.payload)
        waits = self._waiting.of(place, seen.subject)
        if not candidates and not waits:
            return
        images = triggers.Images(events.parse(message.payload))
        busy = self._waiting.meet(waits, images, message, batch)
        for trigger in candidates:
            if trigger.name in busy:
                continue
            verdict = triggers.judge(trigger, images, depth_limit=self._program.config.limits.depth)
            if isinstance(verdict, triggers.Opened) and trigger.settings.waits:
                self._waiting.begin(trigger, images.event, message, verdict.depth, batch)
            else:
                batch.add(trigger, images.event, message, verdict)

    def _images(self, waits: Sequence[Wait]) -> dict[str, wait_store.Images]:
        with self._ledger.transaction("reading what waits", durable=False) as connection:
            return wait_store.images(connection, waits)


def _from(place: Place, owned: Owned, ends: tuple[int, int]) -> TopicPartition:
    """Where to read on, as far as the topic still has it."""
    (topic, partition), (low, high) = place, ends
    if low <= owned.kafka_offset <= high:
        return TopicPartition(topic, partition, owned.kafka_offset)
    logger.error(
        "%s[%s] holds %s to %s, and %s was to be read next: what lies between was deleted, or the topic is a new one",
        *(topic, partition, low, high, owned.kafka_offset),
        extra={"action": "intake_gap"},
    )
    return TopicPartition(topic, partition, low)


def _take(consumer: Consumer) -> list[Message]:
    """What is there now: waits for the first message only."""
    try:
        first = consumer.poll(POLL)
        found = [] if first is None else [first, *consumer.consume(BATCH, 0)]
    except KafkaException as error:
        raise kafka.convert(error, "reading context events") from error
    return [_message(each) for each in found]


def _message(found: KafkaMessage) -> Message:
    error = found.error()
    topic, partition, offset = found.topic(), found.partition(), found.offset()
    if error is not None or topic is None or partition is None or offset is None:
        raise TransientError(f"Kafka, reading context events: {error.str() if error else 'a message without a place'}")
    return Message(topic, partition, offset, found.value() or b"")
