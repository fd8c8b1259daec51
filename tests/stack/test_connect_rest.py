"""Every call of the Connect client against the real worker, with a real Debezium connector."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Generator
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar
from urllib.parse import urlsplit

import psycopg
import pytest

from connectors.connect import Connect, ConnectorExists, ConnectorFailed, ConnectorMissing, ConnectorNotStopped, types
from connectors.connect import InvalidConnector as Invalid
from connectors.connect_http import until
from localstack import Stack
from tests.harness.stack import SourceDatabase
from wakestream import secrets_file
from wakestream.errors import RefusedError

T = TypeVar("T")
PATIENCE = 60.0  # seconds


@dataclass(frozen=True)
class Debezium:
    """A connector that could be, on a database with one published table of one row."""

    name: str
    config: types.Config
    database: str

    def but(self, **settings: str | None) -> types.Config:
        """The configuration with other settings; `database__port` is `database.port`."""
        return {**self.config, **{key.replace("__", "."): value for key, value in settings.items()}}


@pytest.fixture(scope="module")
def client(env: dict[str, str]) -> Generator[Connect]:
    with Connect(env["CONNECT_URL"]) as client:
        yield client


@pytest.fixture
def debezium(client: Connect, env: dict[str, str], source_database: SourceDatabase) -> Generator[Debezium]:
    name, url, secrets = source_database.name, urlsplit(source_database.url), Path(env["CONNECT_SECRETS"])
    with psycopg.connect(source_database.url, autocommit=True) as connection:
        connection.execute("create table flight (id int primary key, status text)")
        connection.execute("insert into flight values (7, 'on time')")
        connection.execute("create publication wake_published for table flight")
    secrets_file.write_properties(secrets, {f"{name}.password": url.password or ""})
    config: types.Config = {
        "connector.class": "io.debezium.connector.postgresql.PostgresConnector",
        "plugin.name": "pgoutput",
        "database.hostname": url.hostname,
        "database.port": str(url.port),
        "database.user": url.username,
        "database.password": f"${{file:{secrets}:{name}.password}}",
        "database.dbname": name,
        "topic.prefix": name,
        "slot.name": name,
        "publication.name": "wake_published",
        "publication.autocreate.mode": "disabled",
        "table.include.list": r"public\.flight",
        "topic.creation.default.replication.factor": "-1",
        "topic.creation.default.partitions": "1",
    }
    yield Debezium(name, config, source_database.url)
    client.delete_with_offsets(name)
    secrets_file.remove_properties(secrets, f"{name}.")


def awaited(probe: Callable[[], T | None], what: str) -> T:
    return until(time, probe, PATIENCE, lambda: what)


def test_the_worker(client: Connect) -> None:
    assert client.worker().version == "4.3.1"
    assert client.health() == types.Health("healthy", "Worker has completed startup and is ready to handle requests.")
    postgres = next(plugin for plugin in client.plugins() if plugin.class_name.endswith(".PostgresConnector"))
    assert (postgres.type, postgres.version) == ("source", "3.7.0.Final")
    kinds = {plugin.type for plugin in client.plugins(connectors_only=False)}
    assert {"source", "transformation", "converter"} <= kinds
    keys = {key.name: key for key in client.plugin_config("PostgresConnector")}
    assert (keys["slot.name"].default_value, keys["database.port"].type) == ("debezium", "INT")
    with pytest.raises(RefusedError, match="Unknown plugin Nope"):
        client.plugin_config("Nope")


def test_loggers(client: Connect) -> None:
    logger = "io.debezium.wake.test"
    assert client.set_logger(logger, "DEBUG") == (logger,)
    assert client.logger(logger).level == "DEBUG"
    assert client.loggers()[logger].last_modified is not None
    assert client.set_logger(logger, "WARN", scope="cluster") == ()
    awaited(lambda: True if client.logger(logger).level == "WARN" else None, "the level set for the cluster")
    with pytest.raises(RefusedError, match="invalid log level 'FOO'"):
        client.set_logger(logger, "FOO")
    with pytest.raises(RefusedError, match="Logger nope not found"):
        client.logger("nope")


def test_created_stopped_then_resumed(client: Connect, debezium: Debezium) -> None:
    name = debezium.name
    created = client.create(name, debezium.config, initial_state="STOPPED")
    assert (created.name, created.type, created.tasks) == (name, "source", ())
    assert awaited(lambda: _if(client.status(name), "STOPPED"), "STOPPED").stopped
    assert client.offsets(name) == ()
    assert client.config(name) == {**debezium.config, "name": name}
    with pytest.raises(ConnectorExists):
        client.create(name, debezium.config)
    client.resume(name)
    status = client.wait_running(name, PATIENCE)
    assert (status.name, status.type, [task.id for task in status.tasks]) == (name, "source", [0])
    assert client.task_status(name, 0).state == "RUNNING"
    assert client.connector(name).tasks == (types.TaskId(name, 0),)
    (task,) = client.tasks(name)
    assert (task.id, task.config["slot.name"]) == (types.TaskId(name, 0), name)
    assert name in client.connectors()
    assert client.overview()[name].info.config == client.config(name)
    assert client.overview()[name].status.running


def test_topics_and_offsets(client: Connect, debezium: Debezium) -> None:
    name = debezium.name
    client.put_config(name, debezium.config)
    awaited(lambda: client.topics(name) or None, "the topic of the snapshot")
    assert client.topics(name) == (f"{name}.public.flight",)
    awaited(lambda: client.offsets(name) or None, "the offset of the snapshot")
    client.pause(name)
    awaited(lambda: _if(client.status(name), "PAUSED"), "PAUSED")
    client.reset_topics(name)
    awaited(lambda: None if client.topics(name) else True, "no topics")
    for change in (lambda: client.delete_offsets(name), lambda: client.patch_offsets(name, client.offsets(name))):
        with pytest.raises(ConnectorNotStopped):
            change()
    assert client.stop_and_wait(name, PATIENCE).stopped
    (offset,) = client.offsets(name)
    assert offset.partition == {"server": name}
    assert offset.offset is not None
    moved = types.Offset(offset.partition, {**offset.offset, "lsn": offset.offset["lsn"] + 8})
    assert "altered successfully" in client.patch_offsets(name, [moved])
    assert client.offsets(name) == (moved,)
    assert "reset successfully" in client.delete_offsets(name)
    assert client.offsets(name) == ()
    assert client.delete_with_offsets(name)
    assert name not in client.connectors()
    assert not client.delete_with_offsets(name)


def test_configurations(client: Connect, debezium: Debezium) -> None:
    name = debezium.name
    assert client.validate(name, debezium.config).errors == {}
    unreachable = client.validate(name, debezium.but(database__port="1"))
    assert unreachable.error_count == 1
    assert "Connection to 127.0.0.1:1 refused" in unreachable.errors["database.hostname"][0]
    for change in (client.create, client.put_config):
        with pytest.raises(Invalid, match=rf"connector {name}: topic\.prefix: .*required") as caught:
            change(name, debezium.but(topic__prefix=None))
        assert set(caught.value.fields) == {"topic.prefix"}
        with pytest.raises(Invalid, match=r"connector\.class: the worker has no such plugin"):
            change(name, debezium.but(connector__class="Nope"))
    with pytest.raises(Invalid, match="no such plugin"):
        client.validate(name, debezium.but(connector__class="Nope"))
    client.put_config(name, debezium.config)
    assert client.patch_config(name, {"poll.interval.ms": "50"}).config["poll.interval.ms"] == "50"
    assert client.put_config(name, client.config(name)).config["poll.interval.ms"] == "50"
    assert "poll.interval.ms" not in client.patch_config(name, {"poll.interval.ms": None}).config
    with pytest.raises(Invalid, match=rf"connector {name}: slot\.name: "):
        client.patch_config(name, {"slot.name": "No!"})
    assert client.config(name) == {**debezium.config, "name": name}


def test_a_failed_task_is_told_and_restarted(client: Connect, debezium: Debezium) -> None:
    name = debezium.name
    client.put_config(name, debezium.but(publication__name="wake_later"))
    with pytest.raises(ConnectorFailed) as caught:
        client.wait_running(name, PATIENCE)
    assert caught.value.part == "task 0"
    assert caught.value.reason.startswith("Publication autocreation is disabled, please create one")
    with psycopg.connect(debezium.database, autocommit=True) as connection:
        connection.execute("create publication wake_later for table flight")
    status = client.restart(name)
    assert (status.connector.state, status.tasks[0].state) == ("RUNNING", "RESTARTING")
    client.wait_running(name, PATIENCE)
    assert client.restart(name).tasks[0].state == "RUNNING"  # Nothing is FAILED, so nothing restarts.
    both = client.restart(name, only_failed=False)
    assert (both.connector.state, both.tasks[0].state) == ("RESTARTING", "RESTARTING")
    client.wait_running(name, PATIENCE)
    client.restart(name, include_tasks=False, only_failed=False)
    client.restart_task(name, 0)
    client.wait_running(name, PATIENCE)
    with pytest.raises(RefusedError, match=f"Unknown task: {name}-5"):
        client.restart_task(name, 5)
    with pytest.raises(RefusedError, match=f"No status found for task {name}-5"):
        client.task_status(name, 5)
    client.delete(name)
    awaited(lambda: None if name in client.connectors() else True, f"{name} to go")


def test_a_connector_that_does_not_exist(client: Connect) -> None:
    offset = types.Offset({"server": "x"}, {"lsn": 1})
    calls: list[Callable[[str], object]] = [
        client.connector, client.config, client.status, client.status_now, client.wait_running, client.tasks,
        client.restart, client.pause, client.resume, client.stop, client.stop_and_wait, client.offsets,
        client.delete_offsets, client.delete, lambda name: client.patch_offsets(name, [offset]),
        lambda name: client.patch_config(name, {"a": "b"}), lambda name: client.restart_task(name, 0),
    ]  # fmt: skip
    for call in calls:
        with pytest.raises(ConnectorMissing, match="no connector no such in Kafka Connect"):
            call("no such")
    assert client.topics("no such") == ()
    with pytest.raises(RefusedError, match="400"):
        client.connector("no/such")


def test_a_worker_that_dies_is_waited_for(client: Connect, stack: Stack) -> None:
    names = client.connectors()
    stack.kill("connect")
    repair = threading.Thread(target=stack.up)
    repair.start()
    try:
        assert client.connectors() == names  # Through connection refused and through the start of the worker.
    finally:
        repair.join()
    assert client.health().status == "healthy"


def _if(status: types.Status, state: types.State) -> types.Status | None:
    """The status, once connector and tasks are all in this state."""
    return status if {status.connector.state, *(task.state for task in status.tasks)} == {state} else None
