"""Kafka clients with the settings that were measured; the only module that knows librdkafka's names."""

from __future__ import annotations

import functools
import logging
import socket
from collections.abc import Callable, Sequence
from typing import Any, cast

from confluent_kafka import Consumer, IsolationLevel, KafkaError, KafkaException, Message, Producer, TopicPartition
from confluent_kafka import admin as admin_api
from confluent_kafka.admin import AdminClient

from wakestream.config.models import Kafka
from wakestream.errors import FatalError, TransientError, WakeError

logger = logging.getLogger(__name__)

REQUEST_TIMEOUT = 10.0  # seconds
TRANSACTION_TIMEOUT = 15  # seconds after which the broker aborts what nobody ends

_FATAL = {
    KafkaError.SASL_AUTHENTICATION_FAILED,
    KafkaError._AUTHENTICATION,  # noqa: SLF001 - librdkafka's own codes have this form
    KafkaError.TOPIC_AUTHORIZATION_FAILED,
    KafkaError.GROUP_AUTHORIZATION_FAILED,
    KafkaError.CLUSTER_AUTHORIZATION_FAILED,
    KafkaError._FATAL,  # noqa: SLF001
    KafkaError._INVALID_ARG,  # noqa: SLF001
}


def convert(error: KafkaException | KafkaError, doing: str) -> WakeError:
    """Our error for one of Kafka's, saying what was being done."""
    inner = error.args[0] if isinstance(error, KafkaException) else error
    if isinstance(inner, KafkaError):
        family = FatalError if inner.fatal() or inner.code() in _FATAL else TransientError
        return family(f"Kafka, {doing}: {inner.str()}")
    return TransientError(f"Kafka, {doing}: {inner}")


def _log_error(name: str, error: KafkaError) -> None:
    logger.info("Kafka (%s): %s", name, error.str(), extra={"action": "kafka_error"})


def _common(kafka: Kafka, name: str) -> dict[str, Any]:
    settings: dict[str, Any] = {
        "bootstrap.servers": kafka.bootstrap_servers,
        "client.id": f"wake-{name}-{socket.gethostname()}",
        "socket.keepalive.enable": True,
        # A broker that comes back is found again within a second.
        "reconnect.backoff.max.ms": 1000,
        "error_cb": functools.partial(_log_error, name),
        "log_level": 3,
    }
    return settings | {key: value.get_secret_value() for key, value in kafka.settings.items()}


def reader(
    kafka: Kafka,
    name: str,
    *,
    group: str = "wake",
    ahead_kb: int = 16 * 1024,
    fetch_kb: int = 4 * 1024,
    at_end: bool = False,
) -> Consumer:
    """A consumer for assigned partitions: positions are ours, nothing is committed to the group.

    It reads on until `ahead_kb` wait for who asks. One answer brings `fetch_kb` of each partition, as they are
    compressed, or one batch: so much may lie ten times as large in memory. With `at_end` it says when it has come to a
    partition's end.
    """
    return Consumer(
        _common(kafka, name)
        | {
            "group.id": group,
            "enable.auto.commit": False,
            "enable.auto.offset.store": False,
            "auto.offset.reset": "error",
            "enable.partition.eof": at_end,
            "fetch.wait.max.ms": 100,
            # The default of one second stalls a consumer that empties its queue quickly.
            "fetch.queue.backoff.ms": 5,
            "queued.max.messages.kbytes": ahead_kb,
            "fetch.message.max.bytes": fetch_kb * 1024,
        }
    )


def member(kafka: Kafka, name: str, group: str) -> Consumer:
    """A consumer that takes part in a group and reads nothing; a member that is gone is replaced in seconds."""
    return Consumer(
        _common(kafka, name)
        | {
            "group.id": group,
            "enable.auto.commit": False,
            "auto.offset.reset": "latest",
            "partition.assignment.strategy": "cooperative-sticky",
            "session.timeout.ms": 6000,
            "heartbeat.interval.ms": 1000,
        }
    )


