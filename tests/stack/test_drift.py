"""A schema that changes under a writer: events, context store and triggers follow; what may be private is withheld."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from agent.testing import decision
from connectors import databases, status
from connectors.connect import Connect
from connectors.drift import DriftGuard
from connectors.snapshots import Settling
from localstack import Stack
from tests.harness.agent import WakeProcess, World, attached_world
from tests.harness.context import ContextLog
from tests.harness.models import RuledModel
from tests.harness.waiting import eventually
from wakestream import topics

DDL = """
    create type progress as enum ('planned', 'gone');
    create table flight (id int primary key, gate text, delay int not null, state progress, seen int not null);
    create table passenger (id int primary key, email text, remarks text, seen int not null);
    insert into flight select n, 'A', 0, 'planned', 0 from generate_series(1, 50) n;
    insert into passenger select n, 'ann@example.org', 'vegan', 0 from generate_series(1, 50) n;
"""

WAKE = """
sources:
  SOURCE:
    capture: "${DATABASE_URL}"
    admin: "${DATABASE_URL}"
    tables: {public.flight: {}, public.passenger: {mask: {email: hash}}}
triggers:
  gated: {table: SOURCE.public.flight, when: after.gate == 'X', fire: enter, agent: watcher}
  late: {table: SOURCE.public.flight, when: after.delay > 30, fire: enter, agent: watcher}
agents:
  watcher: {instructions: prompt.md}
models:
  default: {base_url: "${MODEL_URL}", name: scripted}
"""

FLIGHT = "select id, delay, state::text, seen, terminal, gate from flight order by id"


@pytest.fixture
def world(stack: Stack, env: dict[str, str], tmp_path: Path) -> Generator[World]:
    prompt = "Row {{ key.id }}: watch\n"
    with (
        RuledModel(lambda _: decision()) as model,
        attached_world(stack, env, tmp_path, ddl=DDL, wake=WAKE, prompt=prompt, MODEL_URL=model.url) as world,
        WakeProcess(world, "consume"),
        WakeProcess(world, "agent", "--from", "beginning"),
    ):
        world.wait_mirrored()
        yield world


@contextmanager
def writing(world: World) -> Generator[None]:
    """The application, which names no column that goes."""
    stop = threading.Event()

    def write() -> None:
        with world.connect() as connection:
            for number in itertools.count():
                if stop.wait(0.01):
                    return
                connection.execute("update flight set seen = seen + 1 where id = %s", (number % 40 + 1,))
                connection.execute("update passenger set seen = seen + 1 where id = %s", (number % 40 + 1,))

    thread = threading.Thread(target=write)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


class Guarding:
    """The guard's looks, made as fast as the test waits."""

    def __init__(self, world: World, client: Connect) -> None:
        self._world = world
        self._client = client
        self._drift = DriftGuard(world.loaded, world.source, interval_s=0)
        self._settling = Settling(world.loaded.config.kafka, world.source, self.open)
        self.said: list[str] = []

    def open(self) -> databases.Connection:
        return databases.capture(self._world.loaded, self._world.source, purpose="test")

    def until(self, check: Callable[[], bool], what: str) -> None:
        with self.open() as reader, self._world.ledger() as ledger:

            def look() -> bool:
                self._drift.look(
                    reader, ledger, self._client, lambda what, detail: self.said.append(f"{what}: {detail}")
                )
                return self._settling.look(ledger) and check()

            eventually(look, what)

    def until_followed(self) -> None:
        """Until the consumer works under the newest revision and every value of every row is known."""
        world = self._world
        query = (
            "select p.revision = (select max(id) from wake.revision where source = p.source)"
            " and not exists (select from wake.missing_value m where m.source = p.source)"
            " and not exists (select from wake.mirror_state s where s.source = p.source and not s.complete)"
            " from wake.source_position p where p.source = %s"
        )
        seen = len(self.said)
        self.until(
            lambda: len(self.said) > seen and world.told(query, world.source) == [(True,)], "the schema followed"
        )


def mirrored(world: World, query: str) -> list[Any]:
    return world.told(query.replace(" from ", f" from {world.source}__public.").replace("::text", ""))


