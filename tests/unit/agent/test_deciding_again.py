"""What is overtaken is decided again on what is there now, as often as allowed, and nothing is done twice."""

from __future__ import annotations

import itertools
import json
from collections.abc import Generator
from typing import Any

import pytest

from agent import deciding_again, present
from agent.testing import Status, decision
from tests.unit.agent import airline
from tests.unit.agent.airline import disruption
from tests.unit.agent.conftest import MakeWorld, World
from tests.unit.agent.test_actions import states
from wakestream import capture
from wakestream.errors import ConfigurationError, EventError, TransientError
from wakestream.events import parse

REBOOK = ("rebook", {"to_flight": 8, "note": "n"})
NOTIFY = ("notify", {"text": "t"})
AGAIN = ("bind: {customer: after.customer_id}", "bind: {customer: after.customer_id}\n    on_stale: decide_again")
REBOOK_AGAIN = ("description: moves", "on_stale: decide_again\n    description: moves")


def mirrored(world: World) -> World:
    """Put mirrors of the airline's tables into the ledger, as they were after the disruption."""
    with world.ledger() as connection:
        number = capture.store(connection, airline.CATALOGUE, airline.CAPTURE)
        connection.execute("drop table if exists airline__public.flight, airline__public.booking")
        connection.execute(
            "create table airline__public.flight (id int primary key, status text, delay_min int, fare numeric,"
            " departs_at timestamptz, crew text[], remarks text)"
        )
        connection.execute(
            "create table airline__public.booking (id int primary key, flight_id int, customer_id int, status text,"
            " email text, remarks text)"
        )
        for each in (
            airline.flight(7, status="delayed"),
            airline.flight(8, fare=150.0),
            airline.flight(9, fare=500.25),
        ):
            connection.execute(
                "insert into airline__public.flight select * from"
                " jsonb_populate_record(null::airline__public.flight, %s::jsonb)",
                (json.dumps(each),),
            )
        connection.execute("insert into airline__public.booking values (42, 7, 3, 'confirmed', 'hash:1', null)")
        connection.execute(
            'insert into wake.mirror_state (source, "table", complete, log) values'
            " ('airline', 'public.flight', true, 1), ('airline', 'public.booking', true, 1)"
        )
        connection.execute("update wake.source_position set revision = %s", (number,))
    return world


@pytest.fixture
def overtaken(make_world: MakeWorld) -> Generator[World]:
    world = mirrored(make_world(AGAIN, REBOOK_AGAIN))
    yield world
    with world.ledger() as connection:
        connection.execute("drop table airline__public.flight, airline__public.booking")


def change(world: World, statement: str) -> None:
    """A transaction of somebody's that the consumer has applied."""
    with world.ledger() as connection:
        connection.execute(statement.encode())
        connection.execute('update wake.source_position set "offset" = "offset" + 1, "commit" = "offset"')


CANCELLED = "update airline__public.flight set status = 'cancelled' where id = 7"
ON_TIME = "update airline__public.flight set status = 'on_time' where id = 7"


def decided(world: World, *actions: tuple[str, dict[str, Any]]) -> None:
    world.model.script = lambda _: decision(*actions)
    world.feed(disruption())
    assert world.worker.work(world.stop)


def runs(world: World) -> list[tuple[str, str]]:
    return world.rows("select id, state from wake.run order by created_at, id")


def test_a_new_run_decides_on_what_is_there_now(overtaken: World) -> None:
    decided(overtaken, NOTIFY)
    change(overtaken, CANCELLED)
    change(overtaken, "update airline__public.flight set fare = 160.00 where id = 8")
    overtaken.work()
    (first, _), (second, state) = runs(overtaken)
    assert (second, state) == (f"{first}/again/1", "succeeded")
    stale, done = overtaken.rows("select state, reason, result ->> 'differences' from wake.action order by run")
    assert stale[:2] == (
        "stale",
        f'public.flight/7 status: "delayed" -> "cancelled"; decided again by run {second}',
    )
    assert done[0] == "succeeded"
    asked = [json.dumps(each.body["messages"]) for each in overtaken.model.seen]
    assert ("cancelled" in asked[0], "cancelled" in asked[1]) == (False, True)
    assert "160.00" in asked[1]
    ((event,),) = overtaken.rows("select event from wake.activation where id = %s", second)
    assert event["data"]["before"] == airline.booking(42)
    assert event["data"]["after"]["flight"]["status"] == "cancelled"
    assert set(event["data"]["changed"]) >= {"flight.status"}
    assert event["data"]["position"]["offset"] == 1_000_002
    assert len(overtaken.receiver.seen) == 1


def test_what_no_longer_meets_the_trigger_is_not_decided(overtaken: World) -> None:
    decided(overtaken, NOTIFY)
    change(overtaken, ON_TIME)
    overtaken.work()
    ((run, _), (again, state)) = runs(overtaken)
    assert state == "cancelled"
    found = overtaken.rows("select state, reason from wake.activation where id = %s", again)
    assert found == [("done", "what is there now does not meet the trigger any more")]
    assert len(overtaken.model.seen) == 1
    assert not overtaken.receiver.seen


