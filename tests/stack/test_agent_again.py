"""A decision that the source overtakes while it is carried out is made again on what is there then."""

from __future__ import annotations

from collections.abc import Generator

import pytest

from agent.testing import Reaction, decision
from localstack import Stack
from tests.harness.agent import WakeProcess, World, attached_world
from tests.harness.models import Call, RuledModel
from tests.harness.waiting import eventually
from tests.stack.test_agent_injection import CHEAP, DDL, PROMPT, WAKE

LATER = 40
"""A booking that is rebooked by its passenger while the model thinks about it."""


class Passengers:
    """Decides as the model, and lets the world change while it does."""

    def __init__(self) -> None:
        self.meanwhile: dict[int, str] = {}
        self.world: World | None = None

    def answer(self, call: Call) -> Reaction:
        statement = self.meanwhile.pop(call.row, None)
        if statement and self.world:
            self.world.execute(statement)
        return decision(("rebook", {"to_flight": CHEAP, "note": "moved"}))


@pytest.fixture(scope="module")
def passengers() -> Passengers:
    return Passengers()


@pytest.fixture(scope="module")
def model(passengers: Passengers) -> Generator[RuledModel]:
    with RuledModel(passengers.answer) as served:
        yield served


@pytest.fixture(scope="module")
def world(
    stack: Stack,
    env: dict[str, str],
    tmp_path_factory: pytest.TempPathFactory,
    model: RuledModel,
    passengers: Passengers,
) -> Generator[World]:
    wake = WAKE.replace("rows: 1\n", "rows: 1\n    on_stale: decide_again\n")
    directory = tmp_path_factory.mktemp("again")
    with (
        attached_world(stack, env, directory, ddl=DDL, wake=wake, prompt=PROMPT, MODEL_URL=model.url) as world,
        WakeProcess(world, "consume"),
        WakeProcess(world, "agent", "--from", "beginning"),
    ):
        world.wait_mirrored()
        passengers.world = world
        yield world


def settled(world: World, booking: int, runs: int) -> list[tuple[str, str]]:
    """The runs about a booking, in their order, once so many are over."""
    query = (
        "select id, state from wake.run where key ->> 'id' = %s and state in ('succeeded', 'cancelled', 'failed')"
        " order by created_at"
    )
    return eventually(
        lambda: found if len(found := world.told(query, str(booking))) == runs else None, f"{runs} runs that are over"
    )


def test_what_the_source_has_changed_is_decided_on_as_it_is_then(
    world: World, model: RuledModel, passengers: Passengers
) -> None:
    passengers.meanwhile[30] = "update flight set fare = 160 where id = 8"
    world.execute("insert into booking values (30, 7, null, 'window')")
    (first, _), (second, state) = settled(world, 30, 2)
    assert (second, state) == (f"{first}/again/1", "succeeded")
    ((reason, differences),) = world.told(
        "select reason, result -> 'differences' from wake.action where run = %s and state = 'stale'", first
    )
    assert differences == ["public.flight/8 fare: 150.00 -> 160.00"]
    assert reason.endswith(f"decided again by run {second}")
    asked = [call.request["messages"][1]["content"] for call in model.calls_about(30)]
    assert ["150.00" in each for each in asked] == [True, False]
    assert "160.00" in asked[1]
    assert world.told("select state, result ->> 'fence' from wake.action where run = %s", second) == [
        ("succeeded", "locked")
    ]
    assert dict(world.rows("select id, flight_id from booking"))[30] == CHEAP
    tree = world.wake_text("runs", "tree", second)
    assert "again booking/30" in tree


def test_who_has_helped_himself_is_left_alone(world: World, model: RuledModel, passengers: Passengers) -> None:
    passengers.meanwhile[LATER] = f"update booking set flight_id = 9 where id = {LATER}"
    world.execute(f"insert into booking values ({LATER}, 7, null, 'aisle')")
    (first, _), (_, state) = settled(world, LATER, 2)
    assert state == "cancelled"
    assert len(model.calls_about(LATER)) == 1
    assert dict(world.rows("select id, flight_id from booking"))[LATER] == 9
    assert world.insights.run(first).state == "succeeded"
