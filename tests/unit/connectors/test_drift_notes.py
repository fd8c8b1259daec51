"""What is kept, recorded and told of a schema that needs a person: once when it begins, once when it is over."""

from __future__ import annotations

from collections.abc import Generator

import psycopg
import pytest

from connectors import drift_notes, notices
from connectors.drift_notes import Note
from tests.unit.connectors.source_server import MakeDatabase, make_database, source_server
from wakestream import ledger
from wakestream.capture import Capture, Entity
from wakestream.config import Config

__all__ = ["make_database", "source_server"]

GONE = Note("public.flight: column gate dropped", "correct the file", ("trigger `gated` (when)",), harmful=True)
WITHHELD = Note("public.flight: column phone is withheld", "name it")


class World:
    def __init__(self, connection: psycopg.Connection, monkeypatch: pytest.MonkeyPatch) -> None:
        self.connection = connection
        self.recorded: list[tuple[str, str]] = []
        self.told: list[tuple[str, str, tuple[str, ...]]] = []
        monkeypatch.setattr(notices, "send", lambda _config, _source, *what: self.told.append(what))

    def write(self, *notes: Note) -> None:
        config = Config.model_construct()
        drift_notes.write(config, self.connection, "air", notes, lambda *what: self.recorded.append(what))

    def kept(self) -> list[str]:
        return [what for (what,) in self.connection.execute("select what from wake.drift order by what").fetchall()]


@pytest.fixture
def world(make_database: MakeDatabase, monkeypatch: pytest.MonkeyPatch) -> Generator[World]:
    url = make_database("")
    ledger.migrate(url)
    with psycopg.connect(url, autocommit=True) as connection:
        yield World(connection, monkeypatch)


def test_what_needs_a_person_is_told_once(world: World) -> None:
    world.write(GONE, WITHHELD)
    world.write(GONE, WITHHELD)
    assert world.kept() == [GONE.what, WITHHELD.what]
    assert world.recorded == [("schema", GONE.told), ("schema", WITHHELD.told)]
    assert world.told == [("schema.changed", "warning", (GONE.told, WITHHELD.told))]
    assert GONE.told == "public.flight: column gate dropped; read by trigger `gated` (when): correct the file"


def test_what_does_no_harm_is_told_as_well_and_not_when_it_is_over(world: World) -> None:
    world.write(WITHHELD)
    world.write()
    assert world.told == [("schema.changed", "ok", (WITHHELD.told,))]
    assert world.kept() == []


def test_the_end_of_harm_is_told_with_what_is_left(world: World) -> None:
    other = Note("public.seat: the table is gone", "run `wake apply`", harmful=True)
    world.write(GONE, other)
    world.write(other)
    world.write()
    assert world.told[1:] == [("schema.well", "warning", (GONE.what,)), ("schema.well", "ok", (other.what,))]
    assert world.recorded[2:] == [("schema well again", GONE.what), ("schema well again", other.what)]


def test_an_entity_that_was_resolved_anew_needs_its_old_column_no_more() -> None:
    readers = ["entity `bag` (flight)", "entity `trip` (flight)", "trigger `gated` (when)"]
    now = Capture({}, {"bag": Entity("bag", "public.bag", (), ())}, suspended={"trip": "no foreign key"})
    assert drift_notes.still(readers, now) == readers[1:]