def test_a_row_that_is_gone_is_not_decided_on(overtaken: World) -> None:
    decided(overtaken, NOTIFY)
    change(overtaken, "delete from airline__public.booking")
    overtaken.work()
    assert [state for _, state in runs(overtaken)] == ["succeeded", "cancelled"]


def test_what_was_done_is_not_offered_again(overtaken: World) -> None:
    overtaken.book()
    decided(overtaken, REBOOK, NOTIFY)
    assert overtaken.worker.work(overtaken.stop)
    assert states(overtaken) == {"rebook": "succeeded", "notify": "approved"}
    change(overtaken, CANCELLED)
    overtaken.rows(
        "update wake.action set executed_at = now() - interval '2 minutes' where name = 'rebook' returning 1"
    )
    overtaken.model.script = lambda _: decision(NOTIFY)
    overtaken.work()
    said = overtaken.model.seen[1].body["messages"][1]["content"]
    assert "- notify(" in said
    assert "- rebook(" not in said
    assert overtaken.booked() == 8
    assert len(overtaken.receiver.seen) == 1


def test_what_followed_is_given_up_with_it(overtaken: World) -> None:
    overtaken.book()
    decided(overtaken, REBOOK, NOTIFY)
    change(overtaken, CANCELLED)
    overtaken.model.script = lambda _: decision()
    overtaken.work()
    run = runs(overtaken)[0][0]
    reasons = dict(overtaken.rows("select name, reason from wake.action"))
    assert reasons["notify"] == f"{run}/1 was stale: decided again by run {run}/again/1"
    assert [state for _, state in runs(overtaken)] == ["succeeded", "succeeded"]


def test_it_ends_when_the_world_never_stands_still(overtaken: World) -> None:
    statuses = itertools.cycle(["cancelled", "delayed"])

    def restless(_: dict[str, Any]) -> Any:
        change(overtaken, f"update airline__public.flight set status = '{next(statuses)}' where id = 7")
        return decision(NOTIFY)

    overtaken.model.script = restless
    overtaken.feed(disruption())
    overtaken.work()
    assert len(runs(overtaken)) == 1 + deciding_again.MOST
    *_, (last,) = overtaken.rows("select reason from wake.action order by run")
    assert last.endswith("decided again 3 times already: it stays stale")
    assert not overtaken.receiver.seen


def test_what_waits_for_a_person_is_decided_again_by_itself(overtaken: World) -> None:
    decided(overtaken, ("rebook", {"to_flight": 9, "note": "n"}))
    assert states(overtaken) == {"rebook": "awaiting_approval"}
    overtaken.steward.round(heartbeat=False)
    assert states(overtaken) == {"rebook": "awaiting_approval"}, "nothing has changed"
    change(overtaken, CANCELLED)
    overtaken.steward.round(heartbeat=False)
    overtaken.work()
    found = overtaken.rows("select run, state from wake.action order by run")
    (first, one), (second, two) = found
    assert (one, two) == ("stale", "awaiting_approval")
    assert second == f"{first}/again/1"
    assert dict(runs(overtaken))[first] == "succeeded"


