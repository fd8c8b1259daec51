"""Kafka Connect: the worker, what it can read and reach, and the source's connector."""

from __future__ import annotations

import re
import secrets
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from connectors import connector_config, databases, secrets_setup
from connectors.checks import server
from connectors.checks.finding import Finding, finding
from connectors.connect import Connect, ConnectorMissing, telling_line, types
from wakestream import topics
from wakestream.capture import Capture
from wakestream.config import Loaded
from wakestream.errors import WakeError

MINIMUM_WORKER = (3, 9)
MINIMUM_PLUGIN = (3, 7)
PROBE = "wake-doctor-probe"
_UNREAD = re.compile("Could not read")


@dataclass(frozen=True)
class Worker:
    """What a worker said of itself."""

    client: Connect
    plugin: bool
    """Whether it has Debezium for PostgreSQL."""
    secrets: bool
    """Whether it reads the secrets file."""


def examine(loaded: Loaded, client: Connect, cluster_id: str | None) -> Iterator[Finding | Worker]:
    """The worker; the last thing yielded is the `Worker` itself. `cluster_id` is the broker's, None if that is away."""
    connect = loaded.config.connect
    worker = client.worker()
    if _version(worker.version) < MINIMUM_WORKER:
        evidence = f"the worker is Kafka Connect {worker.version}; 3.9 or newer is needed"
        yield finding("connect.version", "connect", evidence, "none: upgrade the worker")
    if cluster_id is not None and worker.kafka_cluster_id != cluster_id:
        evidence = (
            f"the worker writes to the Kafka cluster {worker.kafka_cluster_id},"
            f" and kafka.bootstrap_servers is {cluster_id}: no change would be found there"
        )
        yield finding("connect.kafka_cluster", "connect", evidence, "none: name the same Kafka in both places")
    plugin = next((each for each in client.plugins() if each.class_name == connector_config.CLASS), None)
    if plugin is None:
        evidence = f"the worker has no {connector_config.CLASS}"
        remedy = "worker: unpack debezium-connector-postgres 3.7.0.Final below plugin.path, then restart"
        yield finding("connect.plugin", "connect", evidence, remedy)
    else:
        yield from _plugin(plugin.version or "")
    readable = False
    if plugin is not None:
        problem = _secrets(connect.url, connect.secrets)
        readable = problem is None
        if problem is not None:
            yield problem
    yield Worker(client, plugin is not None, readable)


def _plugin(version: str) -> Iterator[Finding]:
    if _version(version)[:2] == (3, 6):
        why = "every 3.6.x loses rows without a word when it restarts in the middle of a COPY or a long transaction"
    elif _version(version) < MINIMUM_PLUGIN:
        why = "it lacks settings that are needed here"
    else:
        return
    remedy = "worker: put debezium-connector-postgres 3.7.0.Final in its place below plugin.path, then restart"
    yield finding("connect.plugin_version", "connect", f"Debezium is {version}: {why}", remedy)


def _secrets(url: str, path: str) -> Finding | None:
    """Let the worker resolve placeholders: it fails over a file that it may read and cannot, and leaves others alone.

    Nothing lies below a file, so the first question shows whether the path may be read at all.
    """
    if not _tries_to_read(url, f"{path}/{PROBE}"):
        evidence = f"the worker has no config provider `file` that may read {path}"
        remedy = (
            "worker: config.providers=file\n"
            "worker: config.providers.file.class=org.apache.kafka.common.config.provider.FileConfigProvider\n"
            f"worker: config.providers.file.param.allowed.paths={Path(path).parent}"
        )
        return finding("connect.secrets_provider", "connect.secrets", evidence, remedy)
    if _tries_to_read(url, path):
        evidence = f"the worker cannot read {path}"
        remedy = f"run: install -m 600 /dev/null {path}  # where the worker runs, as its user"
        return finding("connect.secrets_file", "connect.secrets", evidence, remedy)
    return None


