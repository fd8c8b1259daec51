"""One cycle over an adopted connector: what was written down is applied, published, committed; or a loss declared."""

from __future__ import annotations

import copy
import logging
import time
from collections.abc import Sequence

import msgspec

from cdc_consumer import adopted_position, adopted_reading, causes, measures, position, unreadable
from cdc_consumer.adopted_batch import AdoptedBatch
from cdc_consumer.adopted_position import Inputs, Loss, Stretch
from cdc_consumer.adopted_reading import Read
from cdc_consumer.collect import Piece
from cdc_consumer.foreign_messages import Entry
from cdc_consumer.foreign_values import Conversion
from cdc_consumer.mirrors import Mirrors
from cdc_consumer.plan import Plan
from cdc_consumer.position import Position
from cdc_consumer.publish import Publisher
from cdc_consumer.render import Renderer
from wakestream import topics
from wakestream.failpoint import reach
from wakestream.ledger import Connection

logger = logging.getLogger(__name__)


class AdoptedCycle:
    """Moves one source forward under one plan and one log."""

    def __init__(self, connection: Connection, plan: Plan, log: int, publisher: Publisher, partitions: int) -> None:
        self._connection = connection
        self._plan = plan
        self._source = plan.revision.source
        self._publisher = publisher
        self._render = Renderer(self._source, log, partitions)
        self._log = log
        self._batch: AdoptedBatch | None = None
        self._conversions = {label: Conversion(table) for label, table in plan.tables.items()}

    def run(self, at: Position, inputs: Inputs, stretch: Stretch, read: Read) -> tuple[Position, Inputs]:
        """Steps 3 to 5 for what was written down; raises with nothing committed."""
        began, sent = time.perf_counter(), self._publisher.sent
        entries = adopted_reading.entries(read, inputs, self._conversions)
        try:
            following = self._apply_and_publish(at, entries, adopted_position.moved(inputs, stretch), careful=False)
        except unreadable.UNREADABLE as error:
            what = unreadable.kind(error)
            logger.warning("A batch of %s has what cannot be read; applying it row by row: %s", self._source, what)
            self._connection.rollback()
            following = self._apply_and_publish(at, entries, adopted_position.moved(inputs, stretch), careful=True)
            self._batch = None
        reach("consume.4.published")
        at = msgspec.structs.replace(at, offset=at.offset + len(entries))
        reach("consume.5.before_commit")
        position.move(  # 5
            self._connection, self._source, offset=at.offset, commit=None, read_from=at.offset + 1, clock=None
        )
        adopted_position.finish(self._connection, self._source, following)
        self._connection.commit()
        reach("consume.5.committed")
        measures.moved(self._source, len(entries), at.offset, self._publisher.sent - sent, began)
        return at, following

    def _apply_and_publish(self, at: Position, entries: Sequence[Entry], following: Inputs, *, careful: bool) -> Inputs:
        noted = copy.deepcopy(following)
        position.claim(self._connection, self._source, at.epoch)  # 3
        reach("consume.3.claimed")
        if self._batch is None or careful:
            self._batch = AdoptedBatch(self._connection, self._plan, self._render, self._log, careful=careful)
        self._publisher.send(self._batch.messages(entries, at.offset, noted))  # 4, as the events are worked out
        causes.letter_unshown(self._connection, topics.context(self._source), self._publisher.unshown)
        reach("consume.4.before_wait")
        self._publisher.wait()
        return noted

    def declare(self, at: Position, loss: Loss) -> None:
        """Say that changes may be missing, before anything behind them; this cycle is of the loss's log."""
        same = loss.log == at.log
        moved = msgspec.structs.replace(
            at,
            log=loss.log,
            offset=at.offset + 1 if same else 0,
            system_identifier=loss.identity[0],
            timeline=loss.identity[1],
        )
        position.claim(self._connection, self._source, at.epoch)
        mirrors = Mirrors(self._connection, self._source, moved.log, self._plan.tables)
        number = mirrors.open_gap(loss.tables, loss.reason, moved.offset)
        place = self._render.at(Piece("control", moved.offset, ts_ms=loss.ts_ms))
        message = self._render.gap(place, number, "open", loss.tables, loss.reason, 1, 1)
        mirrors.keep_event(number, message.value)
        batch = AdoptedBatch(self._connection, self._plan, self._render, self._log, careful=False)
        batch.doubt(loss.tables)
        if (at.system_identifier, at.timeline) != loss.identity:
            adopted_position.forget_rows(self._connection, self._source)
        self._publisher.send([message])
        self._publisher.wait()
        position.replace(self._connection, self._source, moved)
        adopted_position.finish(self._connection, self._source, loss.inputs)
        position.make_durable(self._connection)
        self._connection.commit()
        logger.warning("Changes of %s may be missing: %s", self._source, loss.reason, extra={"action": "gap"})
