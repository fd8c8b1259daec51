"""A Debezium connector that somebody else runs, with its topic per table, and a source that adopts it."""

from __future__ import annotations

import json
import secrets
from collections import defaultdict
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast
from urllib.parse import urlsplit

import psycopg
from confluent_kafka import Message, Producer, TopicPartition
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewPartitions
from psycopg import sql

from connectors.connect import Connect
from connectors.connector_config import CLASS
from localstack import Stack
from tests.harness.agent import World, own_database, own_ledger
from tests.harness.context import ContextLog, JsonObject, exact
from tests.harness.waiting import eventually
from wakestream import kafka, topics

JSON = "org.apache.kafka.connect.json.JsonConverter"
PARTITIONS = 3
READER = "reader"

# The settings under which `to_jsonb` says what an event must say.
AS_EVENTS = "-c TimeZone=UTC -c IntervalStyle=iso_8601 -c bytea_output=hex"

HEAD = """\
kafka: {bootstrap_servers: "${KAFKA_BOOTSTRAP}", topics: {context_partitions: 3}}
connect: {url: "${CONNECT_URL}", secrets: "${CONNECT_SECRETS}"}
ledger: {url: "${LEDGER_URL}", lookups: "${LOOKUPS_URL}"}
"""


@dataclass(frozen=True)
class Foreign:
    """What somebody else runs, and the world that adopts it."""

    world: World
    client: Connect
    connector: str
    prefix: str

    @property
    def source(self) -> str:
        return self.world.source

    def raw_config(self) -> dict[str, Any]:
        """The configuration for a consumer process, secrets in clear."""
        variables, config = self.world.variables, self.world.loaded.config
        source = config.sources[self.source]
        return {
            "kafka": {"bootstrap_servers": variables["KAFKA_BOOTSTRAP"]},
            "connect": {"url": variables["CONNECT_URL"], "secrets": variables["CONNECT_SECRETS"]},
            "ledger": {"url": variables["LEDGER_URL"]},
            "sources": {
                self.source: {
                    "capture": variables["CAPTURE_URL"],
                    "adopt": self.connector,
                    "tables": {label: {} for label in source.tables},
                }
            },
        }

    def config(self) -> str:
        """The connector's configuration as Connect has it."""
        return json.dumps(self.client.config(self.connector), sort_keys=True)

    def topic(self, table: str) -> str:
        return f"{self.prefix}.public.{table}"

    def messages(self, table: str) -> list[Message]:
        """Everything that the connector has written of a table."""
        return ContextLog.messages(self.world.loaded.config.kafka, self.topic(table))

    def send_again(self, table: str, count: int) -> None:
        """What Debezium does after a crash: the last changes of each partition once more, in their order.

        Rows of a snapshot never come again behind a change: it is taken anew, or not at all.
        """
        by_partition: dict[int, list[Message]] = defaultdict(list)
        for message in self.messages(table):
            if not _is_snapshot(message):
                by_partition[message.partition() or 0].append(message)
        producer = Producer({"bootstrap.servers": self.world.variables["KAFKA_BOOTSTRAP"]})
        for partition, messages in by_partition.items():
            for message in messages[-count:]:
                headers = message.headers() or []
                producer.produce(self.topic(table), message.value(), message.key(), partition, headers=headers)
        assert producer.flush(30) == 0

    def produce(self, table: str, value: bytes) -> None:
        """A message of somebody's in each partition."""
        producer = Producer({"bootstrap.servers": self.world.variables["KAFKA_BOOTSTRAP"]})
        for partition in range(PARTITIONS):
            producer.produce(self.topic(table), value, b"{}", partition)
        assert producer.flush(30) == 0

    def cut(self, table: str) -> None:
        """Delete everything that a topic has now, as its retention would."""
        reader = kafka.reader(self.world.loaded.config.kafka, "test-cut")
        try:
            places = [
                TopicPartition(self.topic(table), number, kafka.watermarks(reader, self.topic(table), number)[1])
                for number in range(PARTITIONS)
            ]
        finally:
            reader.close()
        client = cast("Any", AdminClient({"bootstrap.servers": self.world.variables["KAFKA_BOOTSTRAP"]}))
        for future in client.delete_records(places).values():
            future.result(timeout=30)

    def add_partitions(self, table: str, count: int) -> None:
        """Let a topic have so many partitions."""
        client = cast("Any", AdminClient({"bootstrap.servers": self.world.variables["KAFKA_BOOTSTRAP"]}))
        for future in client.create_partitions([NewPartitions(self.topic(table), count)]).values():
            future.result(timeout=30)

    def context(self) -> ContextLog:
        """The context topic as it is now."""
        return ContextLog.read(self.world.loaded.config.kafka, topics.context(self.source))

    def wait_read(self, *subjects: str) -> ContextLog:
        """Until the context tells of these subjects, and the consumer has read all that there is."""
        eventually(
            lambda: set(subjects) <= {each.event["subject"] for each in self.context().unique},
            f"events of {', '.join(subjects)}",
            within=120,
        )
        eventually(self._has_read_all, "everything read", within=120)
        return self.context()

    def _has_read_all(self) -> bool:
        rows = self.world.told(
            "select inputs, stretch is null from wake.adopted_position where source = %s", self.source
        )
        if not rows or not rows[0][1]:
            return False
        settings = self.world.loaded.config.kafka
        reader, client = kafka.reader(settings, "test-adopted"), kafka.admin(settings)
        try:
            return all(
                len(each["next"]) == kafka.partition_count(client, topic)
                and all(
                    kafka.watermarks(reader, topic, partition)[1] == reached
                    for partition, reached in enumerate(each["next"])
                )
                for topic, each in rows[0][0].items()
            )
        finally:
            reader.close()


