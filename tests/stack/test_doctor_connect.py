"""Faults of Kafka Connect, and of a slot whose connector is there: with the stack's worker, or one that plays it."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from connectors import connector_config, doctor, secrets_setup
from connectors.apply import apply
from connectors.checks import connect as connect_checks
from connectors.checks import server as server_checks
from connectors.connect import Connect
from connectors.detach import detach
from tests.harness.server import Server
from tests.harness.waiting import eventually
from tests.stack.doctoring import PUBLISHED, Patient, only, patient
from tests.unit.connectors.connect_script import Answer, Script, error, serving
from wakestream import kafka, topics

AIR, SLOT = "air", "air.slot wake_air"
SLOTTED = f"{PUBLISHED}\nreset role\nselect pg_create_logical_replication_slot('wake_air', 'pgoutput')"


@dataclass
class Worker:
    """A Connect worker as it would answer."""

    cluster: str
    version: str = "4.3.1"
    plugins: dict[str, str] = field(default_factory=lambda: {connector_config.CLASS: "3.7.0.Final"})
    state: str | None = None
    """Of the connector and its task; None: there is no connector."""
    trace: str = ""
    said: str = ""
    """What the validation of the source's address finds."""

    def answer(self, request: str, body: Any) -> Answer:
        verb, _, path = request.partition(" ")
        if path == "/":
            return Answer(200, {"version": self.version, "commit": "c", "kafka_cluster_id": self.cluster})
        if path.startswith("/connector-plugins?"):
            plugins = [{"class": name, "type": "source", "version": of} for name, of in self.plugins.items()]
            return Answer(200, plugins)
        if verb == "PUT":
            return self._validation(body)
        if path.startswith("/connectors?"):
            return Answer(200, {})
        if self.state is None:
            return error(404, "Connector wake-air not found")
        part = {"state": self.state, "worker_id": "w", "trace": self.trace}
        running = {**part, "state": "RUNNING", "trace": ""}
        return Answer(200, {"name": "wake-air", "connector": running, "tasks": [{"id": 0, **part}], "type": "source"})

    def _validation(self, body: dict[str, str]) -> Answer:
        if "/secrets/connect.properties/" in body["topic.prefix"]:
            text = "org.apache.kafka.common.config.ConfigException: Could not read properties from file"
            return error(500, text)
        errors = [self.said] if self.said and "database.hostname" in body else []
        value = {"name": "database.hostname", "errors": errors}
        return Answer(200, {"name": "x", "error_count": len(errors), "configs": [{"value": value}]})


@pytest.fixture
def one(doctored_server: Server, env: dict[str, str], tmp_path: Path) -> Generator[Patient]:
    with patient(doctored_server, env, tmp_path) as made:
        yield made


@pytest.fixture
def worker(one: Patient) -> Generator[Worker]:
    """One that is well; the file names it."""
    cluster = kafka.admin(one.load().config.kafka).list_topics(timeout=10).cluster_id
    playing = Worker(str(cluster))
    script = Script([])
    script.state = lambda: playing.answer(script.requests[-1], script.bodies[-1])
    with serving(script):
        one.connect = {"url": script.url}
        assert one.findings() == []
        yield playing


FAULTS: list[tuple[str, str, dict[str, Any], str]] = [
    ("connect.version", "connect", {"version": "3.7.0"}, "none: "),
    ("connect.plugin", "connect", {"plugins": {}}, "worker: "),
    ("connect.plugin_version", "connect", {"plugins": {connector_config.CLASS: "3.6.3.Final"}}, "worker: "),
    ("connect.plugin_version", "connect", {"plugins": {connector_config.CLASS: "2.7.0.Final"}}, "worker: "),
    ("connect.kafka_cluster", "connect", {"cluster": "other"}, "none: "),
    ("connect.source_unreachable", AIR, {"said": "Connection to db:5432 refused."}, "none: "),
    ("connect.credentials", AIR, {"said": 'password authentication failed for user "cap"'}, "run: "),
]


@pytest.mark.parametrize(
    ("id", "of", "fault", "remedy"), FAULTS, ids=[f"{each[0]}-{i}" for i, each in enumerate(FAULTS)]
)
def test_a_fault_of_the_worker(
    one: Patient, worker: Worker, id: str, of: str, fault: dict[str, Any], remedy: str
) -> None:
    well = dict(vars(worker))
    vars(worker).update(fault)
    (found,) = only(one, id, of)
    assert found.remedy.startswith(remedy)
    vars(worker).update(well)
    assert one.findings() == []


def test_why_no_3_6(one: Patient, worker: Worker) -> None:
    worker.plugins = {connector_config.CLASS: "3.6.3.Final"}
    (found,) = one.findings()
    assert "loses rows" in found.evidence