def _tries_to_read(url: str, path: str) -> bool:
    """Whether the worker fails over reading this file, which it does not when it leaves the placeholder as it is."""
    config = {"connector.class": connector_config.CLASS, "topic.prefix": f"${{file:{path}:{secrets.token_hex(4)}}}"}
    try:
        with Connect(url, retry_s=0) as client:  # The answer that is hoped for would be taken for a passing trouble.
            client.validate(PROBE, config)
    except WakeError as error:
        if _UNREAD.search(str(error)):
            return True
        raise
    return False


def find(client: Connect, source: str) -> types.Status | None:
    """The connector's status; None where there is no connector."""
    try:
        return client.status(topics.connector(source), wait_s=1.0)
    except ConnectorMissing:
        return None


def of_source(loaded: Loaded, worker: Worker, source: str, status: types.Status | None) -> Iterator[Finding]:
    """The source's connector, or what one would meet."""
    yield from _shared(worker.client, source)
    if status is not None:
        yield from _status(source, status)
    if worker.plugin and worker.secrets and (status is None or status.failure is not None):
        yield from _reach(loaded, worker.client, source, attached=status is not None)


def _shared(client: Connect, source: str) -> Iterator[Finding]:
    ours = topics.connector(source)
    for name, listed in sorted(client.overview().items()):
        config = listed.info.config
        same = [
            key
            for key, value in (("slot.name", topics.slot(source)), ("topic.prefix", source))
            if config.get(key) == value
        ]
        if name != ours and same and config.get("connector.class") == connector_config.CLASS:
            evidence = (
                f"connector {name} has the same {' and '.join(same)} as {ours} would: they take each other's changes"
            )
            yield finding(
                "connect.slot_shared", source, evidence, f"run: curl -X DELETE {client.url}/connectors/{name}"
            )


def _status(source: str, status: types.Status) -> Iterator[Finding]:
    if status.failure is not None:
        part, trace = status.failure
        evidence = (
            f"{status.name}: {part} is FAILED: {telling_line(trace) or 'without a trace; see the log of the worker'}"
        )
        yield finding("connect.failed", source, evidence, "run: wake apply --yes")
    elif not status.running:
        yield finding("connect.not_running", source, f"{status.label}: nothing is read", "run: wake apply --yes")


def _reach(loaded: Loaded, client: Connect, source: str, *, attached: bool) -> Iterator[Finding]:
    """Let the worker log in at the source, as the connector would."""
    where = databases.address(loaded, source)
    config = connector_config.build(loaded.config, source, Capture({}, placeholder=PROBE), where)
    errors = client.validate(PROBE, {**config, connector_config.TABLES: "none"}).errors
    said = " ".join(" ".join(texts) for field, texts in errors.items() if field.startswith("database."))
    ours = secrets_setup.is_ours(Path(loaded.config.connect.secrets))
    if not said or server.POOLER_SAYS in said:
        return  # What a pooler says to us is a finding already.
    if "${file:" in said:
        # Where the file is ours, `apply` writes the lines right before the connector needs them.
        if attached or not ours:
            path = loaded.config.connect.secrets
            evidence = f"{path} has no user and password for {source}"
            user, password = connector_config.secret_names(source)
            remedy = f"worker: {user}={where.user}\nworker: {password}=<the password in sources.{source}.capture>"
            yield finding("connect.credentials", source, evidence, remedy)
    elif "authentication" in said:
        evidence = f"the worker is refused by the source: {said}"
        yield finding("connect.credentials", source, evidence, "run: wake apply --yes")
    else:
        evidence = f"the worker does not reach the source at {where.host}:{where.port}: {said}"
        remedy = "none: in `capture` give a host and port that mean the same to the worker and here"
        yield finding("connect.source_unreachable", source, evidence, remedy)


def _version(text: str) -> tuple[int, ...]:
    numbers = re.match(r"(\d+)\.(\d+)", text)
    return (int(numbers[1]), int(numbers[2])) if numbers else (0, 0)
