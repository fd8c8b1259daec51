"""The Debezium connector of a source: one place for every setting it runs with."""

from __future__ import annotations

import re

from connectors.connect import types
from connectors.databases import Address
from wakestream import marks, topics
from wakestream.capture import Capture
from wakestream.config import Config

CLASS = "io.debezium.connector.postgresql.PostgresConnector"
TABLES, COLUMNS, PLACEHOLDER = "table.include.list", "column.exclude.list", "unavailable.value.placeholder"

_CONVERTER = "org.apache.kafka.connect.json.JsonConverter"
_CASE = "(?-i)"
_QUEUE_BYTES = 128 * 1024 * 1024

_READING = {
    "connector.class": CLASS,
    "tasks.max": "1",
    "plugin.name": "pgoutput",
    "publication.autocreate.mode": "disabled",
    "snapshot.mode": "initial",
    # Every change at its place in one topic: truncates and transaction boundaries too, and no tombstones.
    "provide.transaction.metadata": "true",
    "skipped.operations": "none",
    "tombstones.on.delete": "false",
    "extended.headers.enabled": "false",
    "notification.enabled.channels": "sink",
    # A clock in the log, which moves the slot too while nothing else happens.
    "heartbeat.interval.ms": "1000",
    "heartbeat.action.query": f"SELECT pg_logical_emit_message(true, '{marks.CLOCK_PREFIX}', '')",
    "message.prefix.include.list": ",".join(re.escape(prefix) for prefix in (marks.PREFIX, marks.CLOCK_PREFIX)),
    # Low latency, a bounded queue, and failures that become visible.
    "poll.interval.ms": "10",
    "max.queue.size.in.bytes": str(_QUEUE_BYTES),
    "errors.max.retries": "10",
    "retriable.restart.connector.wait.ms": "5000",
    "read.only": "true",
    "signal.enabled.channels": "kafka",
    # Joining the signals' group takes several polls: at the default of 5 s a signal waits for half a minute.
    "signal.poll.interval.ms": "500",
}
MODES = {
    "decimal.handling.mode": "string",
    "time.precision.mode": "isostring",
    "interval.handling.mode": "string",
    "binary.handling.mode": "base64",
    "hstore.handling.mode": "json",
    "include.unknown.datatypes": "true",
}
"""The form in which values come."""
_VALUES = {
    **MODES,
    **{
        f"{side}.{name}": value
        for side in ("key.converter", "value.converter")
        for name, value in (("schemas.enable", "false"), ("replace.null.with.default", "false"))
    },
    "key.converter": _CONVERTER,
    "value.converter": _CONVERTER,
}
_WRITING = {
    "producer.override.linger.ms": "0",
    "producer.override.compression.type": "lz4",
    "topic.creation.default.replication.factor": "-1",
    "topic.creation.default.partitions": "1",
}


def secret_names(source: str) -> tuple[str, str]:
    """The names of user and password in the secrets file."""
    return f"{source}.user", f"{source}.password"


def build(config: Config, source: str, capture: Capture, where: Address) -> types.Config:
    """The whole configuration of the source's connector; user and password stay in the secrets file."""
    user, password = (f"${{file:{config.connect.secrets}:{name}}}" for name in secret_names(source))
    return {
        **_READING,
        **_VALUES,
        **_WRITING,
        "database.hostname": where.host,
        "database.port": where.port,
        "database.user": user,
        "database.password": password,
        "database.dbname": where.database,
        "database.sslmode": where.tls.get("sslmode", "prefer"),
        **{f"database.{name}": value for name, value in where.tls.items() if name != "sslmode"},
        "topic.prefix": source,
        "slot.name": topics.slot(source),
        "publication.name": topics.slot(source),
        TABLES: included_tables(capture),
        **excluded_columns(capture),
        PLACEHOLDER: capture.placeholder,
        "notification.sink.topic.name": f"{source}.notification",
        "signal.kafka.bootstrap.servers": config.kafka.bootstrap_servers,
        "signal.kafka.topic": topics.signal(source),
        "signal.kafka.groupId": f"{source}-signal",
        "producer.override.max.request.size": str(config.kafka.topics.max_message_bytes),
        "transforms": "log",
        "transforms.log.type": "org.apache.kafka.connect.transforms.RegexRouter",
        "transforms.log.regex": rf"(?:__debezium-heartbeat\.)?{source}(?:\..*)?",
        "transforms.log.replacement": topics.changes(source),
    }


def included_tables(capture: Capture) -> str:
    """The captured tables as Debezium's list of anchored expressions."""
    return ",".join(_expression(label) for label in sorted(capture.tables))


def excluded_columns(capture: Capture) -> types.Config:
    """The columns that are not sent, in the same form; no setting where there are none."""
    listed = [
        _expression(f"{label}.{column}")
        for label, table in sorted(capture.tables.items())
        for column in sorted(table.unsent)
    ]
    return {COLUMNS: ",".join(listed)} if listed else {}


def names_of(listed: str) -> set[str]:
    """The names in such a list, which may have been written by hand."""
    entries = re.findall(r"(?:\\.|[^,\\])+", listed)
    return {re.sub(r"\\(.)", r"\1", entry.strip().removeprefix(_CASE)) for entry in entries}


def _expression(name: str) -> str:
    """Matches this name and no other: Debezium splits the list at commas and would match without regard to case."""
    return _CASE + re.escape(name).replace(",", "\\,")
