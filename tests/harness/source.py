"""A source attached to the real stack by the shortest way: database, publication, topics, revision, connector."""

from __future__ import annotations

import re
import secrets
from collections.abc import Callable, Collection, Generator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, cast
from urllib.parse import urlsplit

import psycopg
from confluent_kafka import Message, Producer, TopicPartition
from confluent_kafka.admin import AdminClient
from psycopg import sql

from connectors import connector_config, snapshots, topics_setup
from connectors.connect import Connect
from connectors.databases import Address
from tests.harness.context import ContextLog
from tests.harness.stack import drop_database
from tests.harness.tending import Tending
from tests.harness.waiting import eventually
from wakestream import capture, inspection, kafka, ledger, secrets_file, topics
from wakestream.capture import Capture, CapturedTable, Entity
from wakestream.config import Config
from wakestream.ledger import settings

Connection = psycopg.Connection[Any]

# What the ledger keeps of a source, by tables that have a column `source`.
_KEPT = (
    "source_position",
    "mirror_state",
    "missing_value",
    "snapshot_row",
    "gap",
    "revision",
    "receipt",
    "guard_state",
    "drift",
)

# The settings under which `to_jsonb` says what an event must say.
_AS_EVENTS = "-c TimeZone=UTC -c IntervalStyle=iso_8601 -c bytea_output=hex"