def publisher(kafka: Kafka, name: str, on_delivery: Callable[[KafkaError | None, Message], None]) -> Producer:
    """A producer whose messages arrive in order, each once, without a hole, or not at all.

    `on_delivery` is told of failures only: one callback for all is cheaper than one for each message.
    """
    return Producer(
        _common(kafka, name)
        | {
            "on_delivery": on_delivery,
            "enable.idempotence": True,
            "enable.gapless.guarantee": True,
            "acks": "all",
            "message.timeout.ms": 0,
            "linger.ms": 0,  # what is handed over while a request is on its way makes the next one
            "compression.type": "lz4",
            "message.max.bytes": kafka.topics.max_message_bytes,
            "queue.buffering.max.messages": 200_000,
            "queue.buffering.max.kbytes": 32 * 1024,
            "delivery.report.only.error": True,
        }
    )


def send(kafka: Kafka, name: str, topic: str, records: Sequence[tuple[bytes, bytes]]) -> None:
    """Write a few records (key, value) to a topic's first partition, and wait until the broker has them.

    Raises `TransientError` when it does not take them in time; some may be there all the same.
    """
    failed: list[KafkaError] = []

    def on_delivery(error: KafkaError | None, _: Message) -> None:
        if error is not None:
            failed.append(error)

    producer = Producer(
        _common(kafka, name)
        | {
            "on_delivery": on_delivery,
            "enable.idempotence": True,
            "acks": "all",
            "message.timeout.ms": int(REQUEST_TIMEOUT * 1000),
        }
    )
    for key, value in records:
        producer.produce(topic, value, key, 0)
    left = producer.flush(2 * REQUEST_TIMEOUT)
    if failed:
        raise convert(failed[0], f"writing to {topic}")
    if left:
        raise TransientError(f"Kafka, writing to {topic}: no answer")


def transactional(kafka: Kafka, identity: str) -> Producer:
    """A producer of which the broker knows the identity: whoever takes it up ends what its former holder had begun."""
    return Producer(
        _common(kafka, "effects")
        | {
            "transactional.id": identity,
            "transaction.timeout.ms": TRANSACTION_TIMEOUT * 1000,
            "message.timeout.ms": TRANSACTION_TIMEOUT * 1000,
            "message.max.bytes": kafka.topics.max_message_bytes,
            "linger.ms": 0,
        }
    )


def end_offset(client: AdminClient, topic: str, partition: int) -> int:
    """The next offset to come, whatever transactions are open before it.

    Raises `TransientError` while the broker cannot answer.
    """
    place = TopicPartition(topic, partition)
    latest = cast("Any", admin_api).OffsetSpec.latest()
    ask = cast("Callable[..., dict[TopicPartition, Any]]", cast("Any", client).list_offsets)  # its types say nothing
    try:
        asked = ask({place: latest}, isolation_level=IsolationLevel.READ_UNCOMMITTED, request_timeout=REQUEST_TIMEOUT)
        return int(asked[place].result(2 * REQUEST_TIMEOUT).offset)
    except KafkaException as error:
        raise convert(error, f"reading the end of {topic}[{partition}]") from error


def admin(kafka: Kafka) -> AdminClient:
    """For topics and their settings."""
    return AdminClient(_common(kafka, "admin"))


def watermarks(consumer: Consumer, topic: str, partition: int) -> tuple[int, int]:
    """The first offset there is and the next one to come.

    Raises `TransientError` while the broker cannot answer.
    """
    try:
        low, high = consumer.get_watermark_offsets(TopicPartition(topic, partition), timeout=REQUEST_TIMEOUT)
    except KafkaException as error:
        raise convert(error, f"reading the ends of {topic}[{partition}]") from error
    return low, high


def partition_count(client: AdminClient, topic: str) -> int:
    """How many partitions a topic has; 0 when there is no such topic."""
    try:
        metadata = client.list_topics(topic, timeout=REQUEST_TIMEOUT).topics[topic]
    except KafkaException as error:
        raise convert(error, f"looking for topic {topic}") from error
    return 0 if metadata.error is not None else len(metadata.partitions)
