from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from cli import stack
from localstack import PART_NAMES
from localstack.home import Home
from wakestream.errors import RefusedError

VARIABLES = ["POSTGRES_URL", "LEDGER_URL", "LOOKUPS_URL", "KAFKA_BOOTSTRAP", "CONNECT_URL", "CONNECT_SECRETS"]


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """The state of a stack that was set up and is down."""
    home = Home(tmp_path / "a home")
    home.prepare()
    home.assign_ports(set())
    return home.path


def run(home: Path, *arguments: str) -> Result:
    return CliRunner().invoke(stack.app, [*arguments, "--home", str(home)])


def test_env_as_json(home: Path) -> None:
    variables = json.loads(run(home, "env", "--json").stdout)
    assert list(variables) == VARIABLES
    assert variables["CONNECT_SECRETS"] == str(home / "secrets" / "connect.properties")
    for name in ("POSTGRES_URL", "LEDGER_URL", "LOOKUPS_URL"):
        assert variables[name].startswith("postgresql://")
        assert "@127.0.0.1:" in variables[name]


def test_env_has_the_token_once_there_is_one(home: Path) -> None:
    (home / "token").write_text("secret\n")
    assert json.loads(run(home, "env", "--json").stdout)["WAKE_TOKEN"] == "secret"


def test_env_lines_are_for_a_shell(home: Path) -> None:
    lines = run(home, "env").stdout
    shell = subprocess.run(
        ["sh", "-c", f'{lines}\nprintf %s "$CONNECT_SECRETS"'], capture_output=True, text=True, check=True
    )
    assert shell.stdout == str(home / "secrets" / "connect.properties")


def test_status_of_a_stack_that_is_down(home: Path) -> None:
    result = run(home, "status", "--json")
    parts = json.loads(result.stdout)["parts"]
    assert result.exit_code == 1
    assert [(part["part"], part["state"], part["pid"]) for part in parts] == [
        (name, "stopped", None) for name in PART_NAMES
    ]


def test_down_of_a_stack_that_is_down_is_harmless(home: Path) -> None:
    result = run(home, "down")
    assert result.exit_code == 0
    assert "kafka: was not running" in result.stdout
    assert home.exists()


def test_wipe_asks_and_removes_the_stacks_state_only(home: Path) -> None:
    (home / "mine.txt").write_text("kept")
    assert run(home, "down", "--wipe").exit_code == 1
    assert (home / "stack.json").exists()
    assert run(home, "down", "--wipe", "--yes").exit_code == 0
    assert [path.name for path in home.iterdir()] == ["mine.txt"]


@pytest.mark.parametrize("command", ["env", "status"])
def test_without_a_stack_the_error_says_what_to_do(tmp_path: Path, command: str) -> None:
    error = run(tmp_path, command).exception
    assert isinstance(error, RefusedError)
    assert "wake stack up" in str(error)
