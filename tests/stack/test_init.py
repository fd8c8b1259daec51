"""From a database that nobody has described to the first activation: `wake init`, `doctor`, `apply`, `up`, UPDATE."""

from __future__ import annotations

import os
import re
import secrets
import subprocess
import sys
from collections.abc import Generator, Mapping
from pathlib import Path
from urllib.parse import urlsplit

import psycopg
import pytest

from agent.testing import ScriptedModel, decide_all
from connectors import status
from connectors.apply import apply
from connectors.detach import detach
from localstack import Stack
from tests.harness.agent import WakeProcess, World, own_database, own_ledger
from tests.harness.stack import REPOSITORY
from tests.harness.waiting import eventually
from wakestream import config

SCHEMA = Path(__file__).parent / "rental.sql"
SOURCE = "rental"


def wake(directory: Path, variables: Mapping[str, str], *words: str) -> str:
    """Run a command as a newcomer would, in an empty directory; returns what it printed."""
    done = subprocess.run(
        [sys.executable, "-m", "cli.main", *words],
        cwd=directory,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY), **variables},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, f"wake {' '.join(words)} ends with {done.returncode}:\n{done.stdout}\n{done.stderr}"
    return done.stdout


@pytest.fixture
def unknown(stack: Stack, env: dict[str, str]) -> Generator[tuple[str, dict[str, str]]]:
    """A database with rows that knows nothing of us, and the addresses of the stack, with a ledger of its own."""
    name = f"i{secrets.token_hex(5)}"
    with own_database(env["POSTGRES_URL"], name, owner=None) as url, own_ledger(stack, env["LEDGER_URL"], name) as own:
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute(SCHEMA.read_bytes())
        lookups = urlsplit(env["LOOKUPS_URL"])._replace(path=f"/{name}").geturl()
        yield url, {**env, "LEDGER_URL": own, "LOOKUPS_URL": lookups}


def test_from_an_unknown_database_to_the_first_activation(unknown: tuple[str, dict[str, str]], tmp_path: Path) -> None:
    url, variables = unknown
    source = f"{SOURCE}_{secrets.token_hex(4)}"
    said = wake(tmp_path, variables, "init", url, "--source", source, "--all")
    assert urlsplit(url).password not in said
    # What it says is to be set: both roles by the URL that it was given, as it allows for a first try.
    asked = re.findall(r"\b(RENTAL_\w+_URL)\b", said)
    assert len(set(asked)) == 2
    variables |= dict.fromkeys(asked, url)
    file = tmp_path / "wake.yaml"
    written = file.read_text()

    with ScriptedModel(decide_all) as model:
        variables["MODEL_URL"] = model.url
        for step in ("doctor",), ("plan",), ("apply", "--yes"):
            wake(tmp_path, variables, *step)
        loaded = config.load(file, variables)
        world = World(source, url, file, variables)
        try:
            with WakeProcess(world, "up"):
                eventually(lambda: status.healthy(status.status(loaded)), f"wake status is well with {source}")
                world.execute("update rental set status = 'overdue' where rental_id = 7")
                (run,) = eventually(lambda: world.insights.runs(), "the first run")
                (action,) = eventually(lambda: world.insights.actions(), "the first action")
                story = world.insights.run(run.id)
            assert (run.trigger, run.agent, run.key) == ("rental_changed", "rental_watcher", {"rental_id": 7})
            assert (action.name, action.state) == ("notify", "awaiting_approval")
            assert apply(loaded) == []
            assert file.read_text() == written
        finally:
            detach(loaded, source, with_topics=True)
    prompt = "\n".join(message["content"] for message in model.seen[0].body["messages"])
    assert "status is overdue now" in prompt
    assert '"customer":' in prompt
    assert "@" not in prompt  # addresses are masked, passwords and numbers of cards are not there at all
    assert story.key == {"rental_id": 7}
