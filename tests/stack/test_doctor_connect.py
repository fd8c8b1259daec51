"""Faults of Kafka Connect, and of a slot whose connector is there: with the stack's worker, or one that plays it."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

import pytest

from connectors import connector_config, doctor, secrets_setup
from connectors.apply import apply
from connectors.checks import flush
from connectors.checks import server as server_checks
from connectors.connect import Connect
from connectors.detach import detach
from tests.harness.waiting import eventually
from tests.stack.doctoring import PUBLISHED, Patient, only
from tests.stack.played_worker import Worker, playing
from wakestream import topics

AIR, SLOT = "air", "air.slot wake_air"
SLOTTED = f"{PUBLISHED}\nreset role\nselect pg_create_logical_replication_slot('wake_air', 'pgoutput')"


@pytest.fixture
def worker(one: Patient) -> Generator[Worker]:
    """One that is well; the file names it."""
    with playing(one) as made:
        assert one.findings() == []
        yield made


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
            patched.setattr(flush, "LONG", 0.2)
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
