"""The broker: Kafka in KRaft mode, broker and controller in one process."""

from __future__ import annotations

import shutil
import signal
import socket
import subprocess
import uuid
from base64 import urlsafe_b64encode

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

from localstack import java
from localstack.home import Home
from localstack.parts import PartName
from localstack.processes import Command
from wakestream.errors import FatalError

MAX_MESSAGE = 16 * 1024**2  # bytes
HEAP = "512m"
BROKER_SETTINGS = {
    # A killed broker registers again only when its old session has ended; the default is 9 s.
    "broker.session.timeout.ms": "4000",
    "broker.heartbeat.interval.ms": "1000",
    "auto.create.topics.enable": "false",
    "message.max.bytes": str(MAX_MESSAGE),
    "replica.fetch.max.bytes": str(MAX_MESSAGE),
    "offsets.topic.replication.factor": "1",
    "offsets.topic.num.partitions": "1",
    "transaction.state.log.replication.factor": "1",
    "transaction.state.log.num.partitions": "1",
    "transaction.state.log.min.isr": "1",
    "share.coordinator.state.topic.replication.factor": "1",
    "share.coordinator.state.topic.num.partitions": "1",
    "share.coordinator.state.topic.min.isr": "1",
    "group.initial.rebalance.delay.ms": "0",
}


class Broker:
    """One Kafka broker."""

    name: PartName = "kafka"
    stop_signal = signal.SIGTERM
    patience = 60.0

    def __init__(self, home: Home) -> None:
        self.marker = java.marker(home, self.name)
        self._home = home
        self._directory = home.path / "kafka"
        self._properties = self._directory / "server.properties"

    @property
    def address(self) -> str:
        """Where it listens: the bootstrap server."""
        return f"127.0.0.1:{self._home.port('kafka')}"

    def prepare(self) -> None:
        """Write the settings; format the data directory the first time."""
        java.write_properties(self._properties, self.settings())
        formatted = self._directory / "formatted"
        if not formatted.exists():
            self._format()
            formatted.touch()

    def settings(self) -> dict[str, str]:
        """Return the broker's settings."""
        controller = f"127.0.0.1:{self._home.port('kafka-controller')}"
        return {
            "process.roles": "broker,controller",
            "node.id": "1",
            "controller.quorum.voters": f"1@{controller}",
            "listeners": f"PLAINTEXT://{self.address},CONTROLLER://{controller}",
            "advertised.listeners": f"PLAINTEXT://{self.address}",
            "controller.listener.names": "CONTROLLER",
            "listener.security.protocol.map": "CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT",
            "log.dirs": str(self._directory / "data"),
            **BROKER_SETTINGS,
        }

    def command(self) -> Command:
        """Return how to start the broker."""
        main = ["kafka.Kafka", str(self._properties)]
        return java.command(self._home, self.name, HEAP, main)

    def check(self) -> str | None:
        """Ask for the cluster's metadata."""
        try:
            with socket.create_connection(("127.0.0.1", self._home.port("kafka")), timeout=1):
                pass
            client = AdminClient({"bootstrap.servers": self.address, "log_level": 0, "socket.timeout.ms": 2000})
            client.list_topics(timeout=2)
        except (OSError, KafkaException) as exc:
            return str(exc)
        return None

    def settle(self) -> None:
        """Nothing to do: topics belong to those who attach."""

    def _format(self) -> None:
        shutil.rmtree(self._directory / "data", ignore_errors=True)
        cluster = urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")
        # As one word: an id that begins with a dash would be taken for an option.
        tool = ["kafka.tools.StorageTool", "format", f"--cluster-id={cluster}", "-c", str(self._properties)]
        argv = [*java.arguments(HEAP), *tool]
        made = subprocess.run(argv, capture_output=True, text=True, check=False)
        if made.returncode != 0:
            raise FatalError(f"kafka: formatting its storage failed: {(made.stderr or made.stdout).strip()}")
