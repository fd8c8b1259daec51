"""How long changes wait for their confirmation, which the worker's `offset.flush.interval.ms` decides.

The worker does not tell its setting, so a record of the change log that is some seconds old shows it: Debezium has
told PostgreSQL by then that it is stored, or not.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from contextlib import closing
from typing import Any

from confluent_kafka import Consumer, TopicPartition
from confluent_kafka.admin import AdminClient

from connectors.checks.finding import Finding, finding, span
from connectors.checks.subject import Subject
from wakestream import kafka, topics
from wakestream.config import Config

LONG = 15.0  # seconds
LOOK = 2.0  # seconds at most to find the end of a transaction
BATCH = 500
_END = re.compile(rb'"status":"END","id":"\d+:(\d+)"')


def examine(config: Config, broker: AdminClient, subject: Subject) -> Iterator[Finding]:
    """Compare what the slot has confirmed with the log of a while ago."""
    row: Any = subject.reader.execute(
        "select (confirmed_flush_lsn - '0/0')::bigint from pg_replication_slots where slot_name = %s and active",
        (subject.slot,),
    ).fetchone()
    if row is None or row[0] is None:
        return
    if not kafka.partition_count(broker, topics.changes(subject.source)):
        return
    with closing(kafka.reader(config.kafka, "doctor")) as consumer:
        stored = _stored(consumer, topics.changes(subject.source))
    if stored is not None and stored > row[0]:
        evidence = f"what was stored {span(LONG)} ago is not confirmed yet: so much is sent again after each restart"
        yield finding("connect.offset_flush", subject.source, evidence, "worker: offset.flush.interval.ms=1000")


def _stored(consumer: Consumer, topic: str) -> int | None:
    """The LSN of the first transaction whose end was stored since then; None where there is none."""
    since = round((time.time() - LONG) * 1000)
    (place,) = consumer.offsets_for_times([TopicPartition(topic, 0, since)], timeout=kafka.REQUEST_TIMEOUT)
    if place.error is not None or place.offset < 0:
        return None
    consumer.assign([place])
    deadline = time.monotonic() + LOOK
    while time.monotonic() < deadline:
        for message in consumer.consume(BATCH, 0.2):
            value = message.value()
            if isinstance(value, bytes) and (match := _END.search(value)):
                return int(match[1])
    return None
