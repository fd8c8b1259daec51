"""Kafka Connect with Debezium: one distributed worker."""

from __future__ import annotations

import signal

import requests

from localstack import jars, java
from localstack.home import Home
from localstack.parts import PartName
from localstack.processes import Command

HEAP = "768m"
# What the worker needs wherever it runs; docker-compose.yml gives its worker the same.
WORKER_SETTINGS = {
    "group.id": "wake-connect",
    "key.converter": "org.apache.kafka.connect.json.JsonConverter",
    "value.converter": "org.apache.kafka.connect.json.JsonConverter",
    "key.converter.schemas.enable": "false",
    "value.converter.schemas.enable": "false",
    "key.converter.replace.null.with.default": "false",
    "value.converter.replace.null.with.default": "false",
    "config.storage.topic": "wake-connect-configs",
    "config.storage.replication.factor": "1",
    "offset.storage.topic": "wake-connect-offsets",
    "offset.storage.replication.factor": "1",
    "offset.storage.partitions": "1",
    "status.storage.topic": "wake-connect-status",
    "status.storage.replication.factor": "1",
    "status.storage.partitions": "1",
    "offset.flush.interval.ms": "1000",
    "scheduled.rebalance.max.delay.ms": "0",
    "plugin.discovery": "service_load",
    "config.providers": "file",
    "config.providers.file.class": "org.apache.kafka.common.config.provider.FileConfigProvider",
}


class Worker:
    """One Connect worker."""

    name: PartName = "connect"
    stop_signal = signal.SIGTERM
    patience = 90.0

    def __init__(self, home: Home) -> None:
        self.marker = java.marker(home, self.name)
        self._home = home
        self._properties = home.path / "connect" / "worker.properties"

    @property
    def address(self) -> str:
        """The URL of its REST interface."""
        return f"http://127.0.0.1:{self._home.port('connect')}"

    def settings(self) -> dict[str, str]:
        """Return the worker's settings."""
        return {
            "bootstrap.servers": f"127.0.0.1:{self._home.port('kafka')}",
            "listeners": self.address,
            "rest.advertised.host.name": "127.0.0.1",
            "plugin.path": str(jars.locate().plugins),
            "config.providers.file.param.allowed.paths": str(self._home.secrets.parent),
            **WORKER_SETTINGS,
        }

    def prepare(self) -> None:
        """Write the settings."""
        java.write_properties(self._properties, self.settings())

    def command(self) -> Command:
        """Return how to start the worker."""
        main = "org.apache.kafka.connect.cli.ConnectDistributed"
        return java.command(self._home, self.name, HEAP, [main, str(self._properties)])

    def check(self) -> str | None:
        """Ask whether it has joined its group and takes requests."""
        try:
            answer = requests.get(f"{self.address}/health", timeout=2)
        except requests.RequestException:
            return f"{self.address} does not answer"
        return None if answer.ok else f"{self.address}/health says {answer.status_code}: {answer.text.strip()}"

    def settle(self) -> None:
        """Nothing to do: connectors belong to those who attach."""
