"""Kafka: a source's topics as they are, and whether the widest row fits through them."""

# confluent-kafka's futures do not say of what, and its admin module does not say what it exports.
# pyright: reportUnknownMemberType=false, reportUnknownArgumentType=false, reportUnknownVariableType=false
# pyright: reportPrivateImportUsage=false
from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import psycopg
from confluent_kafka.admin import (
    AclBindingFilter,
    AclOperation,
    AclPermissionType,
    AdminClient,
    ConfigResource,
    ResourcePatternType,
    ResourceType,
)

from connectors import topics_setup
from connectors.checks.finding import Finding, finding, size, span
from connectors.checks.remedies import quoted
from connectors.checks.subject import Subject, sql_name
from wakestream import kafka, topics
from wakestream.catalogue import Table
from wakestream.config import Config

SHORT_RETENTION = 86400.0  # seconds
SAMPLE_ROWS = 2000
SAMPLE_TIMEOUT = 5000  # milliseconds
ENVELOPE = 4096  # bytes of a change around its row
SEVERAL = 3  # brokers from which on a copy on another one can be expected


def examine(config: Config, source: str, client: AdminClient) -> Iterator[Finding]:
    """The topics of a source that exist; `wake plan` makes the others."""
    adopted = config.sources[source].adopt is not None
    if not adopted and config.kafka.topics.changes_retention < SHORT_RETENTION:
        evidence = (
            f"changes are kept for {span(config.kafka.topics.changes_retention)}:"
            " a consumer that stands still for longer has lost some"
        )
        remedy = "wake.yaml: kafka.topics: {changes_retention: 7d}"
        yield finding("kafka.retention", topics.changes(source), evidence, remedy)
    metadata = client.list_topics(timeout=kafka.REQUEST_TIMEOUT)
    for topic, (partitions, wanted) in topics_setup.wanted(source, config.kafka.topics, adopted=adopted).items():
        there = metadata.topics.get(topic)
        if there is None or there.error is not None:
            continue
        if len(there.partitions) != partitions:
            yield _partitions(source, topic, len(there.partitions), partitions)
        copies = min(len(partition.replicas) for partition in there.partitions.values())
        yield from settings(topic, wanted, _described(client, ResourceType.TOPIC, topic), copies, len(metadata.brokers))
    if not adopted:
        yield from _readers(config, source, client)


def _partitions(source: str, topic: str, found: int, wanted: int) -> Finding:
    if topic == topics.context(source):
        evidence = f"{topic} has {found} partitions and the file says {wanted}: a subject would change its partition"
        return finding(
            "kafka.context_partitions", topic, evidence, f"wake.yaml: kafka.topics: {{context_partitions: {found}}}"
        )
    evidence = f"{topic} has {found} partitions and must have one, for everything in it is in order"
    return finding("kafka.partitions", topic, evidence, f"run: wake detach {source} --topics --yes; wake apply --yes")


def _described(client: AdminClient, kind: ResourceType, name: str) -> dict[str, str]:
    resource = ConfigResource(kind, name)
    entries = client.describe_configs([resource])[resource].result(timeout=kafka.REQUEST_TIMEOUT)
    return {key: str(entry.value or "") for key, entry in entries.items()}


def settings(topic: str, wanted: dict[str, str], found: dict[str, str], copies: int, brokers: int) -> Iterator[Finding]:
    """A topic as it is against what is wanted; how many copies it has, and of how many brokers."""
    if "compact" in found["cleanup.policy"]:
        evidence = f"{topic} is compacted: of several changes of a row only the last would stay"
        yield finding("kafka.compacted", topic, evidence, "run: wake apply --yes")
    differing = {
        name: found[name] for name, value in wanted.items() if found[name] != value and name != "cleanup.policy"
    }
    if differing:
        listed = ", ".join(f"{name} is {value} and not {wanted[name]}" for name, value in differing.items())
        yield finding("kafka.settings", topic, f"{topic} is not as the file says: {listed}", "run: wake apply --yes")
    needed = int(found["min.insync.replicas"])
    if needed > copies:
        evidence = (
            f"{topic} has {copies} copies and takes a message only when {needed} are in sync: nothing can be written"
        )
        yield finding("kafka.min_insync", topic, evidence, _in_sync(topic, copies))
    elif brokers >= SEVERAL and (copies == 1 or needed == 1):
        evidence = (
            f"{topic} has {copies} copies on {brokers} brokers and takes a message when {needed} has it:"
            " the loss of one broker loses changes"
        )
        remedy = (
            _in_sync(topic, 2)
            if copies > SEVERAL - 1
            else f"none: move {topic} to three copies (kafka-reassign-partitions), then min.insync.replicas=2"
        )
        yield finding("kafka.replication", topic, evidence, remedy)


