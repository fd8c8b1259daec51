from __future__ import annotations

import signal
import subprocess
from collections.abc import Generator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import psutil
import psycopg
import pytest
import requests
from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient
from psycopg import sql

from localstack import PART_NAMES, PartName, Stack
from tests.harness.stack import SourceDatabase, own_home
from wakestream import secrets_file
from wakestream.errors import FatalError


@pytest.fixture(scope="module")
def own() -> Generator[Stack]:
    """A second stack, beside the one of the whole run, that these tests may break."""
    with own_home() as home:
        stack = Stack(home)
        stack.up()
        yield stack
        stack.down(wipe=True)


@dataclass(frozen=True)
class SourceRole:
    """A role that replicates, with a password that is hard to write down."""

    password: str
    config: dict[str, str]


@pytest.fixture
def source_role(own: Stack) -> Generator[SourceRole]:
    url = urlsplit(own.env()["POSTGRES_URL"])
    password = "a=b:c#d!e\\f ${g} é€😀'\""
    role = sql.SQL("create role capture login replication password {}").format(sql.Literal(password))
    with psycopg.connect(url.geturl(), autocommit=True) as connection:
        connection.execute(role)
        config = {"database.hostname": "127.0.0.1", "database.port": str(url.port)}
        yield SourceRole(password, {**config, "database.user": "capture", "database.dbname": "postgres"})
        connection.execute("drop role capture")


def pids(stack: Stack) -> dict[PartName, int | None]:
    return {part.part: part.pid for part in stack.status()}


def serves(env: dict[str, str], name: PartName) -> bool:
    """Say whether a part answers its own clients within a few seconds."""
    try:
        if name == "connect":
            requests.get(f"{env['CONNECT_URL']}/connectors", timeout=2).raise_for_status()
        elif name == "kafka":
            AdminClient({"bootstrap.servers": env["KAFKA_BOOTSTRAP"]}).list_topics(timeout=2)
        else:
            url = env["POSTGRES_URL" if name == "source-db" else "LEDGER_URL"]
            psycopg.connect(url, connect_timeout=2).close()
    except (requests.RequestException, KafkaException, psycopg.OperationalError):
        return False
    return True


def states(stack: Stack) -> dict[PartName, str]:
    return {part.part: part.state for part in stack.status()}


ALL_RUN: dict[PartName, str] = dict.fromkeys(PART_NAMES, "running")


def test_every_address_answers(own: Stack) -> None:
    env = own.env()
    for name, role, database in (
        ("POSTGRES_URL", "postgres", "postgres"),
        ("LEDGER_URL", "wake", "ledger"),
        ("LOOKUPS_URL", "wake_lookups", "ledger"),
    ):
        with psycopg.connect(env[name]) as connection:
            assert connection.execute("select current_user, current_database()").fetchone() == (role, database)
    assert AdminClient({"bootstrap.servers": env["KAFKA_BOOTSTRAP"]}).list_topics(timeout=5).brokers
    plugins = requests.get(f"{env['CONNECT_URL']}/connector-plugins", timeout=5).json()
    debezium = "io.debezium.connector.postgresql.PostgresConnector"
    assert [plugin["version"] for plugin in plugins if plugin["class"] == debezium] == ["3.7.0.Final"]


def test_the_clusters_are_what_debezium_and_the_ledger_need(own: Stack) -> None:
    with psycopg.connect(own.env()["POSTGRES_URL"]) as connection:
        query = "select name, setting from pg_settings where name = any(%s)"
        wanted = {
            "wal_level": "logical",
            "max_wal_senders": "20",
            "max_replication_slots": "20",
            "max_connections": "200",
        }
        assert dict(connection.execute(query, [list(wanted)]).fetchall()) == wanted
    with psycopg.connect(own.env()["LEDGER_URL"], autocommit=True) as connection:
        assert connection.info.server_version >= 180000
        connection.execute("create schema mine")
        connection.execute("drop schema mine")


def test_a_role_needs_its_password(own: Stack) -> None:
    url = own.env()["LEDGER_URL"].replace(own.home.password("wake"), "wrong")
    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        psycopg.connect(url)


def test_lookups_only_read(own: Stack) -> None:
    with (
        psycopg.connect(own.env()["LOOKUPS_URL"]) as connection,
        pytest.raises(psycopg.errors.ReadOnlySqlTransaction),
    ):
        connection.execute("create temp table mine ()")


def test_up_twice_changes_nothing(own: Stack) -> None:
    before, env = pids(own), own.env()
    own.up()
    assert (pids(own), own.env()) == (before, env)


@pytest.mark.parametrize("name", PART_NAMES)
def test_up_repairs_a_killed_part(own: Stack, name: PartName) -> None:
    before, env = pids(own), own.env()
    process = psutil.Process(before[name])
    process.send_signal(signal.SIGKILL)  # the server alone, as the system would when memory is short
    process.wait(10)
    own.up()
    after = pids(own)
    assert after[name] != before[name]
    assert {part: pid for part, pid in after.items() if part != name} == {
        part: pid for part, pid in before.items() if part != name
    }
    assert states(own) == ALL_RUN
    assert own.env() == env


