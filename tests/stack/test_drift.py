"""A schema that changes under a writer: events, context store and triggers follow; what may be private is withheld."""

from __future__ import annotations

import itertools
import json
import threading
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from agent.testing import WebhookReceiver, decision
from connectors import doctor, status
from connectors.apply import apply
from connectors.connect import Connect
from connectors.drift import DriftGuard
from connectors.guard import AttachedSource, Watch
from localstack import Stack
from tests.harness.agent import WakeProcess, World, attached_world
from tests.harness.context import ContextLog
from tests.harness.models import RuledModel
from tests.harness.waiting import eventually
from wakestream import change_log, config, kafka, topics
from wakestream.errors import RefusedError

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

SNAPSHOT = 240.0  # seconds for signals, which Debezium takes up when it likes, and what they ask for

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
    """The guard, whose looks are made as fast as the test waits.

    The whole of it: a task that fails over a snapshot while the schema changes is restarted, as in life.
    """

    def __init__(self, world: World, client: Connect) -> None:
        self._world = world
        self._source = AttachedSource(world.loaded, world.source, client)
        self._source._drift = DriftGuard(world.loaded, world.source, interval_s=0)
        self._watch = Watch(self._source, time)

    @property
    def said(self) -> list[str]:
        query = "select what || ': ' || detail from wake.guard_event where source = %s order by id"
        return [text for (text,) in self._world.told(query, self._world.source)]

    def close(self) -> None:
        self._source.close()

    def restart(self) -> None:
        self._source.restart()

    def until(self, check: Callable[[], bool], what: str) -> None:
        def look() -> bool:
            self._watch.look()
            return check()

        eventually(look, what, within=SNAPSHOT)

    def until_noted(self, what: str) -> None:
        """Until a person is told of it."""
        self.until(lambda: any(what in detail and not well for well, detail in checks(self._world, "schema")), what)

    def until_well(self) -> None:
        """Until nothing of the schema needs a person, and no mirror a snapshot."""
        self.until(
            lambda: all(well for well, _ in checks(self._world, "schema")) and self._whole(), "a schema that fits"
        )

    def until_followed(self) -> None:
        """Until the consumer works under the newest revision and every value of every row is known."""
        seen = len(self.said)
        self.until(lambda: len(self.said) > seen and self._whole(), "the schema followed")

    def _whole(self) -> bool:
        query = (
            "select p.revision = (select max(id) from wake.revision where source = p.source)"
            " and not exists (select from wake.missing_value m where m.source = p.source)"
            " and not exists (select from wake.mirror_state s where s.source = p.source"
            " and (not s.complete or s.snapshot_from is not null))"
            " from wake.source_position p where p.source = %s"
        )
        return self._world.told(query, self._world.source) == [(True,)]


@contextmanager
def guarding(world: World) -> Generator[Guarding]:
    with Connect(world.loaded.config.connect.url) as client:
        guard = Guarding(world, client)
        try:
            yield guard
        finally:
            guard.close()


def mirrored(world: World, query: str) -> list[Any]:
    return world.told(query.replace(" from ", f" from {world.source}__public.").replace("::text", ""))


def fired(world: World, trigger: str) -> list[str]:
    rows = world.told("select event_id from wake.activation where trigger = %s and state <> 'suppressed'", trigger)
    return [row[0] for row in rows]


def held(world: World) -> dict[str, str]:
    return dict(world.told("select trigger, reason from wake.held_trigger"))


def checks(world: World, name: str) -> list[tuple[bool, str]]:
    (found,) = status.status(config.load(world.file, world.variables))
    return [(check.ok, check.detail) for check in found.checks if check.name == name]


def test_a_schema_changes_under_a_writer(world: World) -> None:
    with guarding(world) as guard, writing(world):
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


