"""Dead letters of the consumer: their cause is removed, `wake letters retry`, and the context is right again."""

from __future__ import annotations

import json
from collections.abc import Generator
from pathlib import Path
from typing import Any, cast

import pytest
from confluent_kafka import TopicPartition

from localstack import Stack
from tests.harness.agent import WakeProcess, World, attached_world
from tests.harness.context import ContextLog
from tests.harness.waiting import eventually
from wakestream import change_log, kafka, topics

DDL = """
    create table flight (id int primary key, status text);
    create table booking (id int primary key, flight_id int not null, note text);
    create table seat (id int primary key, free bool);
    insert into flight select n, 'on time' from generate_series(1, 9) n;
    insert into booking select n, 1 + n % 3, '' from generate_series(1, 9) n;
    insert into seat select n, true from generate_series(1, 5) n;
"""

WAKE = """
sources:
  SOURCE:
    capture: "${DATABASE_URL}"
    admin: "${DATABASE_URL}"
    tables: {public.flight: {}, public.booking: {}}
entities:
  booking:
    root: SOURCE.public.booking
    max_size: 2KB
    include:
      flight: {table: public.flight, match: {id: flight_id}, fan_out: 2}
"""

STRANGE = {"op": "r", "after": {"id": 3}, "source": {"schema": "public", "table": "seat"}, "transaction": None}


class Station:
    """An attached source with its consumer and guard, and an operator who looks after its letters."""

    def __init__(self, world: World, consumer: WakeProcess) -> None:
        self.world = world
        self.consumer = consumer

    @property
    def topic(self) -> str:
        return topics.changes(self.world.source)

    def letter(self, kind: str) -> dict[str, Any]:
        """The open letter of this kind, as soon as it is there."""

        def found() -> dict[str, Any] | None:
            listed = self.world.wake("letters", "list", "--state", "open")
            return next((each for each in listed if each["kind"] == kind), None)

        return eventually(found, f"an open letter: {kind}")

    def retry(self, letter: dict[str, Any]) -> str:
        """What `wake letters retry` says it will do."""
        (decided,) = self.world.wake("letters", "retry", str(letter["id"]))
        assert decided["state"] == "retried"
        return str(decided["note"])

    def refused(self, letter: dict[str, Any]) -> str:
        """Why `wake letters retry` does nothing."""
        with pytest.raises(AssertionError) as failed:
            self.world.wake("letters", "retry", str(letter["id"]))
        assert "ends with 1" in str(failed.value)
        assert self.shown(letter)["state"] == "open"
        return str(failed.value)

    def shown(self, letter: dict[str, Any]) -> dict[str, Any]:
        (found,) = self.world.wake("letters", "show", str(letter["id"]))
        return found

    def wait_outcome(self, letter: dict[str, Any], outcome: str) -> None:
        """Until the letter is closed with these words."""
        query = "select state, outcome, retrying is null from wake.dead_letter where id = %s"
        wanted = [("retried", outcome, True)]
        eventually(lambda: self.world.told(query, letter["id"]) == wanted, f"letter {letter['id']}: {outcome}")

    def wait_passed_on(self, letter: dict[str, Any]) -> None:
        """Until the guard has written the letter's record into the change log."""
        key = change_log.key("letter")

        def written() -> bool:
            log = ContextLog.messages(self.world.loaded.config.kafka, self.topic)
            values = [each.value() for each in log if each.key() == key]
            return any(json.loads(value or b"{}")["letter"] == letter["id"] for value in values)

        eventually(written, f"a control record for letter {letter['id']}")

    def context(self) -> ContextLog:
        """The context topic as it is now, whole."""
        name = topics.context(self.world.source)

        def read() -> ContextLog | None:
            found = ContextLog.read(self.world.loaded.config.kafka, name)
            return found if found.ends_whole else None

        return eventually(read, f"the end of {name}")

    def anew(self) -> list[dict[str, Any]]:
        """The documents that were told again, as readers see them."""
        return [each.event for each in self.context().of_type("entity.changed") if each.data["snapshot"]]

    def configure(self, old: str, new: str) -> None:
        """Another word in the file, applied; and a consumer that works by it."""
        file = self.world.file
        assert old in file.read_text()
        file.write_text(file.read_text().replace(old, new))
        self.world.wake_text("apply", "--yes")
        newest = "select max(id) from wake.revision"
        followed = f"select 1 from wake.source_position where revision = ({newest})"
        eventually(lambda: self.world.told(followed), "the newest revision in force")

    def kill_at(self, point: str) -> None:
        """A consumer's life from its start to this point."""
        self.consumer.hold(point)
        self.consumer.start()
        self.consumer.wait_held(point)
        self.consumer.kill()
        self.consumer.release(point)

    def produce(self, key: bytes, value: bytes) -> None:
        """A message of a stranger's in the change log."""
        kafka.send(self.world.loaded.config.kafka, "test", self.topic, [(key, value)])

    def cut_change_log(self, end: int) -> None:
        """Delete what the change log has before this offset, as its retention would."""
        client = cast("Any", kafka.admin(self.world.loaded.config.kafka))
        place = TopicPartition(self.topic, 0, end)
        client.delete_records([place])[place].result()


