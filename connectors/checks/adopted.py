"""A connector that somebody else runs: whether it can be read, and what of its values is missing by which setting."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, cast

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient, ConfigResource, ResourceType  # pyright: ignore[reportPrivateImportUsage]

from connectors import adopted_plan, adopted_sample, adoption, ledger_setup
from connectors.adopted_values import Flaw
from connectors.adoption import Adoption
from connectors.checks.finding import Finding, finding
from connectors.checks.subject import Subject
from connectors.connect import Connect, ConnectorMissing, telling_line, types
from connectors.databases import Connection
from wakestream import kafka
from wakestream.config.models import Kafka

OTHERS = ("tables.row_security", "tables.large")
"""Checks of tables that are for whoever runs the connector: its role, its first snapshot."""
OF_OUR_CONNECTORS = ("connect.secrets_provider", "connect.secrets_file")
"""Checks of the worker that only a connector of ours needs."""


def examine(
    subject: Subject, client: Connect, name: str, settings: Kafka, broker: AdminClient | None
) -> Iterator[Finding]:
    """The connector, then its settings, then its topics."""
    of = subject.of(f"connector {name}")
    config = adoption.find(client, name)
    if config is None:
        evidence = f"there is no connector {name} in {client.url}"
        yield finding("adopt.missing", of, evidence, f"none: correct sources.{subject.source}.adopt, or ask its owner")
        return
    yield from _state(client, name, of)
    judged = adoption.judge(name, config, subject.catalogue, subject.tables, subject.reader)
    yield from (_of(subject, flaw, of) for flaw in judged.flaws)
    if broker is not None and not judged.refusals:
        sampled = adopted_sample.examine(settings, config, judged.topics)
        yield from (_of(subject, flaw, of) for flaw in sampled)
        yield from _topics(subject, judged, broker)


def _of(subject: Subject, flaw: Flaw, of: str) -> Finding:
    return finding(flaw.check, subject.of(flaw.table) if flaw.table else of, flaw.evidence, flaw.remedy)


def changed(subject: Subject, client: Connect, name: str, ledger: Connection) -> Iterator[Finding]:
    """What is read by settings that are not those of the connector any more."""
    config = adoption.find(client, name)
    known = ledger_setup.newest_revision(ledger, subject.source)
    if config is None or known is None or known.capture.adopted is None:
        return
    judged = adoption.judge(name, config, subject.catalogue, subject.tables, subject.reader)
    said = adopted_plan.unapplied(known, judged, subject.catalogue)
    if said:
        yield finding("adopt.changed", subject.of(f"connector {name}"), "; ".join(said), "run: wake apply --yes")


def _state(client: Connect, name: str, of: str) -> Iterator[Finding]:
    try:
        status: types.Status = client.status(name, wait_s=1.0)
    except ConnectorMissing:
        return
    if status.failure is not None:
        part, trace = status.failure
        evidence = f"{name}: {part} is FAILED: {telling_line(trace) or 'without a trace; see the log of the worker'}"
        yield finding("adopt.failed", of, evidence, "none: its owner must mend and restart it")
    elif not status.running:
        evidence = f"{status.label}: nothing is written"
        yield finding("adopt.not_running", of, evidence, "none: its owner must let it run")


def _topics(subject: Subject, judged: Adoption, broker: AdminClient) -> Iterator[Finding]:
    there = broker.list_topics(timeout=kafka.REQUEST_TIMEOUT).topics
    truncates = "t" not in (judged.config.get("skipped.operations") or "t")
    for label, topic in sorted(judged.topics.items()):
        found = there.get(topic)
        if found is None or found.error is not None:
            evidence = f"there is no topic {topic}: nothing was ever written of {label}"
            remedy = "none: it comes with the first row, if the connector captures the table"
            yield finding("adopt.topic_missing", subject.of(label), evidence, remedy)
            continue
        if truncates and len(found.partitions) > 1:
            evidence = f"{topic} has {len(found.partitions)} partitions, and a TRUNCATE is in order in one of them only"
            remedy = "none: what the context store has of the table is not told as `before` after one"
            yield finding("adopt.truncates", subject.of(label), evidence, remedy)
        if "compact" in _policy(broker, topic):
            evidence = f"{topic} is compacted: of changes that were not read in time only the last stays"
            remedy = f"none: have the owner of {topic} set cleanup.policy=delete"
            yield finding("adopt.compacted", subject.of(label), evidence, remedy)


def _policy(broker: AdminClient, topic: str) -> str:
    resource = ConfigResource(ResourceType.TOPIC, topic)
    try:
        entries = cast("Any", broker).describe_configs([resource])[resource].result(timeout=kafka.REQUEST_TIMEOUT)
    except KafkaException as error:
        raise kafka.convert(error, f"reading the settings of topic {topic}") from error
    return str(entries["cleanup.policy"].value or "")
