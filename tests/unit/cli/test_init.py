"""`wake init` as people call it: by flags, on a terminal, and wrongly."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest
from psycopg import conninfo
from typer.testing import CliRunner, Result

from cli import main
from cli.init import chosen_of
from tests.harness.stack import REPOSITORY
from tests.unit.connectors.source_server import MakeDatabase, make_database, source_server
from wakestream.errors import ConfigurationError

__all__ = ["make_database", "source_server"]

SCHEMA = """
    create type state as enum ('open', 'done', 'cancelled');
    create table person (id int primary key, email text);
    create table ticket (id int primary key, person_id int references person, status state, urgent boolean);
    create table other (id int primary key);
    create table log (line text);
"""


@pytest.fixture
def url(make_database: MakeDatabase, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.chdir(tmp_path)
    for name in ("WAKE_CONFIG", "DATABASE_URL"):
        monkeypatch.delenv(name, raising=False)
    return make_database(SCHEMA)


def init(*words: str, **environment: str) -> Result:
    return CliRunner().invoke(main.app, ["init", *words], env=environment)


def test_yes_takes_what_is_proposed_and_says_what_comes_next(url: str, tmp_path: Path) -> None:
    done = init(url, "--yes", "--source", "desk")
    assert done.exit_code == 0, done.output
    assert {path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*.*")} == {
        "wake.yaml",
        "roles.sql",
        "prompts/ticket_watcher.md",
    }
    text = Path("wake.yaml").read_text()
    assert "      public.ticket: {}" in text
    assert "      public.person: {mask: {email: hash}}" in text
    assert "      # public.other: {}" in text
    assert "when: after.status == 'cancelled'" in text
    assert "export DESK_CAPTURE_URL=postgresql://desk_capture:PASSWORD@127.0.0.1:" in done.output
    assert "wake apply" in done.output
    password = str(conninfo.conninfo_to_dict(url)["password"])
    assert not [path for path in tmp_path.rglob("*.*") if password in path.read_text()]
    assert password not in done.output


def test_flags_choose_tables_trigger_and_file(url: str) -> None:
    done = init("--table", "ticket", "--trigger", "public.ticket.urgent", "-o", "conf/my.yaml", DATABASE_URL=url)
    assert done.exit_code == 0, done.output
    text = Path("conf/my.yaml").read_text()
    assert "when: after.urgent\n" in text
    assert "table: " in text  # nothing that it refers to is captured, so the row alone is watched
    assert "wake -c conf/my.yaml apply" in done.output
    assert Path("conf/roles.sql").exists()
    again = init(url, "--all", "-o", "conf/all.yaml")
    assert (again.exit_code, Path("conf/all.yaml").exists()) == (2, False)
    assert "conf/roles.sql: exists and is not overwritten" in again.stderr


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ((), "say which tables: --table TABLE, --all, or --yes"),
        (("--table", "tickt"), "no table `tickt`"),
        (("--table", "log"), "`public.log` cannot be captured: public.log has no primary key"),
        (("--yes", "--source", "My Shop"), "`My Shop` cannot name a source"),
        (("--yes", "--trigger", "public.ticket.statsu"), "did you mean `public.ticket.status`?"),
    ],
)
def test_wrong_words_are_said_in_one_line_and_nothing_is_written(
    url: str, words: tuple[str, ...], said: str, tmp_path: Path
) -> None:
    done = init(url, *words)
    assert (done.exit_code, done.stderr.count("\n")) == (2, 1), done.output
    assert said in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_no_file_is_overwritten(url: str) -> None:
    Path("wake.yaml").write_text("mine")
    done = init(url, "--all")
    assert done.exit_code == 2
    assert "wake.yaml: exists and is not overwritten" in done.stderr
    assert (Path("wake.yaml").read_text(), Path("roles.sql").exists()) == ("mine", False)


def test_on_a_terminal_it_asks(url: str, tmp_path: Path) -> None:
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "cli.main", "init", url],
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY), "TERM": "dumb"},
    )
    os.close(theirs)
    said = ""
    for question, answer in (
        ("Which tables?", "nothing"),
        ("no table `nothing`", ""),
        ("Which tables?", "3,2"),
        ("first?", "2"),
    ):
        while question not in said:
            said += os.read(ours, 4096).decode()
        said = said.partition(question)[2]
        if answer:
            os.write(ours, f"{answer}\n".encode())
    assert process.wait(30) == 0
    os.close(ours)
    text = (tmp_path / "wake.yaml").read_text()
    assert "      public.ticket: {}" in text
    assert "      # public.other: {}" in text
    assert "when: after.urgent" in text


def test_answers_about_tables() -> None:
    labels = ["a", "b", "c", "d"]
    assert chosen_of(" all ", labels) == labels
    assert chosen_of("2-3, 1 2", labels) == ["b", "c", "a"]
    assert chosen_of("b", labels) == []
    with pytest.raises(ConfigurationError, match="`5` is not among 1 to 4"):
        chosen_of("1,5", labels)