@pytest.fixture(scope="module")
def running(stack: Stack, env: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Generator[Station]:
    directory: Path = tmp_path_factory.mktemp("letters")
    with (
        attached_world(stack, env, directory, ddl=DDL, wake=WAKE, prompt="") as world,
        WakeProcess(world, "consume") as consumer,
        WakeProcess(world, "guard"),
    ):
        world.wait_mirrored()
        yield Station(world, consumer)


@pytest.fixture
def station(running: Station) -> Generator[Station]:
    yield running
    assert running.consumer.is_running, running.consumer.log[-3000:]
    running.context().verify_contract()


def test_a_document_that_was_too_large_is_told_once_though_the_consumer_is_killed(station: Station) -> None:
    station.world.execute("update booking set note = repeat('x', 4000) where id = 4")
    letter = station.letter("document too large")
    assert (letter["subject"], station.anew()) == ("booking/4", [])
    station.configure("max_size: 2KB", "max_size: 64KB")

    station.consumer.kill()
    assert station.retry(letter).startswith("booking/4 is told as it is now")
    station.wait_passed_on(letter)
    for point in ("consume.3.claimed", "consume.4.published", "consume.5.before_commit"):
        station.kill_at(point)
    assert len(station.anew()) == 1  # published, and not committed
    assert station.shown(letter)["outcome"] == "the guard passes it on to the consumer"
    station.consumer.start()
    station.wait_outcome(letter, "the document is told anew")

    (told,) = station.anew()
    assert len([each for each in station.context().raw if each.event["id"] == told["id"]]) > 1
    assert (told["subject"], told["data"]["missing"]) == ("booking/4", ["before"])
    assert len(told["data"]["after"]["note"]) == 4000
    station.world.execute("update booking set note = 'short' where id = 4")
    last = eventually(
        lambda: next(
            (e for e in reversed(station.context().of_type("entity.changed")) if not e.data["snapshot"]), None
        ),
        "the next change of it",
    )
    assert last.event["subject"] == "booking/4"


def test_documents_that_were_too_many_are_told_as_they_are(station: Station) -> None:
    before = len(station.anew())
    station.world.execute("update flight set status = 'late' where id = 1")
    letter = station.letter("fan-out too large")
    station.world.execute("update booking set flight_id = 2 where id = 3")
    assert station.retry(letter).startswith("the 2 documents of `booking` that it touched are told as they are now")
    station.wait_outcome(letter, "told anew: 2 documents of `booking`")
    told = station.anew()[before:]
    assert [each["subject"] for each in told] == ["booking/6", "booking/9"]
    assert {each["data"]["after"]["flight"]["status"] for each in told} == {"late"}


def test_a_table_that_was_not_captured_is_read_whole_behind_a_gap(station: Station) -> None:
    station.produce(b'{"id":3}', json.dumps(STRANGE).encode())
    letter = station.letter("unknown table")
    assert "public.seat is not captured; name it in the file" in station.refused(letter)
    assert "is not captured" in station.shown(letter)["outcome"]
    station.configure("public.booking: {}", "public.booking: {}, public.seat: {}")
    complete = "select 1 from wake.mirror_state where \"table\" = 'public.seat' and complete and snapshot_from is null"
    eventually(lambda: station.world.told(complete), "the new table's mirror")

    schema = topics.mirror_schema(station.world.source, "public")
    station.world.told(f'delete from "{schema}".seat where id = 3 returning id')  # as if that row had been lost
    assert "which an incremental snapshot closes" in station.retry(letter)
    station.wait_outcome(letter, "a snapshot reads public.seat again, and a gap is open until it has")
    closed = "select 1 from wake.gap where tables = '{public.seat}' and state = 'closed'"
    eventually(lambda: station.world.told(closed), "the gap closed", within=120)
    verified = station.world.wake("context", "verify", station.world.source, "public.seat")
    assert [(each["state"], each["rows"]) for each in verified] == [("same", 5)]
    gaps = [each.data["state"] for each in station.context().of_type("context.gap")]
    assert gaps == ["open", "closed"]


def test_a_message_that_says_nothing_stays_a_letter_until_retention_has_taken_it(station: Station) -> None:
    station.produce(b"key", b"hello")
    letter = station.letter("not a change")
    said = station.refused(letter)
    assert "was read again, and still says nothing that is understood: not a change" in said
    station.world.execute("insert into flight values (77, 'behind it')")
    behind = 'select 1 from wake.source_position where "offset" > %s'
    eventually(lambda: station.world.told(behind, letter["offset"] + 1), "the position behind the message")
    station.cut_change_log(letter["offset"] + 1)
    assert "retention has deleted it" in station.refused(letter)
    found = station.shown(letter)
    assert (found["attempts"], len(found["history"])) == (3, 2)
    assert "retention has deleted it" in found["outcome"]
