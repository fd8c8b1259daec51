from __future__ import annotations

import pytest

from agent.activations import Message
from agent.database import Ledger
from agent.intake import Intake
from agent.positions import Owned
from tests.unit.agent import airline
from tests.unit.agent.airline import booking, disruption, event
from tests.unit.agent.conftest import MakeWorld, World
from wakestream.errors import FatalError

PLACE = (airline.TOPIC, 0)


def test_an_event_is_processed_once(world: World) -> None:
    found = disruption()
    world.feed(found, found)
    world.feed(found)
    activations = world.rows("select id, trigger, subject, state, depth, committed_at::text from wake.activation")
    identity = f"disrupted/{found['id']}"
    assert activations == [(identity, "disrupted", "booking/42", "open", 0, "2026-11-22 11:53:11.769+00")]
    assert world.rows("select id, activation, state from wake.run") == [(identity, identity, "pending")]
    assert world.rows("select outcome, count, last_event from wake.trigger_count") == [("opened", 1, found["id"])]


def test_positions_follow_what_was_read(world: World) -> None:
    world.feed(disruption(), event("booking", None, booking(1), kind="context.clock", offset=900_000))
    rows = world.rows('select log, "offset", seq, kafka_offset, clock::text from wake.partition_position')
    assert rows == [(1, 900_000, 1, 2, "2026-11-22 11:53:11.769+00")]


def test_the_activation_keeps_the_whole_event(world: World) -> None:
    found = disruption()
    world.feed(found)
    ((stored,),) = world.rows("select event from wake.activation")
    assert stored == {**found, "data": {**found["data"], "missing": []}}


def test_a_restart_goes_on_where_it_was(world: World) -> None:
    found = disruption()
    world.feed(found)
    again = Intake(world.program, world.own, name="again", start="beginning", wake=lambda _: None)
    again.own({PLACE: (0, 10)})
    batch = again.evaluate([Message(*PLACE, 5, airline.payload(found))])
    assert not batch.activations
    assert batch.moved[PLACE].kafka_offset == 6
    assert batch.moved[PLACE].rank == (1, found["data"]["position"]["offset"], 1)


@pytest.mark.parametrize(("start", "expected"), [("beginning", 3), ("end", 9)])
def test_a_new_agent_starts_where_it_is_told_and_remembers(world: World, start: str, expected: int) -> None:
    place = ("airline.context", 5)
    for _ in range(2):  # the second time, the end has moved and does not matter
        intake = Intake(world.program, world.own, name="new", start=start, wake=lambda _: None)  # type: ignore[arg-type]
        intake.own({place: (3, expected if start == "beginning" else 9)})
    assert world.rows("select kafka_offset from wake.partition_position where partition = 5") == [(expected,)]


def test_who_was_taken_over_writes_nothing(world: World) -> None:
    other = Intake(
        world.program, Ledger(world.databases.ledger, "other"), name="other", start="end", wake=lambda _: None
    )
    other.own({PLACE: (0, 1)})
    with pytest.raises(FatalError, match="another agent took over airline.context"):
        world.feed(disruption())
    assert world.rows("select count(*) from wake.activation") == [(0,)]
    with pytest.raises(FatalError, match="another agent took over"):
        world.intake.own({PLACE: (0, 1)})
    other._ledger.close()


def test_a_session_of_the_same_owner_keeps_its_epoch(world: World) -> None:
    world.intake.own({PLACE: (0, 1)})
    world.feed(disruption())
    assert isinstance(world.intake._owned[PLACE], Owned)
    assert world.rows("select epoch from wake.partition_position") == [(1,)]


@pytest.mark.parametrize("payload", [b"no JSON", b"", b'{"specversion": "1.0"}'])
def test_what_is_no_event_becomes_a_letter(world: World, payload: bytes) -> None:
    world.feed(payload, disruption())
    letters = world.rows('select stage, kind, topic, partition, "offset", event, state from wake.dead_letter')
    assert letters == [("agent", "message", airline.TOPIC, 0, 0, None, "open")]
    assert world.rows("select count(*) from wake.activation") == [(1,)]


DIVIDE = ("after.status == 'confirmed'", "10 / after.wait_min > 1")


