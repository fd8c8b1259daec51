"""A trigger that the schema does not allow: held, and released by the schema, by the file, and by nothing half done."""

from __future__ import annotations

from collections.abc import Callable

import msgspec
import pytest

from agent.holding import Follower, first
from tests.unit.agent import airline
from tests.unit.agent.conftest import MakeWorld, World
from wakestream import capture
from wakestream.catalogue import Catalogue
from wakestream.program import Program

READS = "after.flight.status in ['delayed', 'cancelled']"
CORRECTED = "after.flight.remarks == 'late'"
SECOND = (
    (
        "triggers:\n",
        "triggers:\n  flown: {table: airline.public.flight, when: after.id > 7, fire: enter, agent: clerk}\n",
    ),
    ("agents:\n", "agents:\n  clerk: {instructions: rebooker.md}\n"),
)


def without(*columns: str) -> Catalogue:
    """The airline whose flights have lost these columns."""
    kept = tuple(column for column in airline.FLIGHT.columns if column.name not in columns)
    flight = msgspec.structs.replace(airline.FLIGHT, columns=kept)
    return msgspec.structs.replace(airline.CATALOGUE, tables={**airline.CATALOGUE.tables, flight.label: flight})


class Following:
    """An agent that looks when the test says so."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.taken: list[Program] = []
        self._ledger = world.own
        self.store(airline.CATALOGUE)
        with self._ledger.transaction("starting") as connection:
            program, known = first(connection, world.loaded)
        self.follower = Follower(world.loaded, self._ledger, program, known, self.taken.append)

    def store(self, catalogue: Catalogue) -> None:
        """A revision, under which the consumer works."""
        with self.world.ledger() as connection:
            number = capture.store(connection, catalogue, airline.CAPTURE)
            connection.execute(
                'insert into wake.source_position (source, log, topic_id, system_identifier, timeline, "offset",'
                " read_from, revision, epoch, owner, backend_pid) values ('airline', 1, '', '', 1, 0, 0, %s, 1, '', 0)"
                " on conflict (source) do update set revision = excluded.revision",
                (number,),
            )

    def look(self) -> set[str]:
        """What is held after a look."""
        self.follower.look()
        return {row[0] for row in self.world.rows("select trigger from wake.held_trigger")}

    def write(self, old: str, new: str) -> None:
        path = self.world.loaded.document.path
        text = path.read_text()
        assert old in text
        path.write_text(text.replace(old, new))


@pytest.fixture
def following(make_world: MakeWorld) -> Callable[[], Following]:
    return lambda: Following(make_world(*SECOND, instructions="Row {{ key.id }}\n"))


def test_a_corrected_file_releases_what_is_held(following: Callable[[], Following]) -> None:
    agent = following()
    assert agent.look() == set()
    agent.store(without("status"))
    assert agent.look() == {"disrupted"}
    agent.write(READS, CORRECTED)
    assert agent.look() == set()
    assert sorted(agent.taken[-1].triggers) == ["disrupted", "flown"]


def test_a_file_changes_nothing_while_nothing_is_held(following: Callable[[], Following]) -> None:
    agent = following()
    agent.write("after.id > 7", "after.id > 8")
    assert (agent.look(), agent.taken) == (set(), [])


def test_what_was_corrected_before_it_was_held_is_taken_up_with_the_revision(
    following: Callable[[], Following],
) -> None:
    agent = following()
    agent.write(READS, CORRECTED)
    agent.store(without("status"))
    assert agent.look() == {"disrupted"}
    assert agent.look() == set()


def test_a_file_that_cannot_be_read_changes_nothing(following: Callable[[], Following]) -> None:
    agent = following()
    agent.store(without("status"))
    assert agent.look() == {"disrupted"}
    agent.write("triggers:", "trigers:")
    assert (agent.look(), len(agent.taken)) == ({"disrupted"}, 1)
    agent.write("trigers:", "triggers:")
    agent.write(READS, CORRECTED)
    assert agent.look() == set()


def test_a_file_that_would_hold_more_waits_for_a_revision_that_fits(following: Callable[[], Following]) -> None:
    agent = following()
    agent.store(without("status", "crew"))
    assert agent.look() == {"disrupted"}
    agent.write(READS, CORRECTED)
    agent.write("after.id > 7", "size(after.crew) > 7")
    assert agent.look() == {"disrupted"}
    assert len(agent.taken) == 1
    agent.store(without("status"))
    assert agent.look() == set()
    assert agent.taken[-1].triggers["flown"].settings.when == "size(after.crew) > 7"


def test_what_only_a_start_can_give_is_said(
    following: Callable[[], Following], caplog: pytest.LogCaptureFixture
) -> None:
    agent = following()
    agent.store(without("status"))
    agent.look()
    agent.write(READS, CORRECTED)
    agent.write("connections: {ops", "connections: {other: postgresql://x, ops")
    assert agent.look() == {"disrupted"}
    assert "is taken up when the agent is started anew: connections changed" in caplog.text