@contextmanager
def foreign(
    stack: Stack,
    env: Mapping[str, str],
    directory: Path,
    *,
    ddl: str,
    wake: str,
    settings: Mapping[str, str] | None = None,
    prompt: str = "Row {{ key.id }}\n",
    **variables: str,
) -> Generator[Foreign]:
    """A database that a connector of somebody else's reads, with Debezium's own defaults but for `settings`.

    SOURCE and CONNECTOR in the configuration stand for the names.
    """
    name = f"f{secrets.token_hex(5)}"
    with (
        own_database(env["POSTGRES_URL"], name, owner=None) as url,
        own_ledger(stack, env["LEDGER_URL"], name) as ledger,
        Connect(env["CONNECT_URL"]) as client,
    ):
        role = f"{name}_{READER}"
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute(ddl.encode())
            reader = sql.Identifier(role)
            connection.execute(sql.SQL("create role {} login password 'r'").format(reader))
            connection.execute(sql.SQL("grant select on all tables in schema public to {}").format(reader))
        file = directory / "wake.yaml"
        file.write_text(HEAD + wake.replace("SOURCE", name).replace("CONNECTOR", f"theirs-{name}"))
        (directory / "prompt.md").write_text(prompt)
        parts = urlsplit(url)
        capture = parts._replace(netloc=f"{role}:r@{parts.hostname}:{parts.port}").geturl()
        lookups = urlsplit(env["LOOKUPS_URL"])._replace(path=f"/{name}").geturl()
        urls = {"LEDGER_URL": ledger, "LOOKUPS_URL": lookups, "CAPTURE_URL": capture, "DATABASE_URL": url}
        made = Foreign(World(name, url, file, {**env, **urls, **variables}), client, f"theirs-{name}", f"{name}_their")
        try:
            client.create(made.connector, _config(made, url, settings or {}))
            client.wait_running(made.connector)
            yield made
        finally:
            client.delete_with_offsets(made.connector)
            _delete_topics(made)
            with psycopg.connect(url, autocommit=True) as connection:
                for statement in ("drop owned by {} cascade", "drop role {}"):
                    connection.execute(sql.SQL(statement).format(sql.Identifier(role)))


def _is_snapshot(message: Message) -> bool:
    body = json.loads(message.value() or b"null") or {}
    return body.get("payload", body).get("op") == "r"