def test_a_snapshot_that_is_lost_with_its_task_is_asked_for_anew(world: World) -> None:
    """Debezium tells of its beginning, and fails before that stands in its offsets: nobody would tell of its end."""
    said = {"aggregate_type": "Incremental Snapshot", "type": "STARTED", "timestamp": 1}
    told = {"connector_name": world.source, "data_collections": "public.flight"}
    identifier = change_log.snapshot_id(whole=False)
    kafka.send(
        world.loaded.config.kafka,
        "control",
        topics.changes(world.source),
        [(b'{"id": "x"}', json.dumps({"id": identifier, **said, "additional_data": told}).encode())],
    )
    reading = (
        "select snapshot_from is not null from wake.mirror_state where source = %s and \"table\" = 'public.flight'"
    )
    eventually(lambda: world.told(reading, world.source) == [(True,)], "the snapshot to begin")
    with guarding(world) as guard:
        guard.restart()
        guard.until(lambda: world.told(reading, world.source) == [(False,)], "the snapshot to be settled")


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


AIRPORT_DDL = """
    create table flight (id int primary key, gate text, delay int not null);
    create table bag (id int primary key, flight_id int not null references flight, kg int not null, tag text not null);
    create table seat (id int primary key, free boolean not null);
    insert into flight select n, 'A', 0 from generate_series(1, 5) n;
    insert into bag select n, n, 20, 'T' || n from generate_series(1, 5) n;
    insert into seat select n, true from generate_series(1, 5) n;
"""

AIRPORT = """
sources:
  SOURCE:
    capture: "${DATABASE_URL}"
    admin: "${DATABASE_URL}"
    tables: {public.flight: {}, public.bag: {}, public.seat: {}}
entities:
  bag: {root: SOURCE.public.bag, include: {flight: {}}}
triggers:
  gated: {table: SOURCE.public.flight, when: after.gate == 'X', fire: enter, agent: watcher}
  late: {entity: bag, when: after.flight.delay > 30, fire: enter, agent: watcher}
  heavy: {table: SOURCE.public.bag, when: after.kg > 30, fire: enter, agent: watcher}
agents:
  watcher: {instructions: prompt.md}
models:
  default: {base_url: "${MODEL_URL}", name: scripted}
notify: {webhook: {url: "${NOTICES_URL}"}}
"""


@pytest.fixture
def receiver() -> Generator[WebhookReceiver]:
    with WebhookReceiver() as receiver:
        yield receiver


@pytest.fixture
def airport(stack: Stack, env: dict[str, str], tmp_path: Path, receiver: WebhookReceiver) -> Generator[World]:
    prompt = "Row {{ key.id }}: watch\n"
    urls = {"NOTICES_URL": receiver.url}
    with (
        RuledModel(lambda _: decision()) as model,
        attached_world(
            stack, env, tmp_path, ddl=AIRPORT_DDL, wake=AIRPORT, prompt=prompt, MODEL_URL=model.url, **urls
        ) as world,
        WakeProcess(world, "consume"),
        WakeProcess(world, "agent", "--from", "beginning"),
    ):
        world.wait_mirrored()
        yield world


def rewrite(world: World, old: str, new: str) -> None:
    text = world.file.read_text()
    assert text.count(old) == 1
    world.file.write_text(text.replace(old, new))


def findings(world: World) -> list[tuple[str, str]]:
    """What doctor says of the tables, and the remedy."""
    found = doctor.examine(config.load(world.file, world.variables), world.source)
    return [(each.id, each.remedy) for each in found if each.group == "tables" and each.id != "tables.toast"]


def test_what_needs_a_person_is_named_until_it_is_mended(airport: World, receiver: WebhookReceiver) -> None:
    world = airport
    with guarding(world) as guard:
        an_entity_follows_its_key(world, guard)
        an_entity_is_suspended(world, guard)
        a_file_is_corrected(world, guard)
        a_key_changes(world, guard)
        a_table_is_dropped(world, guard)
    told = [(seen.body["type"], seen.body["data"]["level"]) for seen in receiver.seen]
    assert told.count(("guard.schema.changed", "warning")) >= 4
    assert told.count(("guard.schema.well", "ok")) >= 4
    assert world.told("select reason from wake.dead_letter") == []


