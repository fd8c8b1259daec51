"""Reads the change log of one source: whole pieces, as far as they are there."""

from __future__ import annotations

import dataclasses
from collections import deque
from collections.abc import Callable, Collection

from confluent_kafka import Consumer, KafkaError, Message, TopicPartition

from cdc_consumer import decode, measures
from cdc_consumer.collect import Collector, Piece, is_border
from cdc_consumer.position import Position
from wakestream import kafka, topics
from wakestream.errors import TransientError, WakeError

POLL_TIMEOUT = 0.2  # seconds until a stop is noticed
READ_AT_ONCE = 500  # messages
BATCH = 1000  # messages of one read
READ_ON = 3  # reads that are decoded before a cycle begins with them


@dataclasses.dataclass(frozen=True, slots=True)
class Read:
    """What one look at the log has found, and where the log is read from once it is applied."""

    pieces: list[Piece]
    border: Piece | None
    """What stands behind these pieces, if what follows it is read in another way."""
    last: int
    """The last record."""
    read_from: int
    """The first record that a restart must see when the pieces are applied, and the border is not."""
    commit: int | None
    """END's LSN of the last transaction among these pieces or before them."""


class Reading:
    """One reader of one log."""

    def __init__(self, consumer: Consumer, source: str, at: Position, keyless: Collection[str]) -> None:
        self._consumer = consumer
        self._source = source
        self._topic = topics.changes(source)
        self._applied = at.offset
        self._collector = Collector(at.commit, keyless)
        self._ahead: list[Message] = []
        """Read already, and behind a border."""
        self._next: deque[Read] = deque()
        """Decoded already."""
        self._last = at.offset
        self._unmeasured = 0
        """Records that were read, and of which the measures do not know."""
        self.is_behind = False
        """Whether there was more in the log than is read at once."""
        consumer.assign([TopicPartition(self._topic, 0, at.read_from)])

    def switch(self, keyless: Collection[str]) -> None:
        """From here on, these are the tables without a primary key."""
        self._collector.keyless = keyless

    def behind(self, border: Piece) -> int:
        """The first record that a restart must see when this border is applied, which was the last thing read."""
        return self._collector.read_from(border.offset)

    def read(self, wait: float = POLL_TIMEOUT, on_end: Callable[[], None] | None = None) -> Read:
        """What is there now, up to a batch or a border; waits for the first message only, in seconds.

        `on_end` is called before anything is decoded when the last message that is there ends a transaction.
        Raises `TransientError` when the broker is away or no longer has what was to be read next.
        """
        return self._next.popleft() if self._next else self._decode(wait, on_end)

    def read_on(self, until: Callable[[], bool]) -> None:
        """While there is more than is read at once, decode what the next reads give, until `until` says so.

        Nothing behind a border is decoded before who reads has taken it.
        """
        while self.is_behind and len(self._next) < READ_ON and not self._is_at_border and not until():
            self._next.append(self._decode(0.0))

    @property
    def _is_at_border(self) -> bool:
        return bool(self._next) and self._next[-1].border is not None

    def measure(self, last: int) -> None:
        """Say what was read, up to this record; no event waits for it."""
        if self._unmeasured:
            measures.read(self._source, self._unmeasured, last, self._known_end())
            self._unmeasured = 0

    def _decode(self, wait: float, on_end: Callable[[], None] | None = None) -> Read:
        pieces: list[Piece] = []
        messages, self._ahead = self._ahead or self._wait(wait), []
        count = 0
        if on_end is not None and messages and decode.is_end(messages[-1].value()):
            on_end()
        while messages:
            for place, message in enumerate(messages, 1):
                error = message.error()
                if error is not None:
                    raise self._unreadable(error)
                last = self._last = message.offset() or 0
                piece = self._collector.take(last, message.key(), message.value())  # pyright: ignore[reportArgumentType]
                # A snapshot row inside an unfinished transaction was applied before the restart and is read again.
                if piece is None or last <= self._applied:
                    continue
                if is_border(piece):
                    self._ahead = messages[place:]
                    self._unmeasured += count + place
                    return self._found(pieces, piece)
                pieces.append(piece)
            count += len(messages)
            messages = self._consumer.consume(READ_AT_ONCE, 0) if count < BATCH else []
        self._unmeasured += count
        self.is_behind = count >= BATCH
        return self._found(pieces)

    def _found(self, pieces: list[Piece], border: Piece | None = None) -> Read:
        read_from = self._collector.read_from(self._last - (border is not None))
        return Read(pieces, border, self._last, read_from, self._collector.applied)

    def _wait(self, wait: float) -> list[Message]:
        first = self._consumer.poll(wait)
        return [] if first is None else [first, *self._consumer.consume(READ_AT_ONCE, 0)]

    def _known_end(self) -> int | None:
        """Where the log ended when the broker was last heard; asks nobody."""
        known = self._consumer.get_watermark_offsets(TopicPartition(self._topic, 0), cached=True)
        return known[1] if known[1] >= 0 else None

    def _unreadable(self, error: KafkaError) -> WakeError:
        if error.code() == KafkaError._AUTO_OFFSET_RESET:  # noqa: SLF001 - librdkafka's own code
            return TransientError(f"{self._topic} no longer has what was to be read next; looking again")
        return kafka.convert(error, f"reading {self._topic}")