def _in_sync(topic: str, copies: int) -> str:
    """The command that sets how many copies must have a message."""
    setting = f"--add-config min.insync.replicas={copies}"
    return f"run: kafka-configs --alter --entity-type topics --entity-name {topic} {setting}"


def _readers(config: Config, source: str, client: AdminClient) -> Iterator[Finding]:
    """Masked columns are in clear in the change log, so it matters who may read that."""
    masked = [f"{label}.{name}" for label, table in config.sources[source].tables.items() for name in table.mask]
    if not masked:
        return
    topic = topics.changes(source)
    anybody: Any = None
    asked = AclBindingFilter(
        ResourceType.TOPIC,
        topic,
        ResourcePatternType.MATCH,
        anybody,
        anybody,
        AclOperation.ANY,
        AclPermissionType.ALLOW,
    )
    if not _has_authorizer(client):
        evidence = f"the broker has no authorizer: whoever reaches it reads {', '.join(masked)} in clear in {topic}"
        remedy = "none: give the broker an authorizer, let nobody else reach it, or exclude the columns"
        yield finding("kafka.readers", topic, evidence, remedy)
        return
    rules = client.describe_acls(asked).result(timeout=kafka.REQUEST_TIMEOUT)
    readers = sorted({rule.principal for rule in rules if rule.operation in (AclOperation.READ, AclOperation.ALL)})
    if readers:
        evidence = f"{', '.join(readers)} may read {topic}, where {', '.join(masked)} is in clear"
        remedy = f"none: see that these are the worker and the consumer only (kafka-acls --list --topic {topic})"
        yield finding("kafka.readers", topic, evidence, remedy)


def _has_authorizer(client: AdminClient) -> bool:
    broker = next(iter(client.list_topics(timeout=kafka.REQUEST_TIMEOUT).brokers))
    return bool(_described(client, ResourceType.BROKER, str(broker)).get("authorizer.class.name", ""))


def widest(config: Config, subject: Subject) -> Iterator[Finding]:
    """A sample of each table against the largest message."""
    limit = config.kafka.topics.max_message_bytes
    for label, (table, settings) in subject.existing().items():
        if table.kind not in ("table", "partitioned"):
            continue
        columns = [column.name for column in table.columns if column.name not in settings.exclude]
        found = _widest(subject, table, columns)
        images = 2 if table.replica_identity == "full" or settings.mirror else 1  # before and after
        needed = found * images + ENVELOPE
        if needed > limit:
            evidence = f"a change of {label} makes a message of about {size(needed)}, and {size(limit)} is the limit"
            remedy = f"wake.yaml: kafka.topics: {{max_message_bytes: {_rounded(2 * needed)}}}"
            yield finding("kafka.message_size", subject.of(label), evidence, remedy)


def _widest(subject: Subject, table: Table, columns: list[str]) -> int:
    """Bytes of the widest of a table's first rows; only that one is read whole."""
    if not any(column.toastable for column in table.columns if column.name in columns):
        return 0
    stored = " + ".join(f"coalesce(pg_column_size({quoted(name)}), 0)" for name in columns)
    whole = " + ".join(f"coalesce(octet_length({quoted(name)}::text), 0)" for name in columns)
    query = (
        f'select {whole} from (select *, {stored} as " stored" from {sql_name(table)} limit {SAMPLE_ROWS}) s'  # noqa: S608
        ' order by " stored" desc limit 1'
    )
    try:
        with subject.reader.transaction():
            subject.reader.execute(f"set local statement_timeout = {SAMPLE_TIMEOUT}".encode())
            row: Any = subject.reader.execute(query.encode()).fetchone()
    except (psycopg.errors.InsufficientPrivilege, psycopg.errors.QueryCanceled):
        return 0  # Another check says that it may not be read; a table that takes so long is not read for this.
    return int(row[0]) if row else 0


def _rounded(number: int) -> int:
    mebibyte = 1024 * 1024
    return -(-number // mebibyte) * mebibyte