def test_it_waits_until_the_store_shows_what_the_source_has(overtaken: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(deciding_again, "PATIENCE", 0.0)
    decided(overtaken, NOTIFY)
    change(overtaken, CANCELLED)
    assert overtaken.worker.work(overtaken.stop)
    overtaken.rows(
        "update wake.activation set again = again || '{\"wal\": 5000000}' where again is not null returning 1"
    )
    overtaken.work()
    ((state, error),) = overtaken.rows("select state, error from wake.run where id like '%%/again/1'")
    assert state == "pending"
    assert "does not show yet what made" in error
    overtaken.rows('update wake.source_position set "commit" = 5000000 returning 1')
    overtaken.rows("update wake.run set run_at = now(), rank = now() where state = 'pending' returning 1")
    overtaken.work()
    assert [state for _, state in runs(overtaken)] == ["succeeded", "succeeded"]


def test_what_was_looked_up_stays_through_a_retry(overtaken: World) -> None:
    decided(overtaken, NOTIFY)
    change(overtaken, CANCELLED)
    answers: list[Any] = [Status(500), Status(500), decision(NOTIFY)]
    overtaken.model.script = lambda _: answers.pop(0)
    assert overtaken.worker.work(overtaken.stop)
    assert overtaken.worker.work(overtaken.stop)
    change(overtaken, "update airline__public.flight set fare = 1 where id = 8")
    overtaken.rows("update wake.run set run_at = now(), rank = now() where state = 'pending' returning 1")
    assert overtaken.worker.work(overtaken.stop)
    first, second = (json.dumps(each.body["messages"]) for each in overtaken.model.seen[-2:])
    assert first == second


def test_without_it_stale_is_the_end(make_world: MakeWorld, overtaken: World) -> None:
    world = make_world()
    decided(world, NOTIFY)
    change(world, CANCELLED)
    world.work()
    assert states(world) == {"notify": "stale"}
    assert len(runs(world)) == 1


def test_it_makes_no_sense_without_a_fence(make_world: MakeWorld) -> None:
    with pytest.raises(ConfigurationError, match="`fence: none` says that it is never stale"):
        make_world((AGAIN[0], f"{AGAIN[1]}\n    fence: none"))


def seen_now(world: World, event: dict[str, Any]) -> dict[str, Any]:
    with world.own.transaction("test") as connection:
        (text,) = present.of(connection, "airline", [parse(airline.payload(event))])
    return json.loads(text)["data"]


def test_a_row_with_what_is_not_known_of_it(overtaken: World) -> None:
    before, after = airline.flight(7), airline.flight(7, status="delayed")
    del after["crew"]
    event = airline.event("public.flight", before, after, missing=("after.crew", "after.lost"))
    overtaken.rows(
        "insert into wake.missing_value values ('airline', 'public.flight', '{\"id\": 7}', '{remarks}') returning 1"
    )
    change(overtaken, "update airline__public.flight set remarks = 'old', fare = 99.50 where id = 7")
    found = seen_now(overtaken, event)
    assert found["missing"] == ["after.lost", "after.remarks"], "what the store knows is missing no longer"
    assert "remarks" not in found["after"]
    assert found["after"]["crew"] == ["ann", "bob"]
    assert found["changed"] == ["fare", "status"]


def test_unknown_values_inside_a_document(overtaken: World) -> None:
    overtaken.rows(
        "insert into wake.missing_value values ('airline', 'public.flight', '{\"id\": 8}', '{status}') returning 1"
    )
    found = seen_now(overtaken, disruption())
    assert found["missing"] == ["after.alternatives.status"]
    assert [each.get("status") for each in found["after"]["alternatives"]] == ["delayed", None, "on_time"]


def test_a_mirror_behind_a_gap_tells_nothing(overtaken: World) -> None:
    overtaken.rows("update wake.mirror_state set complete = false where \"table\" = 'public.flight' returning 1")
    with pytest.raises(TransientError, match=r"public.flight now cannot be told: its mirror is not complete"):
        seen_now(overtaken, disruption())


def test_a_table_without_key_cannot_be_looked_at(overtaken: World) -> None:
    event = airline.event("public.audit", None, {"id": 1, "note": "x"})
    event["data"]["key"] = {}
    overtaken.rows(
        "insert into wake.mirror_state (source, \"table\", complete, log) values ('airline', 'public.audit', true, 1)"
        " returning 1"
    )
    with pytest.raises(EventError, match="has no primary key"):
        seen_now(overtaken, event)


def test_whoever_dies_over_it_is_followed(overtaken: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker that dies while it takes such a run up leaves nothing half done."""
    decided(overtaken, NOTIFY)
    change(overtaken, CANCELLED)
    assert overtaken.worker.work(overtaken.stop)

    def dies(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(present, "of", dies)
        with pytest.raises(KeyboardInterrupt):
            overtaken.worker.work(overtaken.stop)
    overtaken.rows("update wake.run set lease_until = now() - interval '1 s' where state = 'running' returning 1")
    overtaken.work()
    assert [state for _, state in runs(overtaken)] == ["succeeded", "succeeded"]
    assert overtaken.rows("select count(*) from wake.run_step where step = 'present'") == [(1,)]


def test_of_a_batch_each_event_is_looked_at_again_and_none_is_done_twice(make_world: MakeWorld) -> None:
    bind = "    bind: {customer: after.customer_id}\n"
    world = mirrored(
        make_world(
            ("    fire: enter\n", "    fire: enter\n    batch: {by: after.flight_id, at_most: 2, within: 2s}\n"),
            (bind, f"{bind}    choose: {{booking: {{from: batch, key: id}}}}\n    on_stale: decide_again\n"),
            ("actions: [rebook, notify]", "actions: [notify]"),
        )
    )
    columns = "7, 3, 'confirmed', 'hash:1', null"
    change(world, f"insert into airline__public.booking values (1, {columns}), (2, {columns})")
    notify = [("notify", {"booking": number, "text": "t"}) for number in (1, 2)]
    world.model.script = lambda _: decision(*notify)
    world.feed(disruption(1), disruption(2))
    assert world.worker.work(world.stop)
    assert world.worker.work(world.stop)
    change(world, CANCELLED)
    world.model.script = lambda _: decision(notify[1])
    world.work()
    assert [seen.body["booking"] for seen in world.receiver.seen] == [1, 2]
    (_, (again, state)) = runs(world)
    assert state == "succeeded"
    ((events, done),) = world.rows(
        "select response -> 'events', response -> 'done' from wake.run_step where run = %s and step = 'present'", again
    )
    assert [each["data"]["after"]["flight"]["status"] for each in events] == ["cancelled", "cancelled"]
    assert [(name, chosen["booking"]["id"]) for name, chosen in done] == [("notify", 1)]
    schema = world.model.seen[-1].body["response_format"]["json_schema"]["schema"]
    assert '{"booking": {"enum": [2]}' in json.dumps(schema)
    with world.ledger() as connection:
        connection.execute("drop table airline__public.flight, airline__public.booking")