def test_a_failing_condition_becomes_a_letter_with_the_event(make_world: MakeWorld) -> None:
    world = make_world(DIVIDE)
    found = disruption()
    world.feed(found, disruption(43, wait_min=5))
    ((kind, subject, reason, kept),) = world.rows("select kind, subject, reason, event->>'id' from wake.dead_letter")
    assert (kind, subject, kept) == ("condition", "disrupted", found["id"])
    assert "zero" in reason
    assert world.rows("select subject, state from wake.activation") == [("booking/43", "open")]
    assert world.rows("select outcome, count from wake.trigger_count order by 1") == [("failed", 1), ("opened", 1)]


def test_a_letter_is_tried_again(make_world: MakeWorld) -> None:
    world = make_world(DIVIDE)
    world.feed(disruption())
    world.rows("update wake.dead_letter set state = 'retried' returning 1")
    world.steward.round(heartbeat=False)
    assert world.rows("select state, attempts, event is null from wake.dead_letter") == [("open", 2, False)]
    mended = make_world()
    mended.rows("update wake.dead_letter set state = 'retried' returning 1")
    mended.steward.round(heartbeat=False)
    assert mended.rows("select state, event is null from wake.dead_letter") == [("retried", True)]
    assert mended.rows("select state from wake.activation") == [("open",)]
    assert mended.rows("select state from wake.run") == [("pending",)]
    mended.steward.round(heartbeat=False)
    assert mended.rows("select count(*) from wake.run") == [(1,)]


def test_suppressions_are_listed_with_their_event(world: World) -> None:
    missing = event("booking", None, disruption()["data"]["after"], missing=("before",))
    cause = {"action": "a", "run": "r", "trigger": "disrupted", "keys": ["booking/42"], "depth": 1}
    own = disruption()
    own["data"]["cause"] = cause
    world.feed(missing, own)
    rows = world.rows("select state, reason, depth, event->>'id' from wake.activation order by reason")
    assert rows == [
        ("suppressed", "own write", 1, own["id"]),
        ("suppressed", "undecided: before is missing", 0, missing["id"]),
    ]
    assert world.rows("select count(*) from wake.run") == [(0,)]


def test_nulls_are_counted(make_world: MakeWorld) -> None:
    world = make_world(("after.flight.status in ['delayed', 'cancelled']", "after.flight.delay_min > 60"))
    world.feed(event("booking", None, booking(1, flight=None)))
    assert world.rows("select outcome, count from wake.trigger_count") == [("null", 1)]


def nothing_comes_of(world: World, *numbers: int, offset: int) -> None:
    """Read events that meet no trigger, as the loop does while more may come."""
    found = [
        Message(*PLACE, offset + place, airline.payload(event("public.flight", None, airline.flight(number))))
        for place, number in enumerate(numbers)
    ]
    world.intake.process(found, may_wait=True)


def read_to(world: World) -> int:
    ((offset,),) = world.rows("select kafka_offset from wake.partition_position")
    return offset


def test_positions_alone_wait_for_what_is_worth_a_transaction(world: World) -> None:
    nothing_comes_of(world, 1, 2, offset=0)
    nothing_comes_of(world, 3, offset=2)
    assert read_to(world) == 0
    world.intake.process([Message(*PLACE, 3, airline.payload(disruption()))], may_wait=True)
    assert read_to(world) == 4
    assert len(world.rows("select id from wake.run")) == 1


def test_positions_alone_do_not_wait_for_ever(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    nothing_comes_of(world, 1, offset=0)
    world.intake.process([])
    assert read_to(world) == 1, "nothing more came"
    monkeypatch.setattr("agent.intake.POSITIONS_EVERY", 0.0)
    nothing_comes_of(world, 2, offset=1)
    assert read_to(world) == 2, "they have waited long enough"


def test_time_that_passes_is_written_at_once(world: World) -> None:
    nothing_comes_of(world, 1, offset=0)
    clock = event("booking", None, booking(1), kind="context.clock", offset=900_000)
    world.intake.process([Message(*PLACE, 1, airline.payload(clock))], may_wait=True)
    assert read_to(world) == 2


def test_what_was_not_written_is_read_again(world: World) -> None:
    """As after a crash, and after an outage of the ledger: nothing is skipped, and nothing is told twice."""
    nothing_comes_of(world, 1, offset=0)
    world.intake.own({PLACE: (0, 10)})
    assert read_to(world) == 0
    world.intake.process([Message(*PLACE, 1, airline.payload(disruption()))], may_wait=True)
    assert read_to(world) == 2
