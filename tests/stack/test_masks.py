"""What is masked is in clear in the change log, and nowhere behind it: events, store, logs, dead letters, prompts."""

from __future__ import annotations

import json
from collections.abc import Generator
from pathlib import Path

import pytest
from psycopg import sql

from agent.testing import decision
from localstack import Stack
from tests.harness.agent import WakeProcess, World, attached_world
from tests.harness.context import ContextLog
from tests.harness.models import RuledModel
from tests.harness.waiting import eventually
from wakestream import topics

DDL = """
    create table customer (
        id int primary key, email text, card varchar(30), note text, secret text, born date, doc json, n int
    );
    insert into customer values
        (1, 'clearone@example.org', '4111 clearone 1111', 'clearone note', 'clearone', '1971-02-03', '{}', 0);
"""

WAKE = """
sources:
  SOURCE:
    capture: "${DATABASE_URL}"
    admin: "${DATABASE_URL}"
    tables:
      public.customer: {mask: {email: email, card: last4, note: {truncate: 3}, secret: hash, born: redact}}
triggers:
  looked_at: {table: SOURCE.public.customer, when: after.n > 0, fire: enter, agent: clerk}
agents:
  clerk: {instructions: prompt.md}
models:
  default: {base_url: "${MODEL_URL}", name: scripted}
"""

PROMPT = "Row {{ key.id }}: {{ after }} {{ before }}\n"

ROW = "({id}, 'clear{id}@example.org', '4111 clear{id} 1111', 'clear note', 'clear{id}', '1972-03-04', '{doc}', {n})"
UNREADABLE = '{"a": "\\u0000"}'  # JSON to PostgreSQL, and no text; such a row becomes a dead letter
CLEAR = ("clearone", "clear2", "clear3", "clear note", "1971-02-03", "1972-03-04")


@pytest.fixture(scope="module")
def world(stack: Stack, env: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Generator[World]:
    """After a snapshot, an insert that wakes the agent, an update, and a row that cannot be read."""
    directory: Path = tmp_path_factory.mktemp("masks")
    with (
        RuledModel(lambda _: decision()) as model,
        attached_world(stack, env, directory, ddl=DDL, wake=WAKE, prompt=PROMPT, MODEL_URL=model.url) as world,
        WakeProcess(world, "consume"),
        WakeProcess(world, "agent", "--from", "beginning"),
    ):
        world.wait_mirrored()
        world.execute(f"insert into customer values {ROW.format(id=2, n=1, doc='{}')}")
        world.execute("update customer set n = 2 where id = 1")
        world.execute(f"insert into customer values {ROW.format(id=3, n=1, doc=UNREADABLE)}")
        done = "select count(*) from wake.run where state = 'succeeded'"
        eventually(lambda: world.told(done) == [(2,)], "both runs")
        eventually(lambda: world.told("select count(*) from wake.dead_letter") == [(1,)], "the dead letter")
        (world.directory / "calls.json").write_text(json.dumps([call.request for call in model.calls]))
        yield world


def told(world: World) -> dict[str, str]:
    """Everything behind the change log, as text."""
    ledger: list[str] = []
    with world.ledger() as connection:
        tables = connection.execute(
            "select schemaname, tablename from pg_tables where schemaname not in ('pg_catalog', 'information_schema')"
        ).fetchall()
        for place in tables:
            query = sql.SQL("select r::text from {} r").format(sql.Identifier(*place))
            ledger += [row for (row,) in connection.execute(query).fetchall()]
    context = ContextLog.messages(world.loaded.config.kafka, topics.context(world.source))
    return {
        "events": "\n".join((m.value() or b"").decode() for m in context),
        "ledger": "\n".join(ledger),
        "logs": "\n".join(path.read_text() for path in world.directory.glob("*.log")),
        "prompts": (world.directory / "calls.json").read_text(),
    }


def test_no_clear_value_is_behind_the_change_log(world: World) -> None:
    found = told(world)
    assert {(where, value) for where, text in found.items() for value in CLEAR if value in text} == set()
    changes = ContextLog.messages(world.loaded.config.kafka, topics.changes(world.source))
    in_log = b"\n".join(m.value() or b"" for m in changes).decode()
    assert [value for value in CLEAR[:4] if value not in in_log] == []  # so they could have been found


def test_the_masks_are_there_instead(world: World) -> None:
    found = told(world)
    for where in ("events", "ledger", "prompts"):
        assert [
            mask for mask in ("c***@example.org", "****1111", "cle...", "sha256:") if mask not in found[where]
        ] == []


def test_a_dead_letter_of_a_masked_table_says_why_without_the_value(world: World) -> None:
    ((reason,),) = world.told("select reason from wake.dead_letter")
    assert "a value that PostgreSQL does not read (UntranslatableCharacter, 22P05)" in reason