def test_data_survives_a_killed_cluster(own: Stack) -> None:
    url = own.env()["POSTGRES_URL"]
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("create table kept as select 42 as answer")
        own.kill("source-db")
    own.start_part("source-db")
    with psycopg.connect(url, autocommit=True) as connection:
        assert connection.execute("select answer from kept").fetchone() == (42,)
        connection.execute("drop table kept")


def test_a_stale_pid_file_harms_nobody(own: Stack) -> None:
    own.stop_part("ledger-db")
    with subprocess.Popen(["sleep", "600"]) as bystander:
        record = own.home.pids / "ledger-db.json"
        record.write_text(f'{{"pid": {bystander.pid}, "created": 1}}')
        assert states(own)["ledger-db"] == "stopped"
        own.up()
        assert states(own) == ALL_RUN
        assert bystander.poll() is None
        bystander.kill()


def test_a_lost_pid_file_does_not_double_a_part(own: Stack) -> None:
    old = psutil.Process(pids(own)["kafka"])
    (own.home.pids / "kafka.json").unlink()
    own.up()
    assert not old.is_running() or old.status() == psutil.STATUS_ZOMBIE
    assert states(own) == ALL_RUN


@pytest.mark.parametrize("name", PART_NAMES)
def test_a_paused_part_does_not_answer_until_it_is_resumed(own: Stack, name: PartName) -> None:
    own.pause(name)
    assert states(own)[name] == "paused"
    assert not serves(own.env(), name)
    own.resume(name)
    assert serves(own.env(), name)
    assert states(own) == ALL_RUN


def test_up_thaws_a_frozen_part(own: Stack) -> None:
    before = pids(own)
    own.pause("kafka")
    own.up()
    assert states(own) == ALL_RUN
    assert pids(own) == before


def test_what_does_not_come_up_is_named_with_what_its_log_says(own: Stack) -> None:
    own.stop_part("ledger-db")
    version = own.home.path / "ledger-db" / "data" / "PG_VERSION"
    right = version.read_text()
    version.write_text("9.6\n")
    try:
        with pytest.raises(FatalError, match=r"ledger-db ended while it was starting\.\n.*FATAL: ") as error:
            own.up()
        assert f"Log: {own.home.logs / 'ledger-db.log'}" in str(error.value)
        assert "kafka" not in str(error.value)
    finally:
        version.write_text(right)
    own.up()
    assert states(own) == ALL_RUN


def test_down_stops_its_own_and_nothing_else(stack: Stack, own: Stack) -> None:
    others, mine = pids(stack), [psutil.Process(pid) for pid in pids(own).values()]
    own.down()
    assert not [process for process in mine if process.is_running() and process.status() != psutil.STATUS_ZOMBIE]
    assert pids(stack) == others
    assert states(stack) == ALL_RUN
    own.up()
    assert states(own) == ALL_RUN


def validation_errors(env: dict[str, str], config: dict[str, str]) -> list[str]:
    """Let Connect validate a Debezium connector, which makes it log in to the database."""
    connector = "io.debezium.connector.postgresql.PostgresConnector"
    url = f"{env['CONNECT_URL']}/connector-plugins/{connector}/config/validate"
    answer = requests.put(url, json={"connector.class": connector, "name": "secret", **config}, timeout=30).json()
    return [error for setting in answer["configs"] for error in setting["value"]["errors"]]


def test_connect_reads_secrets_from_its_file_and_from_nowhere_else(
    own: Stack, source_role: SourceRole, tmp_path: Path
) -> None:
    own_env = own.env()
    secrets = Path(own_env["CONNECT_SECRETS"])
    elsewhere = tmp_path / "elsewhere.properties"
    for file in (secrets, elsewhere):
        secrets_file.write_properties(file, {"airline.password": source_role.password})
    config = {**source_role.config, "topic.prefix": "secret", "plugin.name": "pgoutput"}
    reference = "${{file:{}:airline.password}}"
    assert validation_errors(own_env, {**config, "database.password": reference.format(secrets)}) == []
    assert validation_errors(own_env, {**config, "database.password": reference.format(elsewhere)}) != []
    secrets_file.remove_properties(secrets, "airline.")
    assert validation_errors(own_env, {**config, "database.password": reference.format(secrets)}) != []


def test_a_source_database_is_the_tests_own(source_database: SourceDatabase, env: dict[str, str]) -> None:
    with psycopg.connect(source_database.url, autocommit=True) as connection:
        assert connection.info.dbname == source_database.name
        connection.execute("select pg_create_logical_replication_slot(%s, 'pgoutput')", [source_database.name])
    assert source_database.url != env["POSTGRES_URL"]
