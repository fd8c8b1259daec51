"""The topics of an adopted connector as they are in Kafka, and what may be missing of them."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Iterable, Mapping
from typing import Any, cast

from confluent_kafka import Consumer, KafkaException, TopicCollection

from cdc_consumer.adopted_position import Input, Inputs, Loss, Stretch
from cdc_consumer.position import Position
from wakestream import kafka
from wakestream.capture import Revision
from wakestream.config.models import Kafka


@dataclasses.dataclass(frozen=True, slots=True)
class Found:
    """A topic that exists."""

    id: str
    ends: list[tuple[int, int]]
    """First offset and next one to come, by partition."""


def shapes(settings: Kafka, names: Iterable[str]) -> dict[str, tuple[str, int]]:
    """Id and number of partitions of the topics that exist. Asking by description never makes a topic."""
    client = cast("Any", kafka.admin(settings))  # must outlive the answers
    wanted = sorted(names)
    found: dict[str, tuple[str, int]] = {}
    try:
        there = client.list_topics(timeout=kafka.REQUEST_TIMEOUT).topics
        listed = [name for name in wanted if name in there]
        if not listed:
            return found
        asked = client.describe_topics(TopicCollection(listed), request_timeout=kafka.REQUEST_TIMEOUT)
        for name in listed:
            described = asked[name].result()
            found[name] = (str(described.topic_id), len(described.partitions))
    except KafkaException as error:
        raise kafka.convert(error, "looking at the topics of the adopted connector") from error
    return found


def find(settings: Kafka, consumer: Consumer, names: Iterable[str]) -> dict[str, Found]:
    """The topics that exist, with their ends."""
    return {
        name: Found(identifier, [kafka.watermarks(consumer, name, number) for number in range(count)])
        for name, (identifier, count) in shapes(settings, names).items()
    }


def first_inputs(revision: Revision, found: Mapping[str, Found]) -> Inputs:
    """Everything from the first message that is there."""
    return {
        topic: Input(found[topic].id, label, [low for low, _ in found[topic].ends])
        for topic, label in _labels(revision).items()
        if topic in found
    }


def is_repeatable(stretch: Stretch, inputs: Inputs, found: Mapping[str, Found]) -> bool:
    """Whether everything of a stretch that was under way is still there."""
    for topic, until in stretch.until.items():
        there = found.get(topic)
        starts = inputs[topic].next
        if all(start == end for start, end in zip(starts, until, strict=True)):
            continue
        if there is None or there.id != inputs[topic].id:
            return False
        if any(end > start and low > start for start, end, (low, _) in zip(starts, until, there.ends, strict=False)):
            return False
    return True


def followed(revision: Revision, inputs: Inputs, found: Mapping[str, Found]) -> tuple[Inputs, dict[str, str], bool]:
    """Where is read on, by what there is now; which tables may lack changes, why, and whether a topic is another one.

    Partitions that were added are not among them: `grown` says when they may be read.
    """
    following: Inputs = {}
    lost: dict[str, str] = {}
    anew = False
    for topic, label in _labels(revision).items():
        known, there = inputs.get(topic), found.get(topic)
        if there is None:
            if known is not None:
                following[topic] = known
        elif known is None:
            following[topic] = Input(there.id, label, [low for low, _ in there.ends])
        elif known.id != there.id or len(there.ends) < len(known.next):
            following[topic] = Input(there.id, label, [low for low, _ in there.ends])
            lost[label], anew = f"topic {topic} was made anew", True
        else:
            starts = [max(start, low) for start, (low, _) in zip(known.next, there.ends, strict=False)]
            gone = [n for n, (old, new) in enumerate(zip(known.next, starts, strict=True)) if new > old]
            following[topic] = Input(known.id, label, starts, known.snapshot_lsn)
            if gone:
                listed = ", ".join(f"{known.next[n]} to {starts[n] - 1} of partition {n}" for n in gone)
                lost[label] = f"{topic} no longer has offsets {listed}: the consumer was away too long"
    return following, lost, anew


def grown(inputs: Inputs, found: Mapping[str, Found]) -> dict[str, tuple[list[int], list[int]]]:
    """Topics that got partitions: the ends up to which the old ones must be read first, and where the new ones begin.

    A key may have moved, and its later changes must not overtake its earlier ones.
    """
    return {
        topic: ([high for _, high in there.ends[: len(known.next)]], [low for low, _ in there.ends[len(known.next) :]])
        for topic, known in inputs.items()
        if (there := found.get(topic)) is not None and there.id == known.id and len(there.ends) > len(known.next)
    }


def loss(at: Position, revision: Revision, following: Inputs, lost: Mapping[str, str], *, anew: bool) -> Loss | None:
    """What has to be declared before anything else is read; None where nothing may be missing."""
    catalogue = revision.catalogue
    identity = (catalogue.system_identifier, catalogue.timeline)
    if identity != (at.system_identifier, at.timeline):
        lost = dict.fromkeys(revision.capture.tables, "the source is another database, or was restored or failed over")
        anew = True
    if not lost:
        return None
    reasons = "; ".join(dict.fromkeys(lost.values()))
    now = time.time_ns() // 1_000_000
    return Loss(sorted(lost), reasons, now, at.log + anew, following, identity)


def _labels(revision: Revision) -> dict[str, str]:
    adopted = revision.capture.adopted
    return {} if adopted is None else {topic: label for label, topic in sorted(adopted.topics.items())}
