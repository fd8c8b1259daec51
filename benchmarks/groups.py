"""A consumer group that is held until all who are to share it are there, so that they begin at the same moment.

Otherwise whoever starts first has everything, and most of a small backlog is done before the others have a part.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from typing import Any, cast

from confluent_kafka import Consumer, KafkaException

from benchmarks.waiting import until
from wakestream import kafka
from wakestream.config.models import Kafka

POLL = 0.1  # seconds
LOOK = 0.2  # seconds between two questions about who is there


class Held:
    """A member that has all partitions and lets nobody have one as long as it is silent."""

    def __init__(self, settings: Kafka, group: str, member: Consumer) -> None:
        self._admin = kafka.admin(settings)
        self._group = group
        self._member = member

    def release_to(self, count: int, require_alive: Callable[[], None]) -> None:
        """Wait until so many others are there, then leave: all partitions are dealt out among them at once."""

        def there() -> bool:
            require_alive()
            return self._members() == count + 1

        until(there, f"{count} members of {self._group}", every=LOOK)
        self._member.close()

    def _members(self) -> int:
        asked = cast("Any", self._admin).describe_consumer_groups([self._group], request_timeout=kafka.REQUEST_TIMEOUT)
        try:
            return len(asked[self._group].result().members)
        except KafkaException as error:
            raise kafka.convert(error, f"looking for the members of {self._group}") from error


@contextmanager
def held(settings: Kafka, group: str, topics: Sequence[str]) -> Generator[Held]:
    """Hold a group that nobody is in."""
    member = kafka.member(settings, "bench", group)
    try:
        member.subscribe(list(topics))

        def has_all() -> bool:
            member.poll(POLL)
            return {each.topic for each in member.assignment()} == set(topics)

        until(has_all, f"the partitions of {group}")
        yield Held(settings, group, member)
    finally:
        member.close()
