from __future__ import annotations

import itertools
import json
from collections.abc import Generator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from confluent_kafka import OFFSET_BEGINNING, Consumer, Producer, TopicPartition

from console import tail
from console.tail import Tail, Wanted
from wakestream import events
from wakestream.config.models import Kafka
from wakestream.errors import RefusedError

TOPIC = "airline.context"
PARTITIONS = 4
START = datetime(2026, 11, 22, 12, tzinfo=UTC)


class Broker:
    """Librdkafka's own mock of a broker, over real sockets."""

    def __init__(self) -> None:
        self.producer = Producer({"test.mock.num.brokers": 1, "log_level": 0})
        (broker,) = self.producer.list_topics(timeout=10).brokers.values()
        self.settings = Kafka(bootstrap_servers=f"{broker.host}:{broker.port}")
        self.offset = 0

    def publish(self, subject: str, *, kind: str = "row.updated", offset: int | None = None, **data: Any) -> str:
        """Publish an event to where it belongs; gap and clock go everywhere."""
        self.offset += 1
        at = self.offset if offset is None else offset
        position = {"log": 1, "offset": at, "seq": 1, "of": 1}
        event = {
            "specversion": "1.0",
            "id": f"airline/1/{at}.1",
            "source": "wake://airline/public.flight",
            "type": kind,
            "subject": subject,
            "time": (START + timedelta(seconds=at)).isoformat(),
            "data": {"key": {"id": 7}, "changed": ["status"], "position": position} | data,
        }
        everywhere = kind in tail.BROADCAST
        for partition in range(PARTITIONS) if everywhere else [events.partition_of(subject, PARTITIONS)]:
            self.send(json.dumps(event).encode(), partition)
        return str(event["id"])

    def send(self, payload: bytes, partition: int) -> None:
        self.producer.produce(TOPIC, payload, partition=partition)
        assert self.producer.flush(10) == 0


@pytest.fixture
def broker() -> Broker:
    return Broker()


@pytest.fixture
def read(broker: Broker) -> Generator[Any]:
    """Ids of the events that a tail shows."""
    opened: list[Tail] = []

    def reading(limit: int | None = None, **wanted: Any) -> list[str]:
        found = Tail(broker.settings, ["airline"], Wanted(**{"start": "beginning", "follow": False} | wanted))
        opened.append(found)
        return [seen.event.id for seen in itertools.islice(found, limit)]

    yield reading
    for each in opened:
        each.close()


def test_history_comes_in_order_over_all_partitions(broker: Broker, read: Any) -> None:
    published = [broker.publish(f"public.flight/{number}") for number in range(30)]
    assert {events.partition_of(f"public.flight/{number}", PARTITIONS) for number in range(30)} == set(range(4))
    assert read() == published
    assert read(limit=5) == published[:5]


def test_a_partition_that_is_far_ahead_waits_and_nothing_is_lost(broker: Broker, read: Any) -> None:
    published = [broker.publish("public.flight/1") for _ in range(500)]
    published += [broker.publish(f"public.flight/{number}") for number in range(20)]
    assert read() == published


def test_what_is_published_again_is_shown_once(broker: Broker, read: Any) -> None:
    first, second = broker.publish("public.flight/1"), broker.publish("public.flight/1")
    broker.publish("public.flight/1", offset=1)
    broker.publish("public.flight/1", offset=2)
    third = broker.publish("public.flight/1", offset=3)
    assert read() == [first, second, third]


def test_what_goes_to_every_partition_is_shown_once_and_the_clock_if_asked(broker: Broker, read: Any) -> None:
    broker.publish("airline/clock", kind="context.clock")
    gap = broker.publish("airline/gap", kind="context.gap", tables=["public.flight"], reason="slot lost")
    tick = broker.publish("airline/clock", kind="context.clock")
    assert read() == [gap]
    assert read(clock=True)[1:] == [gap, tick]
    assert read(name="public.flight") == [gap]
    assert read(name="public.booking") == []


def test_one_key_is_read_from_its_own_partition(broker: Broker, read: Any) -> None:
    wanted = broker.publish("public.flight/7")
    broker.publish("public.flight/8")
    other = broker.publish("booking/7", kind="entity.changed")
    places = tail._places(broker.settings, ["airline"], Wanted(name="public.flight", key="7"))
    assert places == [(TOPIC, events.partition_of("public.flight/7", PARTITIONS))]
    assert read(name="public.flight", key="7") == [wanted]
    assert read(key="7") == [wanted, other]
    assert read(name="booking") == [other]


def test_a_key_is_encoded_as_in_a_subject(broker: Broker, read: Any) -> None:
    wanted = broker.publish(events.subject("public.seat", {"flight": "LH 400", "seat": "1/A"}))
    assert read(name="public.seat", key="LH 400,1/A") == [wanted]
    assert read(name="public.seat", key="LH%20400,1%2FA") == [wanted]


class _NoTimes(Consumer):
    """The mock broker keeps no timestamps; a real one gives the first message produced at or after the time."""

    def offsets_for_times(self, partitions: list[TopicPartition], *args: Any, **kwargs: Any) -> list[TopicPartition]:
        assert {each.offset for each in partitions} == {int((START + timedelta(seconds=3)).timestamp() * 1000)}
        return [TopicPartition(each.topic, each.partition, OFFSET_BEGINNING) for each in partitions]


def test_from_a_time_of_commit(broker: Broker, read: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    published = [broker.publish("public.flight/1") for _ in range(4)]
    assert read(start="end") == []
    settings = {"bootstrap.servers": broker.settings.bootstrap_servers, "group.id": "test"}
    monkeypatch.setattr(tail.kafka, "reader", lambda kafka, name: _NoTimes(settings))
    assert read(start=START + timedelta(seconds=3)) == published[2:]


def test_following_goes_on_after_the_history(broker: Broker) -> None:
    before = broker.publish("public.flight/1")
    reading = Tail(broker.settings, ["airline"], Wanted(start="beginning"))
    shown = iter(reading)
    assert next(shown).event.id == before
    after = broker.publish("public.flight/2")
    assert next(shown).event.id == after
    reading.close()


def test_what_is_no_event_is_named_and_the_rest_shown(broker: Broker) -> None:
    broker.send(b"not json", 0)
    published = broker.publish("public.flight/1")
    reading = Tail(broker.settings, ["airline"], Wanted(start="beginning", follow=False))
    assert [seen.event.id for seen in reading] == [published]
    assert [problem.partition(":")[0] for problem in reading.unreadable] == [f"{TOPIC}[0] at 0"]
    reading.close()


def test_a_missing_topic_says_what_to_do(broker: Broker, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tail.kafka, "partition_count", lambda client, topic: 0)
    with pytest.raises(RefusedError, match=r"no topic airline\.context at .*; run `wake apply`"):
        Tail(broker.settings, ["airline"], Wanted())