@dataclass(frozen=True)
class AttachedSource:
    """A database whose changes arrive in a change log, with a ledger that knows its tables."""

    name: str
    """Of the source and of its database."""
    url: str
    """The database, as superuser."""
    env: Mapping[str, str]
    """The addresses of the stack."""
    tables: tuple[str, ...]

    @cached_property
    def raw_config(self) -> dict[str, Any]:
        """What `wake.yaml` would say, secrets in clear."""
        return {
            "kafka": {"bootstrap_servers": self.env["KAFKA_BOOTSTRAP"]},
            "connect": {"url": self.env["CONNECT_URL"], "secrets": self.env["CONNECT_SECRETS"]},
            "ledger": {"url": self.env["LEDGER_URL"]},
            "sources": {self.name: {"capture": self.url, "tables": {label: {} for label in self.tables}}},
        }

    @cached_property
    def config(self) -> Config:
        return Config.model_validate(self.raw_config)

    @property
    def connector(self) -> str:
        return topics.connector(self.name)

    def connect(self) -> Connection:
        """A session that prints values as events have them, in autocommit."""
        return psycopg.connect(self.url, autocommit=True, options=_AS_EVENTS)

    def ledger(self) -> Connection:
        """A session with the ledger, in autocommit, that prints values in the same way."""
        return psycopg.connect(self.env["LEDGER_URL"], autocommit=True, options=_AS_EVENTS)

    def context(self) -> ContextLog:
        """The context topic as it is now, read again while its newest piece is only being written."""

        def read() -> ContextLog | None:
            found = ContextLog.read(self.config.kafka, topics.context(self.name))
            return found if found.ends_whole else None

        return eventually(read, f"the end of {topics.context(self.name)} in all its partitions")

    def change_log(self) -> list[Message]:
        """Every message of the change log as it is now, in order."""
        return kafka_messages(self.config, topics.changes(self.name))

    def produce_change(self, key: bytes | None, value: bytes | None) -> None:
        """Write a message of our own into the change log."""
        self._produce(topics.changes(self.name), key, value)

    def applied_offset(self) -> int:
        """The last record of the change log that the consumer has applied."""
        with self.ledger() as connection:
            query = 'select "offset" from wake.source_position where source = %s'
            row = connection.execute(query, (self.name,)).fetchone()
        assert row is not None
        return int(row[0])

    def wait_grown(self, end: int) -> int:
        """Until the change log has a record at this offset; returns its present end."""
        topic = topics.changes(self.name)
        reader = kafka.reader(self.config.kafka, f"test-{topic}")
        try:
            return eventually(
                lambda: found if (found := kafka.watermarks(reader, topic, 0)[1]) > end else None,
                f"record {end} of {topic}",
            )
        finally:
            reader.close()

    def cut_change_log(self, end: int) -> None:
        """Delete what the change log has before this offset, as its retention would."""
        client = cast("Any", AdminClient({"bootstrap.servers": self.env["KAFKA_BOOTSTRAP"]}))
        place = TopicPartition(topics.changes(self.name), 0, end)
        client.delete_records([place])[place].result()

    def snapshot_again(self, *tables: str) -> None:
        """An incremental snapshot, from its signal until the context store has settled what it read."""
        snapshots.signal(self.config.kafka, self.name, tables)
        with self.ledger() as connection:
            begun = "select from wake.mirror_state where source = %s and snapshot_from is not null"
            eventually(lambda: connection.execute(begun, (self.name,)).fetchone() is not None, "a snapshot begun")
        self.settle_snapshots()

    def settle_snapshots(self) -> None:
        """What the guard does for snapshots that have read ahead of the log, until it is done."""
        tending = Tending(self.config, self.name, self.connect)
        read = "select from wake.mirror_state where source = %s and snapshot_from is not null"
        with self.ledger() as connection:
            eventually(
                lambda: tending.look(connection) and connection.execute(read, (self.name,)).fetchone() is None,
                "the end of the snapshot in the context",
            )

    def wait_streaming(self, *, within: float = 60.0) -> None:
        """Until the connector reads its slot."""
        with psycopg.connect(self.env["POSTGRES_URL"], autocommit=True) as admin:
            query = "select active from pg_replication_slots where slot_name = %s and confirmed_flush_lsn is not null"
            eventually(
                lambda: (row := admin.execute(query, (topics.slot(self.name),)).fetchone()) is not None and row[0],
                f"an active slot {topics.slot(self.name)}",
                within=within,
            )

    def wait_snapshot_kept(self) -> None:
        """Until Connect has stored that the initial snapshot is over: killed before, it takes it a second time."""
        with Connect(self.env["CONNECT_URL"]) as client:
            eventually(
                lambda: any(each.offset and "snapshot" not in each.offset for each in client.offsets(self.connector)),
                f"offsets of {self.connector} behind its snapshot",
            )

    def wait_mirrored(self, *, within: float = 60.0) -> None:
        """Until every table's snapshot is in the context store."""
        query = "select count(*) from wake.mirror_state where source = %s and complete"
        with self.ledger() as connection:
            eventually(
                lambda: connection.execute(query, (self.name,)).fetchone() == (len(self.tables),),
                f"complete mirrors of {self.name}",
                within=within,
            )

    def wait_applied(self, lsn: int | None = None, *, within: float = 60.0) -> int:
        """Until the position has passed everything committed so far; returns that LSN."""
        if lsn is None:
            with self.connect() as connection:
                lsn = current_lsn(connection)
        query = 'select "commit" from wake.source_position where source = %s and "commit" >= %s'
        with self.ledger() as connection:
            eventually(
                lambda: connection.execute(query, (self.name, lsn)).fetchone(),
                f"the position of {self.name} at {lsn}",
                within=within,
            )
        return lsn

    def wait_logged(self) -> None:
        """Until everything committed so far is in the change log."""
        with self.connect() as connection:
            lsn = current_lsn(connection)

        def logged() -> bool:
            ends = re.findall(rb'"status":"END","id":"\d+:(\d+)"', b"".join(_value(m) for m in self.change_log()[-40:]))
            return any(int(end) >= lsn for end in ends)

        eventually(logged, f"the change log of {self.name} at {lsn}")

    def dead_letters(self) -> list[tuple[str, int]]:
        """Kind and offset of what could not be processed, in order."""
        with self.ledger() as connection:
            return connection.execute(
                'select kind, "offset" from wake.dead_letter where topic = %s order by "offset", kind, subject',
                (topics.changes(self.name),),
            ).fetchall()

    def _produce(self, topic: str, key: bytes | None, value: bytes | None) -> None:
        producer = Producer({"bootstrap.servers": self.env["KAFKA_BOOTSTRAP"]})
        producer.produce(topic, value, key, 0)
        assert producer.flush(30) == 0


def kafka_messages(config: Config, topic: str) -> list[Message]:
    """Every message of a topic's only partition."""
    return ContextLog.messages(config.kafka, topic)


def _value(message: Message) -> bytes:
    value = message.value()
    return value if isinstance(value, bytes) else b""