def fired(world: World, trigger: str) -> list[str]:
    rows = world.told("select event_id from wake.activation where trigger = %s and state <> 'suppressed'", trigger)
    return [row[0] for row in rows]


def held(world: World) -> dict[str, str]:
    return dict(world.told("select trigger, reason from wake.held_trigger"))


def checks(world: World, name: str) -> list[tuple[bool, str]]:
    (found,) = status.status(world.loaded)
    return [(check.ok, check.detail) for check in found.checks if check.name == name]


def test_a_schema_changes_under_a_writer(world: World) -> None:
    with Connect(world.loaded.config.connect.url) as client, writing(world):
        guard = Guarding(world, client)
        for statement in (
            "alter table flight add column terminal text not null default 'T1'",
            "update flight set terminal = 'T2' where id = 1",
            "alter table flight alter column delay type bigint",
            "alter type progress add value 'boarding' after 'planned'",
            "alter table passenger rename column email to mail",
            "alter table passenger add column phone text",
            "update passenger set phone = 'private', mail = 'private' where id = 2",
        ):
            world.execute(statement)
        guard.until_followed()
        world.execute("update flight set state = 'boarding', delay = 3000000000 where id = 45")
        world.execute("update passenger set phone = 'private', mail = 'private' where id = 45")
        eventually(lambda: len(fired(world, "late")) == 1, "the delay of flight 45")
        assert {what.partition(";")[0] for what in guard.said if what.startswith("schema changed")} == {
            "schema changed: public.flight: column terminal added",
            "schema changed: public.flight: column delay is bigint now",
            "schema changed: public.flight: value boarding added to the enum of column state",
            "schema changed: public.passenger: column email renamed to mail",
            "schema changed: public.passenger: column phone added",
        }

        world.execute("alter table flight drop column gate")
        guard.until_followed()
        eventually(lambda: held(world).keys() == {"gated"}, "the trigger to be held")
        world.execute("update flight set delay = 60 where id = 46")
        eventually(lambda: len(fired(world, "late")) == 2, "the delay of flight 46")
        assert checks(world, "trigger gated") == [(False, f"held: {held(world)['gated']}")]
        (dropped,) = [detail for well, detail in checks(world, "schema") if "gate" in detail and not well]
        assert dropped.startswith("public.flight: column gate dropped, read by trigger `gated` (when); correct the")

        world.execute("alter table flight add column gate text")
        guard.until_followed()
        eventually(lambda: not held(world), "the trigger to be released")
        world.execute("update flight set gate = 'X' where id = 47")
        eventually(lambda: len(fired(world, "gated")) == 1, "the gate of flight 47")
    eventually(lambda: mirrored(world, FLIGHT) == world.rows(FLIGHT), "the store as the table")
    verify_withheld(world)
    assert world.told("select reason from wake.dead_letter") == []


def verify_withheld(world: World) -> None:
    """What came into a table with a mask is in no event and not in the store; what was added elsewhere is in both."""
    query = "select id, remarks, seen from passenger order by id"
    eventually(lambda: mirrored(world, query) == world.rows(query), "the passengers in the store")
    columns = world.told(
        "select column_name from information_schema.columns where table_schema = %s and table_name = 'passenger'",
        f"{world.source}__public",
    )
    assert sorted(columns) == [("id",), ("remarks",), ("seen",)]
    context = ContextLog.read(world.loaded.config.kafka, topics.context(world.source))
    context.verify_contract()
    rows = [each for each in context.unique if each.type.startswith("row.")]
    assert not [each for each in rows if "private" in str(each.event)]
    last = [each for each in rows if each.event["subject"] == "public.flight/45"][-1]
    assert last.data["after"]["terminal"] == "T1"
    for each in rows:  # an image lacks what its revision does not know, and nothing is null that was never said
        if each.event["subject"].startswith("public.passenger/") and "after.email" not in each.data["missing"]:
            assert "email" not in each.data["after"] or each.data["after"]["email"] is not None
    assert [detail.partition(";")[0] for well, detail in checks(world, "schema") if well] == [
        "public.passenger: column mail is withheld",
        "public.passenger: column phone is withheld",
    ]
    ((_, renamed),) = [each for each in checks(world, "schema") if not each[0]]
    assert renamed.startswith("public.passenger: column email renamed to mail, read by `mask` of public.passenger;")
