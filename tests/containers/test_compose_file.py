"""What can be said about docker-compose.yml without an engine to run it."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, cast

import pytest
from ruamel.yaml import YAML

from localstack.connect import HEAP as CONNECT_HEAP
from localstack.connect import WORKER_SETTINGS
from localstack.jars import POM
from localstack.kafka import BROKER_SETTINGS
from localstack.kafka import HEAP as KAFKA_HEAP
from localstack.postgres import SETTINGS

REPOSITORY = Path(__file__).parents[2]
# Debezium's image takes these by their bare names; the prefixed ones would be overwritten with its own defaults.
BARE = (
    "GROUP_ID",
    "CONFIG_STORAGE_TOPIC",
    "OFFSET_STORAGE_TOPIC",
    "STATUS_STORAGE_TOPIC",
    "KEY_CONVERTER",
    "VALUE_CONVERTER",
    "OFFSET_FLUSH_INTERVAL_MS",
)
Service = dict[str, Any]
PARSER = cast("Any", YAML(typ="safe"))  # its types are incomplete
COMPOSE = cast("dict[str, Any]", PARSER.load(REPOSITORY / "docker-compose.yml"))
SERVICES = cast("dict[str, Service]", COMPOSE["services"])
SERVERS = ("source-db", "ledger-db", "kafka", "connect")
PROCESSES = ("apply", "consume", "agent", "guard")


def properties(environment: dict[str, str], prefix: str) -> dict[str, str]:
    """Turn an image's environment variables into the server's properties, as its start script does."""
    return {
        name.removeprefix(prefix).lower().replace("_", "."): value
        for name, value in environment.items()
        if name.startswith(prefix) and not name.endswith("_HEAP_OPTS")
    }


def test_it_has_the_servers_and_the_wake_processes() -> None:
    assert set(SERVICES) == {*SERVERS, "secrets", *PROCESSES}
    assert [SERVICES[name]["command"][0] for name in PROCESSES] == list(PROCESSES)


@pytest.mark.parametrize("name", SERVICES)
def test_images_are_pinned(name: str) -> None:
    _, _, tag = SERVICES[name]["image"].rpartition(":")
    assert re.fullmatch(r"\d+\.\d+\.\d+([.-]\w+)?", tag)


def test_versions_are_those_of_the_local_stack() -> None:
    pom = POM.read_text()
    for service, name in (("kafka", "kafka.version"), ("connect", "debezium.version")):
        version = SERVICES[service]["image"].rpartition(":")[2]
        assert f"<{name}>{version}</{name}>" in pom


@pytest.mark.parametrize("name", SERVERS)
def test_a_server_has_a_health_check_and_is_reached_from_this_machine_only(name: str) -> None:
    assert SERVICES[name]["healthcheck"]["test"][0] == "CMD"
    assert [port.split(":")[0] for port in SERVICES[name]["ports"]] == ["127.0.0.1"]


@pytest.mark.parametrize("name", SERVICES)
def test_what_is_waited_for_can_be_waited_for(name: str) -> None:
    for needed, how in SERVICES[name].get("depends_on", {}).items():
        if how["condition"] == "service_healthy":
            assert "healthcheck" in SERVICES[needed]
        else:
            assert how["condition"] == "service_completed_successfully"
            assert SERVICES[needed]["restart"] != "unless-stopped"


@pytest.mark.parametrize("name", ["source-db", "ledger-db"])
def test_postgres_has_the_settings_of_the_local_stack(name: str) -> None:
    words = SERVICES[name]["command"].split()
    assert dict(word.split("=") for word in words if "=" in word) == SETTINGS[name]


def test_the_broker_has_the_settings_of_the_local_stack() -> None:
    environment = SERVICES["kafka"]["environment"]
    given = properties(environment, "KAFKA_")
    assert {name: given.get(name) for name in BROKER_SETTINGS} == BROKER_SETTINGS
    assert environment["KAFKA_HEAP_OPTS"] == f"-Xmx{KAFKA_HEAP}"
    listeners = {listener.split(":")[0] for listener in given["listeners"].split(",")}
    assert listeners == {entry.split(":")[0] for entry in given["listener.security.protocol.map"].split(",")}


def test_the_worker_has_the_settings_of_the_local_stack() -> None:
    environment = SERVICES["connect"]["environment"]
    given = properties(environment, "CONNECT_") | properties({name: environment[name] for name in BARE}, "")
    allowed = given.pop("config.providers.file.param.allowed.paths")
    assert given == WORKER_SETTINGS
    assert environment["HEAP_OPTS"] == f"-Xmx{CONNECT_HEAP}"
    assert f"secrets:{allowed}:ro" in SERVICES["connect"]["volumes"]


def test_worker_and_wake_processes_share_the_secrets_file() -> None:
    allowed = SERVICES["connect"]["environment"]["CONNECT_CONFIG_PROVIDERS_FILE_PARAM_ALLOWED_PATHS"]
    for name in PROCESSES:
        assert SERVICES[name]["environment"]["CONNECT_SECRETS"].startswith(f"{allowed}/")
        assert f"secrets:{allowed}" in SERVICES[name]["volumes"]
    user = SERVICES["connect"]["user"].split(":")[0]
    dockerfile = (REPOSITORY / "Dockerfile").read_text()
    assert f"--uid {user}" in dockerfile
    assert "USER wake" in dockerfile


def test_every_volume_and_config_is_declared() -> None:
    for service in SERVICES.values():
        named = [volume.split(":")[0] for volume in service.get("volumes", [])]
        assert {name for name in named if not name.startswith(("$", ".", "/"))} <= set(COMPOSE["volumes"])
        assert {config["source"] for config in service.get("configs", [])} <= set(COMPOSE["configs"])