def test_user_and_password_are_missing_in_a_file_that_is_not_ours(
    one: Patient, worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    worker.said = 'password authentication failed for user "${file:/x:air.user}"'
    assert one.findings() == []  # `apply` will write them.
    monkeypatch.setattr(secrets_setup, "is_ours", lambda _: False)
    (found,) = only(one, "connect.credentials", AIR)
    assert found.remedy.startswith("worker: air.user=cap\n")
    worker.said = ""
    assert one.findings() == []


@contextmanager
def attached(one: Patient, worker: Worker) -> Generator[None]:
    """A connector that runs and reads its slot."""
    worker.state = "RUNNING"
    one.execute(SLOTTED)
    with one.reading("Debezium Streaming"):
        assert one.findings() == []
        yield


def test_a_connector_that_failed(one: Patient, worker: Worker) -> None:
    with attached(one, worker):
        worker.state, worker.trace = "FAILED", "x.Y: Z\nCaused by: a.b.C: the disk is full\n"
        (found,) = only(one, "connect.failed", AIR)
        assert found.evidence == "wake-air: task 0 is FAILED: the disk is full"
        worker.state = "PAUSED"
        only(one, "connect.not_running", AIR)
        worker.state = "RUNNING"
        assert one.findings() == []


def test_a_connector_without_publication(one: Patient, worker: Worker) -> None:
    with attached(one, worker):
        one.execute("drop publication wake_air")
        (found,) = only(one, "publication.missing", "air.publication wake_air")
        one.execute(f"set role owner\n{found.remedy}")
        assert one.findings() == []


def test_a_slot_that_nobody_reads_and_one_that_is_gone(one: Patient, worker: Worker) -> None:
    with attached(one, worker):
        pass
    only(one, "slot.inactive", SLOT)
    one.execute("select pg_drop_replication_slot('wake_air')")
    (found,) = only(one, "slot.missing", SLOT)
    assert found.remedy == "run: wake repair air"
    worker.state = None
    assert one.findings() == []


def test_a_slot_near_its_limit_and_one_that_is_lost(
    one: Patient, worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server_checks, "SHORT_OUTAGE", 0.0)
    with attached(one, worker):
        one.execute("alter system set max_slot_wal_keep_size = '64MB'\nselect pg_reload_conf()")
        write_wal(one, 3)
        (found,) = only(one, "slot.retained", SLOT)
        assert "more it is lost" in found.evidence
    write_wal(one, 6)
    (found,) = only(one, "slot.lost", SLOT)
    assert found.remedy == "run: wake repair air"
    one.execute("select pg_drop_replication_slot('wake_air')")
    worker.state = None
    assert one.findings() == []


def write_wal(one: Patient, segments: int) -> None:
    """Fill so many segments of 16 MB; a checkpoint removes what the limit lets it remove."""
    switch = "select pg_logical_emit_message(true, 'filler', 'x')\nselect pg_switch_wal()\n"
    one.execute(f"{switch * segments}checkpoint")


def test_no_worker(one: Patient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "CONNECT_PATIENCE", 0.0)
    one.connect = {"url": "http://127.0.0.1:1"}
    (found,) = only(one, "connect.unreachable", "connect")
    assert "connect.url" in found.evidence


def test_a_secrets_file_that_the_worker_may_not_read(one: Patient) -> None:
    secrets = one.env["CONNECT_SECRETS"]
    one.connect = {"secrets": "/nowhere/secrets.properties"}
    (found,) = only(one, "connect.secrets_provider", "connect.secrets")
    assert "allowed.paths=/nowhere" in found.remedy
    one.connect = {"secrets": f"{secrets}.absent"}
    (found,) = only(one, "connect.secrets_file", "connect.secrets")
    one.connect = {}
    assert one.findings() == []


def test_a_host_that_only_we_can_find(one: Patient) -> None:
    name = one.url("cap").replace("127.0.0.1", "nowhere.invalid")
    one.urls["capture"] = f"{name}?hostaddr=127.0.0.1"
    (found,) = only(one, "connect.source_unreachable", AIR)
    assert f"nowhere.invalid:{one.server.port}" in found.evidence
    del one.urls["capture"]
    assert one.findings() == []


def test_another_connector_with_our_slot(one: Patient, env: dict[str, str]) -> None:
    with Connect(env["CONNECT_URL"]) as client:
        config = {
            "connector.class": connector_config.CLASS,
            "topic.prefix": "theirs",
            "slot.name": topics.slot(AIR),
            "database.hostname": "127.0.0.1",
            "database.port": str(one.server.port),
            "database.user": "cap",
            "database.password": "doctor",
            "database.dbname": one.database,
            "plugin.name": "pgoutput",
        }
        client.create("theirs", config, initial_state="STOPPED")
        try:
            (found,) = only(one, "connect.slot_shared", AIR)
            assert found.remedy == f"run: curl -X DELETE {env['CONNECT_URL']}/connectors/theirs"
        finally:
            client.delete("theirs")
    assert one.findings() == []


def test_an_attached_source(one: Patient, env: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    loaded = one.load()
    try:
        apply(loaded)
        eventually(lambda: one.findings() == [], "an attached source to be healthy")
        with monkeypatch.context() as patched:
            patched.setattr(connect_checks, "LONG_FLUSH", 0.0)
            (found,) = eventually(one.findings, "a confirmation")
            assert (found.id, found.remedy) == ("connect.offset_flush", "worker: offset.flush.interval.ms=1000")
        with Connect(env["CONNECT_URL"]) as client:
            client.pause(topics.connector(AIR))
        (found,) = eventually(one.findings, "a paused connector")
        assert (found.id, found.remedy) == ("connect.not_running", "run: wake apply --yes")
        apply(loaded)
        eventually(lambda: one.findings() == [], "it to run again")
    finally:
        detach(loaded, AIR, with_topics=True)
