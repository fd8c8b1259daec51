"""The consumer's cycle, in one order that a crash at any point leaves right.

1. Read whole pieces from the change log (`collect`).
2. Drop transactions that were applied before (`collect`, by END's LSN).
3. In one ledger transaction, which starts by claiming the position row: move the mirrors, work out the events,
   write receipts and dead letters.
4. Publish the events and wait for the broker; what arrives meanwhile joins the cycle.
5. Commit with the new position.

A crash before 5 repeats from 1 and makes the same bytes again; readers drop them by their rule. How the log is cut
into batches cannot be seen in the events: a change's images and an entity's documents are as if each transaction had
been applied alone.
"""

from __future__ import annotations

import contextlib
import itertools
import logging
import time
from collections import deque
from collections.abc import Generator, Iterator, Sequence
from datetime import UTC, datetime

from cdc_consumer import causes, measures, position, unreadable
from cdc_consumer.batch import Batch
from cdc_consumer.collect import Piece
from cdc_consumer.plan import Plan
from cdc_consumer.publish import Publisher
from cdc_consumer.render import Message, Renderer
from cdc_consumer.rereading import Log
from wakestream import topics
from wakestream.failpoint import reach
from wakestream.ledger.connection import Answer, Connection

logger = logging.getLogger(__name__)

AHEAD = 3  # additions that the ledger is at work on before their events are worked out


class Cycle:
    """Moves one source forward, batch by batch, under one plan."""

    def __init__(
        self,
        connection: Connection,
        plan: Plan,
        *,
        log: int,
        epoch: int,
        publisher: Publisher,
        partitions: int,
        mark_key: bytes,
        records: Log,
    ) -> None:
        self.plan = plan
        self._connection = connection
        self._source = plan.revision.source
        self._log = log
        self._epoch = epoch
        self._publisher = publisher
        self._mark_key = mark_key
        self._records = records
        self._render = Renderer(self._source, log, partitions)
        self._batch: Batch | None = None
        self._pieces: list[Piece] = []
        """Applied, and not committed."""
        self._untold: deque[Iterator[Message]] = deque()
        """The events of the last additions; the ledger is at work on these."""
        self._claim: Answer | None = None
        """The position's, while it is not looked at."""
        self._newest: int | None = None
        """The source's newest revision, once the position is claimed."""
        self._began = 0.0
        self._sent = 0
        self.size = 0
        """How many changes, and pieces, are applied and not committed."""

    def open(self) -> None:
        """Have the ledger claim the position while the pieces that are about to be added are still decoded."""
        if self._claim is None and self._newest is None:
            self._claim = position.ask_claim(self._connection, self._source, self._epoch)  # 3
            self._connection.send()

    def leave(self) -> None:
        """No piece came after all."""
        if self._claim is not None:
            self._claim = None
            self._connection.commit()

    def run(self, pieces: Sequence[Piece], read_from: int, commit: int | None) -> int:
        """Apply, publish and commit these pieces; returns the id of the source's newest revision.

        Raises `TransientError` or psycopg's errors with nothing committed.
        """
        self.add(pieces)
        return self.finish(read_from, commit)

    def add(self, pieces: Sequence[Piece]) -> None:
        """Apply these pieces behind those that are not committed yet, and hand over the events of earlier ones.

        `tell` hands over all, `finish` commits. Raises psycopg's errors with nothing committed.
        """
        if not self._pieces:
            self._began, self._sent = time.perf_counter(), self._publisher.sent
        self._pieces += pieces
        self.size += sum(1 + len(piece.changes) for piece in pieces)
        with self._made_readable():
            self._ask(pieces)

    def tell(self) -> None:
        """Hand over the events of everything that was added. Raises psycopg's errors with nothing committed."""
        with self._made_readable():
            self._tell()

    @property
    def is_told(self) -> bool:
        """Whether the events of everything that was added are handed over."""
        return not self._untold

    @property
    def offset(self) -> int:
        """The place of the last piece that is applied and not committed."""
        return self._pieces[-1].offset

    def is_published(self) -> bool:
        """Whether the broker has everything."""
        return self._publisher.is_done()

    def finish(self, read_from: int, commit: int | None) -> int:
        """Wait for the broker, and commit everything that was added; returns the id of the source's newest revision.

        Raises `TransientError` with nothing committed.
        """
        self.tell()
        causes.letter_unshown(self._connection, topics.changes(self._source), self._publisher.unshown)
        reach("consume.4.before_wait")
        self._publisher.wait()
        reach("consume.4.published")
        pieces = self._pieces
        clock = max((piece.ts_ms for piece in pieces if piece.clock), default=None)
        reach("consume.5.before_commit")
        position.move(  # 5
            self._connection,
            self._source,
            offset=self.offset,
            commit=commit,
            read_from=read_from,
            clock=None if clock is None else datetime.fromtimestamp(clock / 1000, UTC),
        )
        self._connection.commit()
        reach("consume.5.committed")
        measures.applied(self._source, pieces, self._publisher.sent - self._sent, self._began)
        newest, self._pieces, self._newest, self.size = self._newest or 0, [], None, 0
        return newest

    @contextlib.contextmanager
    def _made_readable(self) -> Generator[None]:
        """Where a value cannot be read, everything that was added is applied once more, row by row."""
        try:
            yield
        except unreadable.UNREADABLE as error:
            what = unreadable.kind(error)
            logger.warning("A batch of %s has what cannot be read; applying it row by row: %s", self._source, what)
            self._connection.rollback()
            self._untold.clear()
            self._claim = self._newest = None
            self._ask(self._pieces, careful=True)
            self._batch = None

    def _ask(self, pieces: Sequence[Piece], *, careful: bool = False) -> None:
        if self._newest is None:
            self._claim = self._claim or position.ask_claim(self._connection, self._source, self._epoch)  # 3
            reach("consume.3.claimed")
        if self._batch is None or careful:
            # What it remembers of the mirrors holds as long as every cycle commits; after a failure it is read anew.
            self._batch = Batch(
                self._connection, self.plan, self._render, self._log, self._mark_key, self._records, careful=careful
            )
        asked = None if careful else self._batch.ask(pieces)
        if asked is not None:
            self._untold.append(asked)
            self._tell(AHEAD)
        else:
            self._tell()
            self._untold.append(self._batch.messages(pieces))
            self._tell()

    def _tell(self, but: int = 0) -> None:
        """Hand over the events of what was added, but for so many additions."""
        while len(self._untold) > but:
            self._hand_over(self._untold.popleft())

    def _hand_over(self, messages: Iterator[Message]) -> None:
        first = next(messages, None)  # the claim is answered with the first statements
        if self._claim is not None:
            self._newest, self._claim = position.claimed(self._claim, self._source), None
        if first is not None:
            self._publisher.send(itertools.chain([first], messages))  # 4, as the events are worked out