def _config(made: Foreign, url: str, settings: Mapping[str, str]) -> dict[str, str | None]:
    parts = urlsplit(url)
    return {
        "connector.class": CLASS,
        "plugin.name": "pgoutput",
        "database.hostname": parts.hostname,
        "database.port": str(parts.port),
        "database.user": parts.username,
        "database.password": parts.password or "unused",
        "database.dbname": made.source,
        "topic.prefix": made.prefix,
        "slot.name": f"{made.source}_their",
        "publication.name": f"{made.source}_their",
        "topic.creation.default.partitions": str(PARTITIONS),
        "topic.creation.default.replication.factor": "1",
        **settings,
    }


def _delete_topics(made: Foreign) -> None:
    client = cast("Any", AdminClient({"bootstrap.servers": made.world.variables["KAFKA_BOOTSTRAP"]}))
    theirs = [
        name for name in client.list_topics(timeout=10).topics if name.startswith((made.prefix, f"{made.source}."))
    ]
    for future in client.delete_topics(theirs).values() if theirs else ():
        future.result(timeout=30)


@dataclass
class History:
    """What was done to each row, as PostgreSQL tells it: before and after every change."""

    lost: frozenset[str] = frozenset()
    """Columns that the connector cannot give."""
    unsure: frozenset[str] = frozenset()
    """Columns whose null may be another value."""
    of: dict[str, list[tuple[str, JsonObject | None, JsonObject | None]]] = field(
        default_factory=lambda: defaultdict(list)
    )
    """By subject: operation, image before and after."""

    def change(self, connection: psycopg.Connection[Any], table: str, key: str, statement: str) -> None:
        """Change one row, whose key stays as it is."""
        before = self.row(connection, table, key)
        connection.execute(statement.encode())
        after = self.row(connection, table, key)
        op = "insert" if before is None else "delete" if after is None else "update"
        self.of[_subject(table, key)].append((op, before, after))

    def move(self, connection: psycopg.Connection[Any], table: str, old: str, new: str, statement: str) -> None:
        """Change a row's key."""
        before = self.row(connection, table, old)
        connection.execute(statement.encode())
        self.of[_subject(table, old)].append(("delete", before, None))
        self.of[_subject(table, new)].append(("insert", None, self.row(connection, table, new)))

    def read(self, connection: psycopg.Connection[Any], table: str, key: str) -> None:
        """A row that a snapshot has shown as it is now."""
        self.of[_subject(table, key)].append(("read", None, self.row(connection, table, key)))

    def row(self, connection: psycopg.Connection[Any], table: str, key: str) -> JsonObject | None:
        query = sql.SQL("select to_jsonb(t)::text from {} t where {}").format(
            sql.Identifier(table),
            sql.SQL(key),  # pyright: ignore[reportArgumentType]
        )
        found = connection.execute(query).fetchone()
        return None if found is None else {k: v for k, v in exact(found[0]).items() if self._is_told(k, v)}

    def _is_told(self, name: str, value: object) -> bool:
        return name not in self.lost and not (value is None and name in self.unsure)


def _subject(table: str, key: str) -> str:
    """`id = 7` → `public.flight/7`; `flight_id = 7 and seat_no = '1A'` → `public.seat/7,1A`."""
    values = [part.split("=")[1].strip().strip("'") for part in key.split(" and ")]
    return f"public.{table}/{','.join(values)}"


def differing(context: ContextLog, history: History) -> dict[str, tuple[object, object]]:
    """By subject, what the context tells and what was done, where that is not the same."""
    seen = told(context)
    return {
        subject: (seen.get(subject), history.of.get(subject))
        for subject in seen.keys() | history.of.keys()
        if seen.get(subject) != history.of.get(subject)
    }


def told(context: ContextLog) -> dict[str, list[tuple[str, JsonObject | None, JsonObject | None]]]:
    """The same by the context's events, in the order of each subject."""
    found: dict[str, list[tuple[str, JsonObject | None, JsonObject | None]]] = defaultdict(list)
    for each in context.accepted:
        if each.type.startswith("row."):
            found[each.event["subject"]].append((each.data["op"], each.data["before"], each.data["after"]))
    return found
