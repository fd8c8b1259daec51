from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from cli import main
from tests.unit.cli.conftest import Wake
from tests.unit.console.seeds import RUN_ID, Seed
from wakestream import errors


def test_help_names_every_command_and_imports_none(tmp_path: Path) -> None:
    code = (
        "import sys, contextlib, cli.main\n"
        "with contextlib.suppress(SystemExit): cli.main.app(['--help'])\n"
        "heavy = {'sqlalchemy', 'psycopg', 'pydantic', 'confluent_kafka', 'openai', 'requests', 'msgspec'}\n"
        "print('IMPORTED', sorted(heavy & set(sys.modules)), [m for m in sys.modules if m.startswith('cli.')])\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "IMPORTED [] ['cli.main']" in done.stdout
    for name, lazy in main.COMMANDS.items():
        assert f" {name} " in done.stdout
        assert lazy.panel in done.stdout


@pytest.mark.parametrize("name", sorted(main.COMMANDS))
def test_every_command_is_there_and_explains_itself(wake: Wake, name: str) -> None:
    done = wake(name, "--help")
    assert done.exit_code == 0, done.output
    assert f"Usage: wake {name}" in done.stdout


@pytest.mark.parametrize(
    "words",
    [["stak"], ["runs"], ["runs", "lst"], ["runs", "list", "--state", "bogus"], ["runs", "show"], ["--bogus"]],
)
def test_wrong_usage_is_exit_2(wake: Wake, words: list[str]) -> None:
    assert wake(*words).exit_code == 2


def test_a_misspelt_command_comes_with_the_right_one(wake: Wake) -> None:
    assert "'status'" in wake("statsu").stderr


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (errors.ConfigurationError("one", "two"), 2),
        (errors.RefusedError("one\ntwo"), 1),
        (errors.TransientError("one\ntwo"), 1),
        (errors.FatalError("one\ntwo"), 1),
        (errors.EventError("one", detail="\ntwo"), 1),
    ],
)
def test_our_errors_are_lines_on_stderr_and_an_exit_code(
    wake: Wake, monkeypatch: pytest.MonkeyPatch, error: errors.WakeError, code: int
) -> None:
    def fail() -> None:
        raise error

    monkeypatch.setattr("cli.why.why", fail)
    done = wake("why")
    assert (done.exit_code, done.stdout) == (code, "")
    assert [line.rstrip(": ") for line in done.stderr.splitlines()] == ["one", "two"]
    told = wake("--debug", "why")
    assert told.exit_code == code
    assert "Traceback" in told.stderr
    assert "in fail" in told.stderr


def test_a_missing_package_is_named_with_the_extra_that_has_it(wake: Wake, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(main.COMMANDS, "stack", main.Lazy("no_such_package:app", "", main.LOCAL))
    done = wake("stack")
    assert done.exit_code == 2
    assert done.stderr == (
        "`wake stack` needs the module no_such_package, which is not installed: "
        "install wakestream with its extras, `wakestream[local]`\n"
    )


def test_a_missing_file_and_a_missing_variable_are_exit_2(wake: Wake, tmp_path: Path) -> None:
    done = wake("-c", str(tmp_path / "none.yaml"), "runs", "list")
    assert (done.exit_code, done.stderr.count("\n")) == (2, 1)
    assert "none.yaml: no such file; name the configuration with -c FILE" in done.stderr


def test_a_missing_variable_is_exit_2_with_its_place(wake: Wake, config: Path) -> None:
    done = wake("runs", "list")
    assert done.exit_code == 2
    assert done.stderr.startswith(f"{config}:3:10: the variable LEDGER_URL is not set")


def test_a_ledger_that_is_away_is_exit_1(wake: Wake, unused_port: int) -> None:
    done = wake("runs", "list", LEDGER_URL=f"postgresql://wake:secret@127.0.0.1:{unused_port}/ledger")
    assert done.exit_code == 1
    assert done.stderr.startswith("the ledger cannot be reached: ")
    assert "secret" not in done.stderr


def test_the_file_may_be_named_before_or_after_the_command(
    wake: Wake, seed: Seed, config: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seed.run()
    monkeypatch.setenv("WAKE_CONFIG", "nowhere.yaml")
    after = wake("runs", "list", "-c", str(config), "--json", LEDGER_URL=seed.url)
    before = wake("-c", str(config), "runs", "list", "--json", LEDGER_URL=seed.url)
    assert after.exit_code == before.exit_code == 0
    assert RUN_ID in after.stdout
    assert after.stdout == before.stdout
