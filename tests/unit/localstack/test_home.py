from __future__ import annotations

import socket
import threading
from pathlib import Path

import pytest

from localstack.home import PORT_NAMES, PORT_RANGE, Home, default_home, secrets_path
from wakestream.errors import RefusedError


@pytest.fixture
def home(tmp_path: Path) -> Home:
    home = Home(tmp_path / "state")
    home.prepare()
    return home


def test_it_is_where_the_environment_says(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("WAKE_HOME", str(tmp_path / "elsewhere"))
    assert default_home() == tmp_path / "elsewhere"
    assert secrets_path() == tmp_path / "elsewhere" / "secrets" / "connect.properties"
    monkeypatch.delenv("WAKE_HOME")
    assert default_home() == Path(".wake")


def test_looking_at_a_home_makes_nothing(tmp_path: Path) -> None:
    home = Home(tmp_path / "state")
    assert not home.exists()
    with pytest.raises(RefusedError, match="wake stack up"):
        home.port("kafka")
    assert not home.path.exists()


def test_passwords_are_kept_and_private(home: Home) -> None:
    first = home.password("wake")
    home.prepare()
    assert home.password("wake") == first
    assert len({home.password(role) for role in ("postgres", "wake", "wake_lookups")}) == 3
    assert (home.path / "stack.json").stat().st_mode & 0o777 == 0o600
    assert home.secrets.stat().st_mode & 0o777 == 0o600


def test_connect_may_read_nothing_but_its_secrets(home: Home) -> None:
    assert list(home.secrets.parent.iterdir()) == [home.secrets]


def test_ports_are_remembered(home: Home) -> None:
    assert home.assign_ports(set()) == set(PORT_NAMES)
    ports = [home.port(name) for name in PORT_NAMES]
    assert len(set(ports)) == len(PORT_NAMES)
    assert all(PORT_RANGE[0] <= port < PORT_RANGE[1] for port in ports)
    assert Home(home.path).assign_ports(set()) == set()
    assert [Home(home.path).port(name) for name in PORT_NAMES] == ports


def test_a_port_that_somebody_took_is_replaced_unless_it_was_us(home: Home) -> None:
    home.assign_ports(set())
    taken = home.port("kafka")
    with socket.create_server(("127.0.0.1", taken)):
        assert home.assign_ports({"kafka"}) == set()
        assert home.assign_ports(set()) == {"kafka"}
    assert home.port("kafka") != taken


def test_one_command_at_a_time_changes_a_stack(home: Home) -> None:
    entered = threading.Event()

    def enter() -> None:
        with Home(home.path).lock():
            entered.set()

    waiting = threading.Thread(target=enter)
    with home.lock():
        waiting.start()
        assert not entered.wait(0.2)
    assert entered.wait(10)
    waiting.join()
