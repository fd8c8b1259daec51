from __future__ import annotations

from collections.abc import Generator
from pathlib import Path

import pytest
from confluent_kafka.admin import AdminClient

from tests.harness.server import Server, small_server
from tests.stack import doctoring
from wakestream import kafka
from wakestream.config.models import Kafka


@pytest.fixture(scope="package")
def doctored_server() -> Generator[Server]:
    """A small PostgreSQL with a healthy database, for faults that need settings and roles of their own."""
    with small_server() as server:
        doctoring.prepare(server)
        yield server


@pytest.fixture(scope="package")
def brokers() -> dict[str, AdminClient]:
    """Sessions with brokers, kept from one examination to the next, for many are made."""
    return {}


@pytest.fixture
def one(
    doctored_server: Server,
    brokers: dict[str, AdminClient],
    env: dict[str, str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Generator[doctoring.Patient]:
    """A healthy source that is not attached."""
    connect = kafka.admin

    def kept(settings: Kafka) -> AdminClient:
        return brokers.get(settings.bootstrap_servers) or brokers.setdefault(
            settings.bootstrap_servers, connect(settings)
        )

    monkeypatch.setattr(kafka, "admin", kept)
    with doctoring.patient(doctored_server, env, tmp_path) as made:
        yield made
