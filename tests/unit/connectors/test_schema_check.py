"""What `wake doctor` says of a schema that has changed since it was attached, by the ledger and the catalogue alone."""

from __future__ import annotations

from collections.abc import Generator
from pathlib import Path

import psycopg
import pytest

from connectors import drift_notes
from connectors.checks import schema
from connectors.checks import subject as subjects
from tests.unit.connectors.source_server import MakeDatabase, make_database, source_server
from wakestream import capture, config, inspection, ledger
from wakestream.capture import Capture, CapturedTable, Entity, Member

__all__ = ["make_database", "source_server"]

DDL = """
    create table flight (id int primary key, gate text, delay int not null);
    create table bag (id int primary key, flight_id int references flight, tag text);
"""
FILE = """
kafka: {bootstrap_servers: "127.0.0.1:9"}
connect: {url: "http://127.0.0.1:9", secrets: /etc/wake/secrets.properties}
ledger: {url: "${LEDGER_URL}"}
sources: {air: {capture: "${SOURCE_URL}", tables: {public.flight: {}, public.bag: {}}}}
triggers: {gated: {table: air.public.flight, when: after.gate == 'X', fire: enter, agent: watcher}}
agents: {watcher: {instructions: prompt.md}}
models: {default: {base_url: "http://127.0.0.1:9", name: none}}
"""
TABLES = {"public.flight": CapturedTable(), "public.bag": CapturedTable()}


class World:
    def __init__(self, source: psycopg.Connection, own: psycopg.Connection, file: Path, urls: dict[str, str]) -> None:
        self.source = source
        self.own = own
        self.file = file
        self.urls = urls
        member = Member("flight", "public.flight", columns=("flight_id",), references=("id",))
        self.store({"bag": Entity("bag", "public.bag", (member,))})

    def store(self, entities: dict[str, Entity], **more: dict[str, str]) -> None:
        """A revision of the tables as they are."""
        catalogue = inspection.read_catalogue(self.source, "air", TABLES)
        capture.store(self.own, catalogue, Capture(TABLES, entities, suspended=more.get("suspended", {})))

    def found(self) -> list[tuple[str, str, str]]:
        loaded = config.load(self.file, self.urls)
        catalogue = inspection.read_catalogue(self.source, "air", TABLES)
        subject = subjects.of_capture(self.source, "air", catalogue, TABLES)
        return [(each.id, each.evidence, each.remedy) for each in schema.examine(loaded, subject, self.own)]


@pytest.fixture
def world(make_database: MakeDatabase, tmp_path: Path) -> Generator[World]:
    urls = {"SOURCE_URL": make_database(DDL), "LEDGER_URL": make_database("")}
    ledger.migrate(urls["LEDGER_URL"])
    (tmp_path / "prompt.md").write_text("Row {{ key.id }}\n")
    file = tmp_path / "wake.yaml"
    file.write_text(FILE)
    with (
        psycopg.connect(urls["SOURCE_URL"], autocommit=True) as source,
        psycopg.connect(urls["LEDGER_URL"], autocommit=True) as own,
    ):
        yield World(source, own, file, urls)


def test_nothing_is_said_of_a_schema_that_is_as_it_was(world: World) -> None:
    assert world.found() == []


def test_a_ledger_that_knows_nothing_says_nothing(world: World) -> None:
    world.own.execute("delete from wake.revision")
    assert world.found() == []
    world.own.execute("drop schema wake cascade")
    assert world.found() == []


def test_a_key_that_changed_takes_an_apply(world: World) -> None:
    world.source.execute("alter table flight add unique (id), alter column gate set not null")
    world.source.execute("alter table flight drop constraint flight_pkey cascade, add primary key (id, gate)")
    ((id, evidence, remedy),) = world.found()
    assert (id, remedy) == ("tables.drift", "run: wake apply")
    change, _, readers = evidence.partition(", read by ")
    assert change == "public.flight: the primary key is (id, gate) now"
    assert {"trigger `gated` (when)", "entity `bag` (table)"} <= set(readers.split(", "))


def test_a_table_that_is_gone_has_a_check_of_its_own(world: World) -> None:
    world.source.execute("drop table bag")
    assert world.found() == []


def test_a_change_that_no_guard_has_followed(world: World) -> None:
    world.source.execute("alter table flight drop column gate")
    ((id, evidence, remedy),) = world.found()
    assert id == "tables.unfollowed"
    assert evidence == "public.flight: column gate dropped, read by trigger `gated` (when)"
    assert remedy.startswith("run: wake guard")


def test_a_column_that_is_gone_is_named_until_the_file_does_without(world: World) -> None:
    newest = capture.load(world.own, "air")
    assert newest is not None
    world.source.execute("alter table flight drop column gate")
    world.store({})
    note = drift_notes.Note(
        "public.flight: column gate dropped", "correct the file and run `wake apply`, or bring the column back",
        ("trigger `gated` (when)",), True, "public.flight", "gate", newest.id,
    )  # fmt: skip
    world.own.execute(
        'insert into wake.drift (source, what, remedy, affected, harmful, "table", "column", before)'
        " values ('air', %s, %s, %s, true, %s, %s, %s)",
        (note.what, note.remedy, list(note.affected), note.table, note.column, note.before),
    )
    assert world.found() == [
        ("tables.drift", f"{note.what}, read by trigger `gated` (when)", f"none: {note.remedy}"),
    ]
    world.file.write_text(FILE.replace("after.gate == 'X'", "after.delay > 30"))
    assert world.found() == []


def test_entities_and_columns_that_are_held_back(world: World) -> None:
    world.store({}, suspended={"bag": "no foreign key"})
    ((id, evidence, _),) = world.found()
    assert (id, evidence) == ("tables.drift", "entity `bag` is suspended: no foreign key")
    held = {**TABLES, "public.flight": CapturedTable(withheld=("gate",))}
    capture.store(world.own, inspection.read_catalogue(world.source, "air", held), Capture(held))
    ((id, evidence, remedy),) = world.found()
    assert (id, evidence) == ("tables.withheld", "public.flight: column gate is withheld")
    assert remedy.startswith("none: name it in `include`")
