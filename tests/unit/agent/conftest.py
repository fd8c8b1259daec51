"""A real ledger and a database to act on, on one PostgreSQL 18 for the run; models and receivers over real HTTP."""

from __future__ import annotations

import shutil
import tempfile
import threading
from collections.abc import Callable, Generator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg import sql

from agent import effects, testing
from agent.action_store import has_receipt
from agent.actions import Actions
from agent.activations import Message
from agent.bell import Bell
from agent.database import Ledger
from agent.effects.outcome import Setting
from agent.intake import Intake
from agent.leases import Holdings
from agent.lookups import Lookups
from agent.model_client import ModelClient
from agent.runs import Runs
from agent.steward import Steward
from agent.worker import Worker
from localstack import Stack
from localstack.postgres import Cluster
from tests.unit.agent import airline
from wakestream import config, ledger
from wakestream.config import Loaded
from wakestream.ledger import settings
from wakestream.ledger.models import Base
from wakestream.program import compile_program


@dataclass(frozen=True)
class Databases:
    """The URLs of the run's databases."""

    ledger: str
    lookups: str
    ops: str


@pytest.fixture(scope="session")
def databases() -> Generator[Databases]:
    """A ledger with the newest schema and a mirror in it, and a database of the airline's."""
    # Not below pytest's own directory: another run that starts closes that to the server's user.
    home = Path(tempfile.mkdtemp(prefix="wake-agent-"))
    stack = Stack(home)
    stack.home.prepare()
    stack.home.assign_ports(set())
    stack.start_part("ledger-db")
    try:
        env = stack.env()
        admin = Cluster("ledger-db", stack.home).url("postgres", "postgres")
        ops = admin.rpartition("/")[0] + "/ops"
        with psycopg.connect(admin, autocommit=True) as connection:
            connection.execute("create database ops")
        with psycopg.connect(ops) as connection:
            connection.execute(
                "create table booking (id int primary key, flight_id int, note text, fare numeric, crew text[],"
                " numbers int[], js jsonb, at timestamptz, ok boolean)"
            )
        ledger.migrate(env["LEDGER_URL"])
        with psycopg.connect(env["LEDGER_URL"]) as connection:
            connection.execute("create schema airline__public")
            connection.execute("create table airline__public.seat (seat_no text, flight_id int, free boolean)")
            connection.execute("grant usage on schema airline__public to wake_lookups")
            connection.execute("grant select on all tables in schema airline__public to wake_lookups")
        yield Databases(env["LEDGER_URL"], env["LOOKUPS_URL"], ops)
    finally:
        stack.stop_part("ledger-db")
        shutil.rmtree(home)


@pytest.fixture
def scratch_ledger(databases: Databases) -> str:
    """The ledger, empty but for its keys."""
    with psycopg.connect(databases.ledger) as connection:
        for table in reversed(Base.metadata.sorted_tables):
            connection.execute(sql.SQL("delete from wake.{}").format(sql.Identifier(table.name)))
        settings.ensure_keys(connection)
        connection.execute("delete from airline__public.seat")
        connection.execute(
            "insert into wake.source_position values"
            " ('airline', 1, '', '', 1, 1000000, null, 0, 1, null, 1, '', 0, default)"
        )
    with psycopg.connect(databases.ops) as connection:
        connection.execute("truncate booking")
    return databases.ledger


@pytest.fixture
def model() -> Generator[testing.ScriptedModel]:
    with testing.ScriptedModel(testing.decide_first) as server:
        yield server


@pytest.fixture
def receiver() -> Generator[testing.WebhookReceiver]:
    with testing.WebhookReceiver() as server:
        yield server


