"""The topics of a source: made where they are missing, verified where they exist."""

# confluent-kafka's futures do not say of what, and its admin module does not say what it exports.
# pyright: reportUnknownMemberType=false, reportUnknownArgumentType=false, reportUnknownVariableType=false
# pyright: reportPrivateImportUsage=false
from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Future
from typing import Any

from confluent_kafka import KafkaException
from confluent_kafka.admin import (
    AdminClient,
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    ResourceType,
)
from confluent_kafka.cimpl import NewTopic

from connectors.steps import Step
from wakestream import kafka, topics
from wakestream.config.models import Topics
from wakestream.errors import RefusedError

Settings = dict[str, str]


def wanted(source: str, settings: Topics, *, adopted: bool = False) -> dict[str, tuple[int, Settings]]:
    """Partitions and settings of each topic of a source; of one whose connector is somebody else's only the context."""
    size = {"max.message.bytes": str(settings.max_message_bytes), "cleanup.policy": "delete"}
    changes = {"retention.ms": _milliseconds(settings.changes_retention)}
    context = {"retention.ms": _milliseconds(settings.context_retention)}
    of_context = {topics.context(source): (settings.context_partitions, {**size, **context})}
    if adopted:
        return of_context
    return {
        topics.changes(source): (1, {**size, **changes}),
        topics.signal(source): (1, {"cleanup.policy": "delete", **changes}),
        **of_context,
    }


def steps(client: AdminClient, source: str, settings: Topics, *, adopted: bool = False) -> Iterator[Step]:
    """What has to be done so that the source's topics are as they should be.

    Raises `RefusedError` for a topic whose partitions are not as many as they must be.
    """
    for topic, (partitions, config) in wanted(source, settings, adopted=adopted).items():
        found = kafka.partition_count(client, topic)
        if found == 0:
            new = NewTopic(topic, num_partitions=partitions, replication_factor=settings.replication, config=config)
            yield Step(
                f"make topic {topic} with {partitions} partition{'s' if partitions > 1 else ''}",
                lambda new=new, topic=topic: _done(client.create_topics([new])[topic], f"making topic {topic}"),
                object=f"topic {topic}",
                command=f"CreateTopics {topic} partitions={partitions} replication={settings.replication}"
                f" {_listed(config)}",
            )
        elif found != partitions:
            raise RefusedError(_wrong_partitions(source, topic, found, partitions))
        else:
            differing = _differing(client, topic, config)
            if differing:
                yield Step(
                    f"set {_listed(differing, ', ')} of topic {topic}",
                    lambda topic=topic, differing=differing: _alter(client, topic, differing),
                    object=f"topic {topic}",
                    command=f"IncrementalAlterConfigs {topic} {_listed(differing)}",
                )


def delete(client: AdminClient, source: str, settings: Topics, *, adopted: bool = False) -> list[str]:
    """Delete the source's topics; returns those that were there."""
    there = [topic for topic in wanted(source, settings, adopted=adopted) if kafka.partition_count(client, topic) > 0]
    if there:
        for topic, future in client.delete_topics(there).items():
            _done(future, f"deleting topic {topic}")
    return there


def _listed(config: Settings, between: str = " ") -> str:
    return between.join(f"{name}={value}" for name, value in config.items())


def _wrong_partitions(source: str, topic: str, found: int, partitions: int) -> str:
    if topic == topics.context(source):
        return (
            f"topic {topic} has {found} partitions and kafka.topics.context_partitions says {partitions}:"
            f" write {found} there, or `wake detach {source} --topics` and apply anew"
        )
    return (
        f"topic {topic} has {found} partitions and must have one, for everything in it is in order:"
        f" delete it (`wake detach {source} --topics`) and apply anew"
    )


def _differing(client: AdminClient, topic: str, config: Settings) -> Settings:
    resource = ConfigResource(ResourceType.TOPIC, topic)
    entries = _done(client.describe_configs([resource])[resource], f"reading the settings of topic {topic}")
    return {name: value for name, value in config.items() if entries[name].value != value}


def _alter(client: AdminClient, topic: str, differing: Settings) -> None:
    entries = [
        ConfigEntry(name, value, incremental_operation=AlterConfigOpType.SET) for name, value in differing.items()
    ]
    resource = ConfigResource(ResourceType.TOPIC, topic, incremental_configs=entries)
    _done(client.incremental_alter_configs([resource])[resource], f"changing the settings of topic {topic}")


def _done(future: Future[Any], doing: str) -> Any:
    try:
        return future.result(timeout=3 * kafka.REQUEST_TIMEOUT)
    except KafkaException as error:
        raise kafka.convert(error, doing) from error


def _milliseconds(seconds: float) -> str:
    return str(round(seconds * 1000))