def current_lsn(connection: Connection) -> int:
    """Where the write-ahead log of the source ends, with commits that are not written yet and seen already."""
    row = connection.execute("select (pg_current_wal_insert_lsn() - '0/0')::bigint").fetchone()
    assert row is not None
    return int(row[0])


@contextmanager
def attached(
    env: Mapping[str, str],
    ddl: str,
    tables: Sequence[str],
    *,
    entities: Mapping[str, Entity] | None = None,
    unmirrored: Collection[str] = (),
    partitions: int = 3,
    fill: Callable[[AttachedSource], object] = lambda _: None,
) -> Generator[AttachedSource]:
    """A new database with this schema, attached once `fill` has made its rows; all is removed at the end."""
    name = f"s{secrets.token_hex(5)}"
    source = AttachedSource(name, urlsplit(env["POSTGRES_URL"])._replace(path=f"/{name}").geturl(), env, tuple(tables))
    ledger.migrate(env["LEDGER_URL"])
    with source.ledger() as connection:
        settings.ensure_keys(connection)
    with ExitStack() as undo:
        undo.enter_context(_database(source, ddl))
        fill(source)
        undo.enter_context(_topics(source, partitions))
        captured = undo.enter_context(_revision(source, dict(entities or {}), unmirrored))
        undo.enter_context(_connector(source, captured))
        yield source


@contextmanager
def _database(source: AttachedSource, ddl: str) -> Generator[None]:
    with psycopg.connect(source.env["POSTGRES_URL"], autocommit=True) as admin:
        admin.execute(sql.SQL("create database {}").format(sql.Identifier(source.name)))
    try:
        with source.connect() as connection:
            connection.execute(ddl.encode())
            listed = sql.SQL(", ").join(sql.Identifier(*label.split(".", 1)) for label in source.tables)
            publication = sql.Identifier(topics.slot(source.name))
            connection.execute(
                sql.SQL("create publication {} for table {} with (publish_via_partition_root = true)").format(
                    publication, listed
                )
            )
        yield
    finally:
        with psycopg.connect(source.env["POSTGRES_URL"], autocommit=True) as admin:
            drop_database(admin, source.name)


@contextmanager
def _topics(source: AttachedSource, partitions: int) -> Generator[None]:
    wanted = source.config.kafka.topics.model_copy(update={"context_partitions": partitions, "replication": 1})
    client = kafka.admin(source.config.kafka)
    for step in topics_setup.steps(client, source.name, wanted):
        step.do()
    try:
        yield
    finally:
        topics_setup.delete(client, source.name, wanted)


@contextmanager
def _revision(source: AttachedSource, entities: dict[str, Entity], unmirrored: Collection[str]) -> Generator[Capture]:
    tables = {label: CapturedTable(mirror=label not in unmirrored) for label in source.tables}
    captured = Capture(tables, entities, f"wake-{secrets.token_hex(8)}")
    with source.ledger() as connection, source.connect() as database:
        catalogue = inspection.read_catalogue(database, source.name, source.tables)
        capture.store(connection, catalogue, captured)
    try:
        yield captured
    finally:
        with source.ledger() as connection:
            forget(connection, source.name)


def forget(connection: Connection, name: str) -> None:
    """Remove what a ledger knows of a source."""
    for table in _KEPT:
        connection.execute(sql.SQL("delete from {} where source = %s").format(sql.Identifier("wake", table)), (name,))
    connection.execute(
        sql.SQL("drop schema if exists {} cascade").format(sql.Identifier(topics.mirror_schema(name, "public")))
    )


@contextmanager
def _connector(source: AttachedSource, captured: Capture) -> Generator[None]:
    url, path = urlsplit(source.url), Path(source.env["CONNECT_SECRETS"])
    user, password = connector_config.secret_names(source.name)
    address = Address(url.hostname or "", str(url.port), source.name, url.username or "", url.password or "", {})
    secrets_file.write_properties(path, {user: address.user, password: address.password})
    with Connect(source.env["CONNECT_URL"]) as client:
        client.put_config(source.connector, connector_config.build(source.config, source.name, captured, address))
        try:
            yield
        finally:
            client.delete_with_offsets(source.connector)
            secrets_file.remove_properties(path, f"{source.name}.")