@dataclass
class World:
    """An agent whose threads are the test's own: each step is taken when the test says so."""

    databases: Databases
    loaded: Loaded
    model: testing.ScriptedModel
    receiver: testing.WebhookReceiver
    stop: threading.Event = field(default_factory=threading.Event)
    holdings: Holdings = field(default_factory=Holdings)
    offset: int = 0

    def __post_init__(self) -> None:
        self.program = compile_program(self.loaded, {"airline": airline.REVISION})
        own = Ledger(self.databases.ledger, "test")
        self.models = {
            name: ModelClient(name, each, local_url=None) for name, each in self.loaded.config.models.items()
        }
        self.lookups = Lookups(self.databases.lookups, own, self.loaded.config.mcp_servers)
        with self.ledger() as connection:
            key = settings.key(connection, settings.MARK_KEY)
        self.effects = effects.kinds(Setting(self.loaded.config, key, self._seen))
        self.intake = Intake(self.program, own, name="test", start="beginning", wake=lambda _: None)
        self.intake.own({(airline.TOPIC, 0): (0, 1)})
        self.runs = Runs(self.program, own, self.models, self.lookups, self.stop)
        self.actions = Actions(own, self.effects, self.stop)
        self.worker = Worker(self.program, own, self.holdings, Bell(), self.runs, self.actions)
        self.steward = Steward(self.program, own, self.holdings)
        self.own = own

    def close(self) -> None:
        self.own.close()
        self.lookups.close()
        for each in self.models.values():
            each.close()

    def ledger(self) -> psycopg.Connection[Any]:
        return psycopg.connect(self.databases.ledger, autocommit=True)

    def ops(self) -> psycopg.Connection[Any]:
        return psycopg.connect(self.databases.ops, autocommit=True)

    def feed(self, *events: dict[str, Any] | bytes) -> None:
        """Let the intake process these as one batch."""
        messages = [each if isinstance(each, bytes) else airline.payload(each) for each in events]
        found = [Message(airline.TOPIC, 0, self.offset + at, text) for at, text in enumerate(messages)]
        self.offset += len(found)
        self.intake.process(found)

    def work(self) -> int:
        """Work until there is nothing to do; returns how many runs and actions that were."""
        count = 0
        while self.worker.work(self.stop):
            count += 1
        return count

    def rows(self, query: str, *values: object) -> list[tuple[Any, ...]]:
        with self.ledger() as connection:
            return connection.execute(query, values).fetchall()

    def run(self) -> dict[str, Any]:
        """The only run."""
        return self._only("run")

    def action(self, name: str) -> dict[str, Any]:
        """The only action of that name."""
        return self._only("action", f"where name = '{name}'")

    def book(self, number: int = 42, flight: int = 7) -> None:
        """Put a booking into the airline's database."""
        with self.ops() as connection:
            connection.execute("insert into booking (id, flight_id) values (%s, %s)", (number, flight))

    def booked(self, number: int = 42) -> int | None:
        """The flight of a booking in the airline's database."""
        with self.ops() as connection:
            row = connection.execute("select flight_id from booking where id = %s", (number,)).fetchone()
        return row[0] if row else None

    def _only(self, table: str, where: str = "") -> dict[str, Any]:
        with self.ledger() as connection:
            found = connection.execute(f"select row_to_json(t)::jsonb from wake.{table} t {where}").fetchall()
        assert len(found) == 1, found
        return found[0][0]

    def _seen(self, action: str) -> bool:
        with self.own.transaction("looking for a receipt") as connection:
            return has_receipt(connection, action)


MakeWorld = Callable[..., World]


@pytest.fixture
def make_world(
    databases: Databases,
    scratch_ledger: str,
    model: testing.ScriptedModel,
    receiver: testing.WebhookReceiver,
    tmp_path: Path,
) -> Generator[MakeWorld]:
    """An agent with the airline's configuration, changed by replacements of its text."""
    made: list[World] = []

    def make(*replacements: tuple[str, str], instructions: str = airline.INSTRUCTIONS) -> World:
        text = airline.CONFIG.format(
            ledger=databases.ledger, lookups=databases.lookups, ops=databases.ops, webhook=receiver.url, model=model.url
        )
        for old, new in replacements:
            assert old in text
            text = text.replace(old, new)
        (tmp_path / "rebooker.md").write_text(instructions)
        path = tmp_path / "wake.yaml"
        path.write_text(text)
        made.append(World(databases, config.load(path, {}), model, receiver))
        return made[-1]

    yield make
    for world in made:
        world.close()


@pytest.fixture
def world(make_world: MakeWorld) -> World:
    return make_world()
