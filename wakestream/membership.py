"""Processes that share topics: a consumer group says who has which partition, and nothing is read with it.

That a partition is ours only says that we may try. Who really owns the work is decided in the ledger, by an epoch that
a new owner raises: a process that was away for long may still believe that it has a partition.
"""

from __future__ import annotations

import contextlib
import logging
import threading
from collections.abc import Callable, Sequence
from typing import Any

from confluent_kafka import Consumer, KafkaException, TopicPartition

from wakestream import kafka
from wakestream.config.models import Kafka
from wakestream.errors import TransientError

logger = logging.getLogger(__name__)

POLL = 0.2  # seconds
RETRY = 2.0  # seconds until the group is looked for again when the broker was away
CONFIRMED = 15.0  # seconds after which whoever is still a member is the one, when another has taken its work over

Place = tuple[str, int]
"""Topic and partition."""


class Membership:
    """One process's part in a group; `run` goes on until it is told to stop."""

    def __init__(
        self, config: Kafka, group: str, topics: Sequence[str], changed: Callable[[frozenset[Place]], None]
    ) -> None:
        """`changed` is given all partitions that are ours, whenever they change; what it stops has stopped then."""
        self._config = config
        self._group = group
        self._topics = list(topics)
        self._changed = changed
        self._ours: set[Place] = set()

    def run(self, stop: threading.Event) -> None:
        """Take part; leaves the group in the end, so that others go on at once."""
        while not stop.is_set():
            try:
                self._take_part(stop)
            except (KafkaException, TransientError) as error:
                logger.warning("Group %s: %s", self._group, error, extra={"action": "membership_lost"})
                self._set(set())
                stop.wait(RETRY)

    def _take_part(self, stop: threading.Event) -> None:
        with contextlib.closing(kafka.member(self._config, self._group, self._group)) as consumer:
            callbacks: Any = {"on_assign": self._gained, "on_revoke": self._lost, "on_lost": self._lost}
            consumer.subscribe(self._topics, **callbacks)
            while not stop.is_set():
                message = consumer.poll(POLL)
                error = None if message is None else message.error()
                if error is not None and error.fatal():
                    raise KafkaException(error)
        self._set(set())

    def _gained(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        consumer.incremental_assign(partitions)
        consumer.pause(partitions)
        self._set(self._ours | _places(partitions))

    def _lost(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        self._set(self._ours - _places(partitions))
        consumer.incremental_unassign(partitions)

    def _set(self, ours: set[Place]) -> None:
        if ours != self._ours:
            self._ours = ours
            listed = ", ".join(f"{topic}[{partition}]" for topic, partition in sorted(ours)) or "nothing"
            logger.info("Group %s gives us %s", self._group, listed, extra={"action": "membership_changed"})
            self._changed(frozenset(ours))


def _places(partitions: list[TopicPartition]) -> set[Place]:
    return {(each.topic, each.partition) for each in partitions}
