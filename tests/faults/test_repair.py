"""Slots, offsets and databases lost while rows change: named, behind a gap, read again, and whole in the end."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import psycopg
import pytest
from confluent_kafka.cimpl import NewTopic

from agent.testing import WebhookReceiver
from connectors import repair, snapshots
from connectors.connect import Connect
from connectors.guard import AttachedSource as Guarded
from connectors.guard import Watch
from tests.harness.processes import ConsumerProcess
from tests.harness.seats import DDL, ROWS, Writer, verify_mirror
from tests.harness.server import Server, small_server
from tests.harness.source import AttachedSource, attached, kafka_messages
from tests.harness.waiting import eventually
from wakestream import config, kafka, topics
from wakestream.config import Loaded

pytestmark = pytest.mark.timeout(300)


@pytest.fixture(scope="module")
def server() -> Generator[Server]:
    with small_server() as server:
        yield server


@pytest.fixture(scope="module")
def source(env: dict[str, str], server: Server, tmp_path_factory: pytest.TempPathFactory) -> Generator[AttachedSource]:
    def fill(source: AttachedSource) -> None:
        with source.connect() as connection:
            connection.execute("insert into seat select n, 'A', true, 0 from generate_series(1, %s) n", (ROWS,))

    directory = tmp_path_factory.mktemp("repair")
    with (
        attached({**env, "POSTGRES_URL": server.url()}, DDL, ["public.seat"], fill=fill) as source,
        ConsumerProcess(source.raw_config, directory) as consumer,
    ):
        consumer.start()
        source.wait_mirrored()
        source.wait_snapshot_kept()
        yield source
        assert consumer.stop() == 0


@pytest.fixture(scope="module")
def loaded(source: AttachedSource, tmp_path_factory: pytest.TempPathFactory) -> Loaded:
    file = tmp_path_factory.mktemp("configuration") / "wake.yaml"
    file.write_text(json.dumps(source.raw_config))  # JSON is YAML
    return config.load(file)


@pytest.fixture
def client(source: AttachedSource) -> Iterator[Connect]:
    with Connect(source.env["CONNECT_URL"], retry_s=20.0) as client:
        yield client


@contextmanager
def written(source: AttachedSource) -> Generator[Writer]:
    """Rows change all the time, from before it happens until everything is mended."""
    with source.ledger() as connection:
        row = connection.execute("select count(*) from wake.gap where source = %s", (source.name,)).fetchone()
    writer = Writer(source, away=1_000_000 * (1 + (row[0] if row else 0)), pause=0.005)
    try:
        yield writer
    finally:
        writer.stop()


def mend(source: AttachedSource, loaded: Loaded, name: repair.Name) -> None:
    """What an operator does, until the guard has settled it."""
    found = eventually(lambda: repair.examine(loaded, source.name), f"something to repair in {source.name}")
    assert found.name == name, found
    repair.repair(loaded, source.name, found)
    wait_mended(source, loaded)


def wait_mended(source: AttachedSource, loaded: Loaded) -> None:
    with Connect(source.env["CONNECT_URL"], retry_s=20.0) as client, source.ledger() as connection:
        guarded = Guarded(loaded, source.name, client)
        watch = Watch(guarded, time)  # a task may fail over two threads of Debezium that read at once
        gaps = "select from wake.gap where source = %s and state = 'open'"
        # What is not believed is being asked for again, and would go on into the next test.
        unsettled = (
            "select from wake.mirror_state where source = %s and (snapshot_from is not null or doubt is not null)"
        )

        def whole() -> bool:
            watch.look()
            return (
                connection.execute(gaps, (source.name,)).fetchone() is None
                and connection.execute(unsettled, (source.name,)).fetchone() is None
                and guarded.snapshot() == "complete"
                and repair.examine(loaded, source.name) is None
            )

        try:
            eventually(whole, "closed gaps and nothing left to repair", within=90.0)
        finally:
            guarded.close()
    source.wait_mirrored()
    source.wait_snapshot_kept()


def verify(source: AttachedSource, reason: str) -> None:
    """The gap was told from its beginning to its end, and the store is what the table is."""
    source.wait_applied()
    verify_mirror(source)
    context = source.context()
    context.verify_contract()
    gaps = [each.data for each in context.of_type("context.gap")]
    opened = [gap["number"] for gap in gaps if gap["state"] == "open" and reason in gap["reason"]]
    assert opened
    assert set(opened) <= {gap["number"] for gap in gaps if gap["state"] == "closed"}


def test_a_slot_that_somebody_dropped(source: AttachedSource, loaded: Loaded, client: Connect, server: Server) -> None:
    assert repair.examine(loaded, source.name) is None
    with written(source):
        client.stop_and_wait(source.connector)
        drop_slot(server, source)
        client.resume(source.connector)
        mend(source, loaded, "slot missing")
    verify(source, "slot missing")


def test_a_slot_that_is_made_anew_ahead_of_the_offsets(
    source: AttachedSource, loaded: Loaded, client: Connect, server: Server
) -> None:
    with written(source) as writer:
        client.stop_and_wait(source.connector)
        drop_slot(server, source)
        before = writer.written
        eventually(lambda: writer.written > before + 50, "changes that nobody will ever send")
        with source.connect() as connection:
            query = "select pg_create_logical_replication_slot(%s, 'pgoutput')"
            connection.execute(query, (topics.slot(source.name),))
        client.resume(source.connector)
        mend(source, loaded, "slot ahead")
    verify(source, "slot ahead")


def test_a_slot_that_the_server_gave_up(
    source: AttachedSource, loaded: Loaded, client: Connect, server: Server
) -> None:
    with written(source):
        client.stop_and_wait(source.connector)
        server.execute("alter system set max_slot_wal_keep_size = '1MB'\nselect pg_reload_conf()")

        def lost() -> bool:
            server.execute("select pg_switch_wal()\ncheckpoint")
            with psycopg.connect(server.url(), autocommit=True) as connection:
                query = "select wal_status from pg_replication_slots where slot_name = %s"
                return connection.execute(query, (topics.slot(source.name),)).fetchone() == ("lost",)

        eventually(lost, "a lost slot")
        server.execute("alter system reset max_slot_wal_keep_size\nselect pg_reload_conf()")
        client.resume(source.connector)
        mend(source, loaded, "slot lost")
    verify(source, "slot lost")


def test_offsets_that_are_gone_while_the_connector_is_stopped(
    source: AttachedSource, loaded: Loaded, client: Connect
) -> None:
    with written(source):
        client.stop_and_wait(source.connector)
        client.forget_offsets(source.connector)
        mend(source, loaded, "offsets lost")
    verify(source, "offsets lost")


def test_offsets_that_are_gone_and_a_connector_that_begins_anew_by_itself(
    source: AttachedSource, loaded: Loaded, client: Connect
) -> None:
    """Nobody repairs anything: the snapshot that Debezium takes beside the old slot is seen, and settled as one."""
    with written(source):
        client.stop_and_wait(source.connector)
        client.forget_offsets(source.connector)
        client.resume(source.connector)
        gaps = "select from wake.gap where source = %s and state = 'open'"
        with source.ledger() as connection:
            eventually(lambda: connection.execute(gaps, (source.name,)).fetchone() is not None, "a gap")
        wait_mended(source, loaded)
    verify(source, "has lost its place")


def test_a_gap_that_somebody_declares_is_read_again(source: AttachedSource, loaded: Loaded) -> None:
    with written(source):
        snapshots.declare_gap(loaded.config.kafka, source.name, ["public.seat"], "by hand")
        mend(source, loaded, "gap open")
    verify(source, "by hand")


def test_a_slot_that_endangers_its_database_is_given_up_where_the_file_says_so(
    source: AttachedSource, loaded: Loaded, client: Connect, server: Server, tmp_path: Path
) -> None:
    notices = f"{source.name}.notices"
    admin = cast("Any", kafka.admin(source.config.kafka))
    admin.create_topics([NewTopic(notices, 1, 1)])[notices].result()
    with WebhookReceiver() as receiver:
        raw = source.raw_config
        raw["sources"][source.name]["guard"] = {"policy": "shed", "wal_limit": "64MB"}
        raw["notify"] = {"webhook": {"url": receiver.url, "secret": "s3cret"}, "topic": notices}
        file = tmp_path / "wake.yaml"
        file.write_text(json.dumps(raw))
        guarded = Guarded(config.load(file), source.name, client)
        with written(source):
            client.stop_and_wait(source.connector)

            def shed() -> bool:
                server.execute("select pg_switch_wal()")
                guarded.tend()
                return repair.examine(loaded, source.name) is not None

            eventually(shed, "a slot given up")
            guarded.tend()  # and never twice
            guarded.close()
            mend(source, loaded, "slot missing")
        verify(source, "the guard gave the slot up")
        told = [(seen.body["type"], seen.body["data"]["level"]) for seen in receiver.seen]
        signed = {name for seen in receiver.seen for name in seen.headers if name.startswith("webhook-")}
    assert told[-2:] == [("guard.level.critical", "critical"), ("guard.shed", "critical")]
    assert len(kafka_messages(source.config, notices)) == len(told)
    admin.delete_topics([notices])[notices].result()
    assert signed == {"webhook-id", "webhook-timestamp", "webhook-signature"}
    with source.ledger() as connection:
        query = "select what from wake.guard_event where source = %s and what in ('shed', 'level critical') order by id"
        assert [what for (what,) in connection.execute(query, (source.name,))][-2:] == ["level critical", "shed"]
        row = connection.execute("select shed from wake.guard_state where source = %s", (source.name,)).fetchone()
    assert row == (False,)


def test_a_database_that_was_restored(
    source: AttachedSource, loaded: Loaded, client: Connect, server: Server, tmp_path: Path
) -> None:
    backup = tmp_path / "backup"
    client.stop_and_wait(source.connector)
    server.stop()
    copy(server.data, backup)
    server.start()
    client.resume(source.connector)
    with written(source) as writer:
        before = writer.written
        eventually(lambda: writer.written > before + 300, "changes that the backup does not have")
    source.wait_applied()
    before_log = newest_log(source)
    client.stop_and_wait(source.connector)
    server.stop()
    copy(backup, server.data)
    server.start()
    client.resume(source.connector)
    with written(source):
        mend(source, loaded, "restored")
    verify(source, "the end of the WAL is")
    assert newest_log(source) == before_log + 1


def newest_log(source: AttachedSource) -> int:
    return max(each.position.log for each in source.context().unique)


def drop_slot(server: Server, source: AttachedSource) -> None:
    server.execute(f"select pg_drop_replication_slot('{topics.slot(source.name)}')")


def copy(old: Path, new: Path) -> None:
    """A data directory with its owners."""
    subprocess.run(["rm", "-rf", str(new)], check=True)
    subprocess.run(["cp", "-a", str(old), str(new)], check=True)
