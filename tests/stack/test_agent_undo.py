"""An SQL action is taken back with the before-images of the change log, unless somebody was there since."""

from __future__ import annotations

from collections.abc import Generator

import pytest

from agent.testing import decision
from console import views
from localstack import Stack
from tests.harness.agent import WakeProcess, World, attached_world
from tests.harness.models import RuledModel
from tests.harness.waiting import eventually
from tests.stack.test_agent_injection import CHEAP, DDL, PROMPT, WAKE
from wakestream.errors import RefusedError

# A trigger of the source changes another row in the same transaction.
TRIGGER = """
    create table tally (flight_id int primary key, moved int not null);
    insert into tally values (8, 0);
    create function tally() returns trigger language plpgsql as
      $$ begin update tally set moved = moved + 1 where flight_id = new.flight_id; return new; end $$;
    create trigger tally after update on booking for each row execute function tally();
"""
UNDO = """undo: update booking set flight_id = :before_flight_id, note = :before_note where id = :booking
    rows: 1
"""


@pytest.fixture(scope="module")
def world(stack: Stack, env: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Generator[World]:
    wake = WAKE.replace("rows: 1\n", UNDO).replace("public.flight: {}", "public.flight: {}, public.tally: {}")
    with (
        RuledModel(lambda _: decision(("rebook", {"to_flight": CHEAP, "note": "moved"}))) as model,
        attached_world(
            stack,
            env,
            tmp_path_factory.mktemp("undo"),
            ddl=DDL + TRIGGER,
            wake=wake,
            prompt=PROMPT,
            MODEL_URL=model.url,
        ) as world,
        WakeProcess(world, "consume"),
        WakeProcess(world, "agent", "--from", "beginning"),
    ):
        world.wait_mirrored()
        yield world


def rebooked(world: World, number: int) -> str:
    """The action that moved a booking, once the change log has told all it changed."""
    world.execute("insert into booking values (%s, 7, 'window', 'x')", number)
    query = (
        "select a.id from wake.action a join wake.run r on r.id = a.run join wake.receipt p on p.action = a.id"
        " where r.key ->> 'id' = %s and a.state = 'succeeded'"
        " and p.rows = (select count(*) from wake.changed_row c where c.action = a.id)"
    )
    ((action,),) = eventually(lambda: world.told(query, str(number)), "the action with all it changed")
    assert booking(world, number) == (CHEAP, "moved")
    return action


def booking(world: World, number: int) -> tuple[int, str]:
    found = {each: (flight, note) for each, flight, note in world.rows("select id, flight_id, note from booking")}
    return found[number]


def over(world: World, action: str) -> views.ActionStory:
    return eventually(
        lambda: found if (found := world.insights.action(action)).state in ("succeeded", "stale", "failed") else None,
        "the undo",
    )


def test_it_is_taken_back_by_an_action_of_its_own(world: World) -> None:
    action = rebooked(world, 101)
    with pytest.raises(RefusedError, match="needs its reason"):
        world.operations.undo(action, None)
    decided = world.operations.undo(action, "wrong flight")
    assert decided.id == f"{action}/undo"
    undo = over(world, decided.id)
    assert undo.state == "succeeded", undo.reason
    assert undo.effect["text"] == "update booking set flight_id = 7, note = 'window' where id = 101"
    assert undo.result is not None
    assert undo.result["fence"] == "locked"
    assert booking(world, 101) == (7, "window")
    eventually(lambda: isinstance(world.insights.action(undo.id).receipt, views.Receipt), "its receipt")
    assert [deed.what for deed in world.insights.action(undo.id).history] == ["action.approve"]
    assert "action.undo" in [deed.what for deed in world.insights.action(action).history]
    with pytest.raises(RefusedError, match="taken back already"):
        world.operations.undo(action, "again")
    with pytest.raises(RefusedError, match="declares no `undo`"):
        world.operations.undo(undo.id, "no, after all")


def test_a_row_that_was_changed_since_is_a_conflict(world: World) -> None:
    action = rebooked(world, 102)
    world.execute("update booking set note = 'by hand' where id = 102")
    mirrored = f"select note from {world.source}__public.booking where id = 102"
    eventually(lambda: world.told(mirrored) == [("by hand",)], "the store to see it")
    why = 'somebody was there after action .*: public.booking/102 note: "moved" -> "by hand"'
    with pytest.raises(RefusedError, match=why):
        world.operations.undo(action, "wrong flight")
    assert booking(world, 102) == (CHEAP, "by hand")


def test_a_conflict_right_before_it_is_seen_in_its_transaction(world: World) -> None:
    action = rebooked(world, 103)
    with world.connect() as other:
        other.autocommit = False
        other.execute("update booking set note = 'just now' where id = 103")
        decided = world.operations.undo(action, "wrong flight")
        waiting = "select 1 from pg_locks where not granted"
        eventually(lambda: world.rows(waiting), "the undo to wait for the row")
        other.commit()
    undo = over(world, decided.id)
    assert undo.state == "stale"
    # The source's own trigger has counted that change, too.
    assert undo.reason == 'public.booking/103 note: "moved" -> "just now"; public.tally/8 moved: 4 -> 5'
    assert booking(world, 103) == (CHEAP, "just now")
