"""Kafka actions at a real broker: what is committed is there once, whatever became of whoever sent it."""

from __future__ import annotations

import json
import secrets
from collections.abc import Generator
from typing import Any

import msgspec
import pytest
from confluent_kafka import KafkaException, Message
from confluent_kafka.cimpl import NewTopic, TopicPartition

from agent.effects.kafka import KafkaEffect, KafkaIntent, KafkaPlan
from agent.effects.outcome import Again, Failed, Pending, Succeeded, Unknown
from wakestream import events, kafka, marks
from wakestream.config.models import Kafka
from wakestream.errors import TransientError
from wakestream.events import Cause

KEY = b"k" * 32
CAUSE = Cause("a/1", "a", "t", ("booking/42",), 1)
PARTITIONS = 3


@pytest.fixture
def settings(env: dict[str, str]) -> Kafka:
    return Kafka(bootstrap_servers=env["KAFKA_BOOTSTRAP"])


@pytest.fixture
def topic(settings: Kafka) -> Generator[str]:
    name = f"effects-{secrets.token_hex(4)}"
    admin = kafka.admin(settings)
    admin.create_topics([NewTopic(name, PARTITIONS, 1)])[name].result(30)
    yield name
    admin.delete_topics([name])[name].result(30)


def pending(topic: str, *, key: str | None = "42", action: str = "a/1", intent: KafkaIntent | None = None) -> Pending:
    plan = KafkaPlan(topic, key, "wake.action.publish", "wake://airline/publish", "booking/42", {"customer": 3}, 10.0)
    known = intent and msgspec.structs.asdict(intent)
    return Pending(action, "publish", msgspec.structs.asdict(plan), CAUSE, known)


def committed(settings: Kafka, topic: str, partition: int) -> list[Message]:
    """What a reader of committed records finds."""
    consumer = kafka.reader(settings, "test", at_end=True)
    consumer.assign([TopicPartition(topic, partition, 0)])
    found: list[Message] = []
    while (message := consumer.poll(20)) is not None and message.error() is None:
        found.append(message)
    consumer.close()
    return found


def partition(key: str = "42") -> int:
    return events.partition_of(key, PARTITIONS)


def nothing(_: dict[str, Any]) -> None:
    """An intent that is not looked at."""


def test_an_event(settings: Kafka, topic: str) -> None:
    effect, intents = KafkaEffect(settings, KEY), list[dict[str, Any]]()
    outcome = effect.execute(pending(topic), intents.append)
    assert outcome == Succeeded({"topic": topic, "partition": partition(), "offset": 0})
    (message,) = committed(settings, topic, partition())
    event = json.loads(message.value() or b"")
    assert event.pop("time").endswith("Z")
    assert event == {
        "specversion": "1.0",
        "id": "a/1",
        "source": "wake://airline/publish",
        "type": "wake.action.publish",
        "subject": "booking/42",
        "datacontenttype": "application/json",
        "data": {"customer": 3},
    }
    headers: dict[str, Any] = dict(message.headers() or [])
    assert (message.key(), headers["Idempotency-Key"]) == (b"42", b"a/1")
    assert headers["content-type"] == b"application/cloudevents+json; charset=UTF-8"
    assert marks.verify(KEY, headers["Wake-Cause"], txid=1, time_s=0) == (CAUSE, False)
    assert (intents[0]["partition"], intents[0]["end"]) == (partition(), 0)
    second = effect.execute(pending(topic, action="a/2"), nothing)
    assert second == Succeeded({"topic": topic, "partition": partition(), "offset": 2}), "the first one's end is at 1"


def test_without_a_key_the_action_says_where(settings: Kafka, topic: str) -> None:
    outcome = KafkaEffect(settings, KEY).execute(pending(topic, key=None), nothing)
    assert isinstance(outcome, Succeeded)
    assert outcome.result["partition"] == partition("a/1")


def test_a_topic_that_is_not_there(settings: Kafka) -> None:
    outcome = KafkaEffect(settings, KEY).execute(pending("no-such-topic"), nothing)
    assert outcome == Failed("there is no topic no-such-topic; create it and retry")


def test_no_broker() -> None:
    nobody = Kafka(bootstrap_servers="127.0.0.1:9")
    assert isinstance(KafkaEffect(nobody, KEY).execute(pending("any"), nothing), Again)


class Died(BaseException):
    """The process ends."""


