from __future__ import annotations

import shutil
import subprocess
from collections.abc import Generator
from pathlib import Path

import psycopg
import pytest
import requests
from confluent_kafka.admin import AdminClient
from testcontainers.compose import DockerCompose

REPOSITORY = Path(__file__).parents[2]
SERVERS = ["source-db", "ledger-db", "kafka", "connect"]


def missing_engine() -> str | None:
    """Say why no containers can be run here, or None."""
    if shutil.which("docker") is None:
        return "no docker command here"
    for command in (["docker", "info"], ["docker", "compose", "version"]):
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            return f"`{' '.join(command)}` says: {(done.stderr or done.stdout).strip().splitlines()[-1]}"
    return None


@pytest.fixture(scope="module")
def compose() -> Generator[DockerCompose]:
    reason = missing_engine()
    if reason is not None:
        pytest.skip(f"no container engine runs: {reason}")
    with DockerCompose(REPOSITORY, services=SERVERS, wait=True) as compose:
        yield compose


def test_the_databases_answer(compose: DockerCompose) -> None:
    host, port = compose.get_service_host_and_port("source-db", 5432)
    with psycopg.connect(f"postgresql://postgres:wake@{host}:{port}/postgres") as connection:
        assert connection.execute("show wal_level").fetchone() == ("logical",)
        connection.execute("create extension vector")
    host, port = compose.get_service_host_and_port("ledger-db", 5432)
    with psycopg.connect(f"postgresql://wake:wake@{host}:{port}/ledger") as connection:
        assert connection.info.server_version >= 180000
    with (
        psycopg.connect(f"postgresql://wake_lookups:wake@{host}:{port}/ledger") as connection,
        pytest.raises(psycopg.errors.ReadOnlySqlTransaction),
    ):
        connection.execute("create temp table mine ()")


def test_the_broker_answers(compose: DockerCompose) -> None:
    host, port = compose.get_service_host_and_port("kafka", 9092)
    assert AdminClient({"bootstrap.servers": f"{host}:{port}"}).list_topics(timeout=10).brokers


def test_connect_has_debezium(compose: DockerCompose) -> None:
    host, port = compose.get_service_host_and_port("connect", 8083)
    plugins = requests.get(f"http://{host}:{port}/connector-plugins", timeout=10).json()
    debezium = "io.debezium.connector.postgresql.PostgresConnector"
    assert [plugin["version"] for plugin in plugins if plugin["class"] == debezium] == ["3.7.0.Final"]
