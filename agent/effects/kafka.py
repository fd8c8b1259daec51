"""A CloudEvent on a topic, exactly once for who reads what is committed.

Each event is a transaction of its own. Its place is recorded before anything is sent: the partition, where it ended,
and the identity under which the producer is known to the broker. To settle what was cut short is to take that identity
up, after which its former holder can write nothing more, and to look for the action between that end and the present.
"""

from __future__ import annotations

import contextlib
import secrets
import time
from datetime import UTC, datetime
from typing import Any, cast

import msgspec
from confluent_kafka import KafkaError, KafkaException, Message, Producer, TopicPartition
from confluent_kafka.admin import AdminClient

from agent import bound, json_text
from agent.effects.outcome import (
    Again,
    Failed,
    Material,
    Outcome,
    Pending,
    Recorder,
    Setting,
    Succeeded,
    Unknown,
)
from wakestream import events, kafka, marks
from wakestream.config.actions import KafkaAction
from wakestream.config.models import Kafka
from wakestream.errors import FatalError, TransientError, WakeError
from wakestream.failpoint import reach

CONTENT_TYPE = b"application/cloudevents+json; charset=UTF-8"
KEY_HEADER = "Idempotency-Key"
LOOK = 10.0  # seconds that a topic is read for what became of an attempt


class KafkaPlan(msgspec.Struct, frozen=True):
    """The effect as the ledger keeps it."""

    topic: str
    key: str | None
    type: str
    source: str
    subject: str
    data: dict[str, Any]
    timeout_s: float


class KafkaIntent(msgspec.Struct, frozen=True):
    """What tells later whether the event was committed."""

    topic: str
    partition: int
    end: int
    """The partition's end before anything was sent."""
    producer: str
    """The identity under which it was sent."""


