"""What was in stock and on whose list at every position, rebuilt from the row events of the context topic."""

from __future__ import annotations

import bisect
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any

from confluent_kafka import OFFSET_BEGINNING, TopicPartition

from wakestream import events, kafka, topics
from wakestream.config.models import Kafka
from wakestream.errors import FatalError
from wakestream.events import ContextEvent, ReaderRule

PATIENCE = 90.0  # seconds until the topic has come to where it is to be read to
POLL = 0.5  # seconds

PRODUCT, WISH = "public.product", "public.wish"

Position = tuple[int, int]
"""`log` and `commit`."""
Row = dict[str, Any]


@dataclass(frozen=True)
class Recorded:
    """A recommendation that an action wrote into the shop's database."""

    position: Position
    wish: int
    product: int | None


@dataclass
class History:
    """The shop as it was at every position."""

    recorded: dict[str, Recorded] = field(default_factory=dict[str, Recorded])
    """By the run whose action it was."""
    sold_out: list[tuple[Position, int]] = field(default_factory=list[tuple[Position, int]])
    """When a product sold out, and which."""
    broken: list[tuple[Position, str]] = field(default_factory=list[tuple[Position, str]])
    """Where a list recommended what was sold out."""
    positions: list[Position] = field(default_factory=list[Position])
    """Of the transactions after which all lists have been looked at."""
    _rows: dict[str, dict[int, list[tuple[Position, Row | None]]]] = field(
        default_factory=lambda: {PRODUCT: {}, WISH: {}}
    )

    def rows(self, table: str, position: Position) -> dict[int, Row]:
        """All rows as they were after the last transaction up to this position."""
        found = {key: _as_of(versions, position) for key, versions in self._rows[table].items()}
        return {key: row for key, row in found.items() if row is not None}

    def row(self, table: str, key: int, position: Position) -> Row | None:
        """One row as it was then; None where it was not there."""
        return _as_of(self._rows[table].get(key, []), position)

    def stock(self, product: int, position: Position) -> int:
        """How many there were; none of what was not there."""
        return (self.row(PRODUCT, product, position) or {"stock": 0})["stock"]

    def names(self, position: Position) -> dict[int, str]:
        """What the products were called."""
        return {key: row["name"] for key, row in self.rows(PRODUCT, position).items()}

    def take(self, transaction: list[ContextEvent], position: Position) -> None:
        """Go on by one transaction."""
        for event in transaction:
            if event.type == "table.truncated":
                for versions in self._rows[event.table].values():
                    versions.append((position, None))
            else:
                self._take_row(event, position)
        products = self.rows(PRODUCT, position)
        for wish, row in self.rows(WISH, position).items():
            product = row["recommended_id"]
            if product is not None and not products[product]["stock"]:
                self.broken.append((position, f"list {wish} recommends {products[product]['name']}, sold out"))
        self.positions.append(position)

    def _take_row(self, event: ContextEvent, position: Position) -> None:
        key, after = (event.data.key or {})["id"], event.data.after
        versions = self._rows[event.table].setdefault(key, [])
        before = versions[-1][1] if versions else None
        versions.append((position, after))
        if event.table == PRODUCT and before and after and before["stock"] and not after["stock"]:
            self.sold_out.append((position, key))
        if event.table == WISH and event.data.cause is not None:
            self.recorded[event.data.cause.run] = Recorded(position, key, (after or {}).get("recommended_id"))


def _as_of(versions: list[tuple[Position, Row | None]], position: Position) -> Row | None:
    place = bisect.bisect_right(versions, position, key=lambda each: each[0])
    return versions[place - 1][1] if place else None


def read(settings: Kafka, source: str, until: int) -> History:
    """Everything that is in the context topic, which must have come to this LSN."""
    history, position = History(), (0, 0)
    told = _each_once(_read(settings, topics.context(source), until))
    for (log, _), transaction in groupby(told, key=lambda event: event.data.position.rank[:2]):
        together = list(transaction)
        commit = together[0].data.position.commit
        # Rows of a snapshot have no commit: they stand behind the transaction before them.
        position = (log, commit if commit is not None else position[1] if position[0] == log else 0)
        history.take(together, position)
    return history


def _read(settings: Kafka, topic: str, until: int) -> list[ContextEvent]:
    """The events about products and wishes, by the reader's rule, in the order of their positions."""
    consumer = kafka.reader(settings, "proof")
    count = kafka.partition_count(kafka.admin(settings), topic)
    reached, rule, found = dict.fromkeys(range(count), 0), ReaderRule(), list[ContextEvent]()
    deadline = time.monotonic() + PATIENCE
    try:
        consumer.assign([TopicPartition(topic, number, OFFSET_BEGINNING) for number in range(count)])
        while min(reached.values()) < until:  # a clock event comes to every partition once a second
            if time.monotonic() > deadline:
                raise FatalError(f"{topic} has not come to {until} within {PATIENCE:.0f} s; does `wake consume` run?")
            message = consumer.poll(POLL)
            if message is None or message.error() is not None:
                continue
            event, partition = events.parse(message.value() or b""), message.partition() or 0
            if rule.is_new(partition, event.data.position):
                reached[partition] = max(reached[partition], event.data.position.commit or 0)
                found += [event] if event.table in (PRODUCT, WISH) else []
    finally:
        consumer.close()
    return sorted(found, key=lambda event: event.data.position.rank)


def _each_once(told: Iterable[ContextEvent]) -> Iterator[ContextEvent]:
    """Without the copies of a truncate, which comes to every partition."""
    last = ""
    for event in told:
        if event.id != last:
            yield event
        last = event.id