def an_entity_follows_its_key(world: World, guard: Guarding) -> None:
    """A foreign key under another name is still the way to the flight: nobody has to do anything."""
    world.execute("alter table bag rename column flight_id to carried_by")
    ((id, remedy),) = findings(world)
    assert (id, remedy.partition("  ")[0]) == ("tables.unfollowed", "run: wake guard")
    guard.until_followed()
    guard.until_well()
    assert findings(world) == []
    world.execute("update flight set delay = 40 where id = 2")
    eventually(lambda: len(fired(world, "late")) == 1, "the bag of a late flight")
    assert held(world) == {}


def an_entity_is_suspended(world: World, guard: Guarding) -> None:
    """Its join is gone: its trigger is held and others are not, until there is one again."""
    world.execute("alter table bag drop column carried_by")
    guard.until_noted("entity `bag` is suspended")
    eventually(lambda: held(world).keys() == {"late"}, "the entity's trigger to be held")
    assert "suspended" in held(world)["late"]
    assert {id for id, _ in findings(world)} == {"tables.drift"}
    world.execute("update bag set kg = 40 where id = 1")
    eventually(lambda: len(fired(world, "heavy")) == 1, "a trigger that the entity does not concern")
    world.execute("alter table bag add column flight_id int references flight")
    world.execute("update bag set flight_id = id")
    guard.until_well()
    eventually(lambda: not held(world), "the entity's trigger to be released")
    assert findings(world) == []
    world.execute("update flight set delay = 40 where id = 3")
    eventually(lambda: len(fired(world, "late")) == 2, "the bag of another late flight")


def a_file_is_corrected(world: World, guard: Guarding) -> None:
    """Neither guard nor agent are started anew, and `wake apply` is not needed."""
    world.execute("alter table flight rename column gate to exit")
    guard.until_noted("column gate renamed to exit")
    eventually(lambda: held(world).keys() == {"gated"}, "the trigger to be held")
    assert [id for id, _ in findings(world)] == ["tables.drift"]
    rewrite(world, "after.gate == 'X'", "after.exit == 'X'")
    eventually(lambda: not held(world), "the trigger to be released")
    guard.until_well()
    assert findings(world) == []
    world.execute("update flight set exit = 'X' where id = 3")
    eventually(lambda: len(fired(world, "gated")) == 1, "the exit of flight 3")


def a_key_changes(world: World, guard: Guarding) -> None:
    """The table is as it was for us until `wake apply` has read it anew under its new key."""
    world.execute("alter table bag drop constraint bag_pkey, add primary key (tag)")
    guard.until_noted("public.bag: the primary key is (tag) now")
    assert findings(world) == [("tables.drift", "run: wake apply")]
    apply(config.load(world.file, world.variables))
    guard.until_well()
    assert findings(world) == []
    world.execute("update bag set kg = 50 where id = 4")
    eventually(lambda: any("public.bag/T4" in event for event in subjects(world, "heavy")), "a bag under its new key")
    bags = "select id, flight_id, kg, tag from bag order by id"
    guard.until(lambda: mirrored(world, bags) == world.rows(bags), "the store as the table")


def subjects(world: World, trigger: str) -> list[str]:
    return [row[0] for row in world.told("select subject from wake.activation where trigger = %s", trigger)]


def a_table_is_dropped(world: World, guard: Guarding) -> None:
    """Nothing else stops; it goes when the file no longer names it."""
    world.execute("drop table seat")
    guard.until_noted("public.seat: the table is gone")
    assert [id for id, _ in findings(world)] == ["tables.missing"]
    world.execute("update bag set kg = 60 where id = 5")
    eventually(lambda: any("public.bag/T5" in event for event in subjects(world, "heavy")), "the other tables")
    rewrite(world, ", public.seat: {}", "")
    eventually(lambda: is_applied(world), "Connect to write down that the snapshot of public.bag has ended")
    guard.until_well()
    assert findings(world) == []
    gone = "select from information_schema.tables where table_schema = %s and table_name = 'seat'"
    assert world.told(gone, f"{world.source}__public") == []


def is_applied(world: World) -> bool:
    """Whether `wake apply` was done; Connect writes its offsets down a second late, and it is to be said again then."""
    try:
        apply(config.load(world.file, world.variables))
    except RefusedError as error:
        assert "a snapshot of it runs" in str(error)
        return False
    return True