class KafkaEffect:
    """Executes and settles Kafka actions."""

    def __init__(self, settings: Kafka, mark_key: bytes) -> None:
        self._settings = settings
        self._mark_key = mark_key
        self._identity = ""
        self._producer: Producer | None = None
        self._admin: AdminClient | None = None

    @classmethod
    def open(cls, setting: Setting) -> KafkaEffect:
        """With the configured broker, to which it connects when there is something to send."""
        return cls(setting.config.kafka, setting.mark_key)

    @staticmethod
    def plan(material: Material) -> dict[str, Any]:
        """The event, apart from its id and time."""
        action, settings, event = material.action, cast("KafkaAction", material.action.settings), material.event
        key = None
        if action.key is not None:
            found = bound.value(action.name, "key", action.key, material.seen, event.data.missing)
            key = None if found is None else events.key_text(found)
        plan = KafkaPlan(
            topic=settings.topic,
            key=key,
            type=settings.type or f"wake.action.{action.name}",
            source=f"wake://{event.source_name}/{action.name}",
            subject=event.subject,
            data=material.values,
            timeout_s=settings.timeout,
        )
        return msgspec.structs.asdict(plan)

    def execute(self, action: Pending, record: Recorder) -> Outcome:
        """Send it in a transaction of its own."""
        plan = msgspec.convert(action.effect, KafkaPlan)
        try:
            partitions = kafka.partition_count(self._client(), plan.topic)
            if not partitions:
                return Failed(f"there is no topic {plan.topic}; create it and retry")
            partition = events.partition_of(plan.key if plan.key is not None else action.id, partitions)
            producer = self._ready(plan.timeout_s)
            end = kafka.end_offset(self._client(), plan.topic, partition)
        except WakeError as error:
            self._drop()
            return Failed(str(error)) if isinstance(error, FatalError) else Again(str(error))
        intent = KafkaIntent(plan.topic, partition, end, self._identity)
        record(msgspec.structs.asdict(intent))
        reach("agent.6.before_produce")
        try:
            offset = self._send(producer, plan, intent, action)
        except (KafkaException, BufferError) as error:
            self._drop()
            return self._look_again(action, intent, plan, error)
        reach("agent.6.after_produce")
        return Succeeded({"topic": plan.topic, "partition": partition, "offset": offset})

    def settle(self, action: Pending, record: Recorder) -> Outcome:
        """Look for the event between the recorded end and the present one; send it again where it is not."""
        plan, intent = msgspec.convert(action.effect, KafkaPlan), msgspec.convert(action.intent, KafkaIntent)
        found = self._look(action, intent, plan.timeout_s)
        return self.execute(action, record) if found is None else found

    def _look_again(self, action: Pending, intent: KafkaIntent, plan: KafkaPlan, error: Exception) -> Outcome:
        found = self._look(action, intent, plan.timeout_s)
        if found is not None:
            return found
        cause = error.args[0] if error.args else None
        if isinstance(cause, KafkaError) and cause.code() in (
            KafkaError.MSG_SIZE_TOO_LARGE,
            KafkaError.TOPIC_AUTHORIZATION_FAILED,
        ):
            return Failed(f"the broker refuses it: {cause.str()}")
        return Again(f"the event was not committed: {cause.str() if isinstance(cause, KafkaError) else error}")

    def _ready(self, timeout_s: float) -> Producer:
        """The worker's producer, known to the broker."""
        if self._producer is None:
            self._identity = f"wake-{secrets.token_hex(8)}"
            self._producer = kafka.transactional(self._settings, self._identity)
            _introduce(self._producer, timeout_s)
        return self._producer

    def _send(self, producer: Producer, plan: KafkaPlan, intent: KafkaIntent, action: Pending) -> int:
        delivered: list[Message] = []
        failed: list[KafkaError] = []

        def on_delivery(error: KafkaError | None, message: Message) -> None:
            (failed if error is not None else delivered).append(cast("Any", error or message))

        producer.begin_transaction()
        producer.produce(
            plan.topic,
            _event(action.id, plan),
            plan.key.encode() if plan.key is not None else None,
            intent.partition,
            on_delivery=on_delivery,
            headers=[
                ("content-type", CONTENT_TYPE),
                (KEY_HEADER, action.id.encode()),
                (marks.RELAY_HEADER, marks.sign_relay(self._mark_key, action.cause, time.time()).encode()),
            ],
        )
        producer.commit_transaction(plan.timeout_s)
        producer.poll(0)
        if failed or not delivered:
            raise KafkaException(failed[0] if failed else KafkaError(KafkaError._FAIL))  # noqa: SLF001
        return delivered[0].offset() or 0

    def _look(self, action: Pending, intent: KafkaIntent, timeout_s: float) -> Outcome | None:
        """What became of an attempt; None when it surely was not committed. Raises `TransientError`."""
        try:
            # From here on the attempt's own producer can neither send nor commit, wherever it is.
            if intent.producer == self._identity:
                self._drop()
            _introduce(kafka.transactional(self._settings, intent.producer), timeout_s)
            low, high = self._bounds(intent)
            if high < intent.end:
                return Unknown(f"topic {intent.topic} was made anew since it was sent")
            begin = max(low, intent.end)
            found = self._search(action.id, intent, begin, high) if high > begin else None
        except FatalError as error:
            return Unknown(f"an earlier attempt was cut short and cannot be looked for: {error}")
        if found is not None:
            return Succeeded(
                {"topic": intent.topic, "partition": intent.partition, "offset": found, "settled": "by its offset"}
            )
        if low > intent.end:
            return Unknown(f"what {intent.topic} held then is deleted by now")
        return None

    def _bounds(self, intent: KafkaIntent) -> tuple[int, int]:
        """The first offset that there is, and the next to come."""
        consumer = kafka.reader(self._settings, "effects")
        with contextlib.closing(consumer):
            low, _ = kafka.watermarks(consumer, intent.topic, intent.partition)
        return low, kafka.end_offset(self._client(), intent.topic, intent.partition)

    def _search(self, action: str, intent: KafkaIntent, begin: int, high: int) -> int | None:
        """The offset of the action's committed event between these two."""
        consumer = kafka.reader(self._settings, "effects", at_end=True)
        consumer.assign([TopicPartition(intent.topic, intent.partition, begin)])
        deadline = time.monotonic() + LOOK
        with contextlib.closing(consumer):
            while time.monotonic() < deadline:
                message = consumer.poll(0.5)
                if message is None:
                    continue
                error = message.error()
                if error is None and _key_of(message) == action:
                    return message.offset()
                at = (message.offset() or 0) + (error is None)
                if error is not None and error.code() != KafkaError._PARTITION_EOF:  # noqa: SLF001
                    raise kafka.convert(error, f"reading {intent.topic}")
                if at >= high:
                    return None
        raise TransientError(f"{intent.topic}[{intent.partition}] cannot be read up to {high} now")

    def _client(self) -> AdminClient:
        if self._admin is None:
            self._admin = kafka.admin(self._settings)
        return self._admin

    def _drop(self) -> None:
        """The next event gets a producer of its own."""
        self._producer = None


def _introduce(producer: Producer, timeout_s: float) -> None:
    """Have the broker know the producer by its identity, and end what another of that identity had begun."""
    try:
        producer.init_transactions(max(timeout_s, 1.0))
    except KafkaException as error:
        cause = error.args[0]
        if isinstance(cause, KafkaError) and cause.code() == KafkaError._FENCED:  # noqa: SLF001
            raise TransientError("another worker settles the same") from error
        raise kafka.convert(error, "taking up a producer's identity") from error


def _event(action: str, plan: KafkaPlan) -> bytes:
    """Structured JSON; the id is the action's in every attempt."""
    document = {
        "specversion": "1.0",
        "id": action,
        "source": plan.source,
        "type": plan.type,
        "subject": plan.subject,
        "time": datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        "datacontenttype": "application/json",
        "data": plan.data,
    }
    return json_text.dump(document).encode()


def _key_of(message: Message) -> str:
    headers = dict(message.headers() or [])
    value = headers.get(KEY_HEADER)
    return value.decode() if isinstance(value, bytes) else ""
