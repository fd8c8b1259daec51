"""Publishes context events so that what the broker has is always a prefix of them in each partition."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable

from confluent_kafka import KafkaError, KafkaException, Producer

from cdc_consumer.fitting import Unshown, fitted
from cdc_consumer.render import Message
from wakestream import kafka
from wakestream.config.models import Kafka
from wakestream.errors import TransientError

logger = logging.getLogger(__name__)

ACK_LOOK = 0.001  # seconds; nobody is told of what arrives, only of what does not
PATIENCE = 20.0  # seconds that a cycle waits for the broker before it rolls back


class Publisher:
    """One producer for one context topic. After `give_up` it is done: make a new one."""

    def __init__(self, settings: Kafka, topic: str, partitions: int) -> None:
        self._topic = topic
        self._partitions = partitions
        self._producer: Producer = kafka.publisher(settings, f"consume-{topic}", self._on_delivery)
        self._most = settings.topics.max_message_bytes
        self._failure: KafkaError | None = None
        self.sent = 0
        """Events handed over, whatever became of them; one for all partitions is one."""
        self.unshown: list[Unshown] = []
        """Those among them that are too large to be told with what they are about."""

    def send(self, messages: Iterable[Message]) -> None:
        """Hand messages over in their order; `wait` says when the broker has them.

        Raises `TransientError` when the broker does not keep up within the patience.
        """
        for whole in messages:
            message = fitted(whole, self._most, self.unshown.append)
            self.sent += 1
            if message.partition is not None:
                self._produce(message, message.partition)
                continue
            for partition in range(self._partitions):
                self._produce(message, partition)

    def is_done(self) -> bool:
        """Whether nothing is on its way any more; `wait` says whether it has arrived."""
        self._producer.poll(0)
        return len(self._producer) == 0 or self._failure is not None

    def wait(self) -> None:
        """Until the broker has everything. Raises `TransientError` otherwise."""
        deadline = time.monotonic() + PATIENCE
        while not self.is_done():
            self._producer.poll(ACK_LOOK)
            if self._failure is not None or time.monotonic() > deadline:
                break
        if self._failure is not None or len(self._producer) > 0:
            raise self._unable()

    def give_up(self) -> None:
        """Throw away what is not delivered; nothing behind it may be delivered after this."""
        try:
            self._producer.purge(in_queue=True, in_flight=True, blocking=True)
            self._producer.flush(0.1)
        except KafkaException as error:
            # A producer without gaps ends for good when something in flight is thrown away, which is what we ask for.
            logger.info("The producer for %s has ended: %s", self._topic, error)

    def _produce(self, message: Message, partition: int) -> None:
        deadline = 0.0
        while self._failure is None:
            try:
                self._producer.produce(self._topic, message.value, message.subject, partition)
                return
            except BufferError:
                deadline = deadline or time.monotonic() + PATIENCE
                self._producer.poll(0.1)
                if time.monotonic() > deadline:
                    break
            except KafkaException as error:
                raise kafka.convert(error, f"publishing to {self._topic}") from error
        raise self._unable()

    def _on_delivery(self, error: KafkaError | None, _: object) -> None:
        if error is not None and self._failure is None:
            self._failure = error

    def _unable(self) -> TransientError:
        if self._failure is not None:
            converted = kafka.convert(self._failure, f"publishing to {self._topic}")
            if not isinstance(converted, TransientError):
                raise converted
            return converted
        return TransientError(f"Kafka does not take events for {self._topic}; the broker is away or slow")
