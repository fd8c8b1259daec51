"""Faults of the topics, of the ledger, and of an attached source: found, and mended by what the remedy says."""

from __future__ import annotations

import re
from collections.abc import Callable, Generator
from typing import Any, cast

import psycopg
import pytest
from confluent_kafka.admin import AdminClient, AlterConfigOpType, ConfigEntry, ConfigResource, ResourceType
from confluent_kafka.cimpl import NewPartitions

from connectors import topics_setup
from localstack import Stack
from localstack.postgres import Cluster
from tests.harness.replay import scratch_ledger
from tests.harness.waiting import eventually
from tests.stack.doctoring import Patient, only
from wakestream import kafka, ledger
from wakestream.config.models import Topics
from wakestream.ledger import database

CHANGES, SIGNAL, CONTEXT = "air.changes", "air.signal", "air.context"


@pytest.fixture
def broker(one: Patient) -> Generator[AdminClient]:
    """The source's topics as `apply` makes them."""
    client = kafka.admin(one.load().config.kafka)
    make_topics(client)
    assert one.findings() == []
    yield client
    remove_topics(client)


def make_topics(client: AdminClient) -> None:
    """What `wake apply` does about topics."""
    for step in topics_setup.steps(client, "air", Topics()):
        step.do()


def remove_topics(client: AdminClient) -> None:
    topics_setup.delete(client, "air", Topics())
    eventually(lambda: not kafka.partition_count(client, CHANGES), "the topics to be gone")


def alter(client: AdminClient, topic: str, name: str, value: str) -> None:
    entry = ConfigEntry(name, value, incremental_operation=AlterConfigOpType.SET)
    resource = ConfigResource(ResourceType.TOPIC, topic, incremental_configs=[entry])
    cast("Any", client).incremental_alter_configs([resource])[resource].result()


SETTINGS = [
    ("kafka.settings", CHANGES, "retention.ms", "3600000"),
    ("kafka.settings", CONTEXT, "max.message.bytes", "1048576"),
    ("kafka.compacted", CHANGES, "cleanup.policy", "compact"),
    ("kafka.min_insync", SIGNAL, "min.insync.replicas", "2"),
]


@pytest.mark.parametrize(("id", "topic", "name", "value"), SETTINGS)
def test_a_setting_of_a_topic(one: Patient, broker: AdminClient, id: str, topic: str, name: str, value: str) -> None:
    alter(broker, topic, name, value)
    (found,) = eventually(one.findings, f"a finding about {topic}")
    assert (found.id, found.object) == (id, topic)
    take(found.remedy, broker)
    eventually(lambda: one.findings() == [], "nothing to be wrong")


def take(remedy: str, broker: AdminClient) -> None:
    """Do what the command of a remedy would."""
    if match := re.fullmatch(r"run: kafka-configs --alter .* --entity-name (\S+) --add-config (\S+)=(\S+)", remedy):
        alter(broker, *match.groups())
    else:
        assert remedy == "run: wake apply --yes"
        make_topics(broker)


@pytest.mark.parametrize("topic", [CHANGES, SIGNAL])
def test_too_many_partitions(one: Patient, broker: AdminClient, topic: str) -> None:
    cast("Any", broker).create_partitions([NewPartitions(topic, 2)])[topic].result()
    (found,) = eventually(one.findings, "two partitions")
    assert (found.id, found.object) == ("kafka.partitions", topic)
    assert found.remedy == "run: wake detach air --topics --yes; wake apply --yes"
    remove_topics(broker)
    make_topics(broker)
    eventually(lambda: one.findings() == [], "one partition")


def test_context_partitions_that_are_not_the_files(one: Patient, broker: AdminClient) -> None:
    del broker
    one.kafka["topics"] = {"context_partitions": 3}
    (found,) = only(one, "kafka.context_partitions", CONTEXT)
    one.take(found.remedy)
    assert one.kafka["topics"] == {"context_partitions": 6}
    assert one.findings() == []


def test_changes_that_are_kept_too_short(one: Patient) -> None:
    one.kafka["topics"] = {"changes_retention": "1h"}
    (found,) = only(one, "kafka.retention", CHANGES)
    one.take(found.remedy)
    assert one.findings() == []


def test_a_row_too_wide_for_a_message(one: Patient) -> None:
    one.kafka["topics"] = {"max_message_bytes": 1024 * 1024}
    one.execute("insert into app.note values (2, repeat('wide', 300000), now())")
    (found,) = only(one, "kafka.message_size", "air.app.note")
    one.take(found.remedy)
    assert one.findings() == []


def test_who_may_read_what_is_masked(one: Patient) -> None:
    one.tables["app.note"] = {"mask": {"body": "hash"}}
    (found,) = only(one, "kafka.readers", CHANGES)
    assert "app.note.body" in found.evidence
    assert found.remedy.startswith("none: ")
    one.tables["app.note"] = {"exclude": ["body"]}
    assert one.findings() == []


def test_no_broker(one: Patient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kafka, "REQUEST_TIMEOUT", 0.5)
    one.kafka["bootstrap_servers"] = "127.0.0.1:1"
    only(one, "kafka.unreachable", "kafka")


def in_ledger(one: Patient, url: str) -> Callable[[str], None]:
    def execute(statement: str) -> None:
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute(statement.encode())

    one.urls["ledger"] = url
    return execute


def test_a_ledger_of_another_version(one: Patient, stack: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    with scratch_ledger(Cluster("ledger-db", stack.home).url("postgres", "postgres")) as url:
        execute = in_ledger(one, url)
        execute("update wake.alembic_version set version_num = '0001'")
        (found,) = only(one, "ledger.schema", "ledger")
        assert found.remedy == "run: wake apply"
        execute(f"update wake.alembic_version set version_num = '{database.head()}'")
        assert one.findings() == []
        with monkeypatch.context() as patched:
            patched.setattr(database, "MINIMUM_VERSION", 990000)
            only(one, "ledger.version", "ledger")


def test_a_ledger_beside_the_source(one: Patient) -> None:
    one.urls["ledger"] = one.server.url(one.database)
    only(one, "ledger.same_database", "ledger")
    one.urls["ledger"] = one.server.url()
    only(one, "ledger.same_cluster", "ledger")
    del one.urls["ledger"]
    assert one.findings() == []


def test_vectors_without_their_type_in_the_ledger(one: Patient) -> None:
    one.execute("create extension vector\nset role owner\ncreate table extra (id int primary key, e vector(3))")
    one.execute("grant select on extra to cap")
    one.tables["public.extra"] = {}
    toast, missing = one.findings()
    assert (toast.id, missing.id) == ("tables.toast", "ledger.pgvector")
    one.take(toast.remedy)
    assert [each.id for each in one.findings()] == ["ledger.pgvector"]


def test_the_role_of_lookups(one: Patient, env: dict[str, str]) -> None:
    one.urls["lookups"] = env["LOOKUPS_URL"]
    assert one.findings() == []
    ledger.migrate(env["LEDGER_URL"])
    one.urls["lookups"] = env["LEDGER_URL"]
    (found,) = only(one, "ledger.lookups_powers", "ledger.lookups")
    assert found.remedy.startswith("none: ")
    one.urls["lookups"] = env["LOOKUPS_URL"].replace("wake_lookups:", "nobody:")
    only(one, "ledger.lookups", "ledger.lookups")


def test_no_ledger(one: Patient) -> None:
    one.urls["ledger"] = "postgresql://wake@127.0.0.1:1/ledger"
    (found,) = only(one, "ledger.unreachable", "ledger")
    assert "127.0.0.1" in found.evidence