def cut_short(settings: Kafka, topic: str, at: str, monkeypatch: pytest.MonkeyPatch) -> KafkaIntent:
    """An attempt whose worker dies at a failpoint."""
    intents: list[dict[str, Any]] = []

    def reach(point: str) -> None:
        if point == at:
            raise Died

    with monkeypatch.context() as patch, pytest.raises(Died):
        patch.setattr("agent.effects.kafka.reach", reach)
        KafkaEffect(settings, KEY).execute(pending(topic), intents.append)
    return msgspec.convert(intents[-1], KafkaIntent)


def test_what_was_committed_is_found(settings: Kafka, topic: str, monkeypatch: pytest.MonkeyPatch) -> None:
    other = KafkaEffect(settings, KEY)
    other.execute(pending(topic, action="b/1"), nothing)
    intent = cut_short(settings, topic, "agent.6.after_produce", monkeypatch)
    other.execute(pending(topic, action="b/2"), nothing)
    outcome = KafkaEffect(settings, KEY).settle(pending(topic, intent=intent), nothing)
    assert outcome == Succeeded({"topic": topic, "partition": partition(), "offset": 2, "settled": "by its offset"})
    assert len(committed(settings, topic, partition())) == 3


def test_what_was_not_sent_is_sent_once(settings: Kafka, topic: str, monkeypatch: pytest.MonkeyPatch) -> None:
    intent = cut_short(settings, topic, "agent.6.before_produce", monkeypatch)
    outcome = KafkaEffect(settings, KEY).settle(pending(topic, intent=intent), nothing)
    assert isinstance(outcome, Succeeded)
    assert "settled" not in outcome.result
    assert len(committed(settings, topic, partition())) == 1


def test_a_worker_that_slept_over_it_can_commit_nothing(settings: Kafka, topic: str) -> None:
    """It had sent and not committed when another took over: the other's event is the only one."""
    sleeper, intents = KafkaEffect(settings, KEY), list[dict[str, Any]]()
    taken: list[Any] = []

    def slept(intent: dict[str, Any]) -> None:
        if not intents:
            intents.append(intent)
            known = msgspec.convert(intent, KafkaIntent)
            taken.append(KafkaEffect(settings, KEY).settle(pending(topic, intent=known), nothing))

    outcome = sleeper.execute(pending(topic), slept)
    assert isinstance(taken[0], Succeeded)
    assert outcome == Succeeded({**taken[0].result, "settled": "by its offset"}), "it finds what the other did"
    assert len(committed(settings, topic, partition())) == 1
    assert isinstance(sleeper.execute(pending(topic, action="a/2"), nothing), Succeeded), "and goes on"


def test_an_open_transaction_is_ended_by_who_settles(settings: Kafka, topic: str) -> None:
    producer = kafka.transactional(settings, f"wake-{topic}")
    producer.init_transactions(10)
    producer.begin_transaction()
    producer.produce(topic, b"{}", b"42", partition(), headers=[("Idempotency-Key", b"a/1")])
    producer.flush(10)
    intent = KafkaIntent(topic, partition(), 0, f"wake-{topic}")
    outcome = KafkaEffect(settings, KEY).settle(pending(topic, intent=intent), nothing)
    assert isinstance(outcome, Succeeded)
    (message,) = committed(settings, topic, partition())
    assert json.loads(message.value() or b"")["id"] == "a/1"
    with pytest.raises(KafkaException):
        producer.commit_transaction(10)


def test_behind_another_s_open_transaction_it_waits(settings: Kafka, topic: str) -> None:
    other = kafka.transactional(settings, f"other-{topic}")
    other.init_transactions(10)
    other.begin_transaction()
    other.produce(topic, b"{}", b"42", partition())
    other.flush(10)
    intent = KafkaIntent(topic, partition(), 0, f"wake-{topic}")
    with pytest.raises(TransientError, match="cannot be read up to"):
        KafkaEffect(settings, KEY).settle(pending(topic, intent=intent), nothing)
    other.abort_transaction(10)
    assert isinstance(KafkaEffect(settings, KEY).settle(pending(topic, intent=intent), nothing), Succeeded)


def test_a_topic_that_was_made_anew(settings: Kafka, topic: str) -> None:
    intent = KafkaIntent(topic, partition(), 100, f"wake-{topic}")
    outcome = KafkaEffect(settings, KEY).settle(pending(topic, intent=intent), nothing)
    assert outcome == Unknown(f"topic {topic} was made anew since it was sent")
