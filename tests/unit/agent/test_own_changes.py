"""An action is judged beside what those before it in its run have done, whenever that becomes known."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from agent import actions, own_changes
from tests.unit.agent.airline import disruption
from tests.unit.agent.conftest import MakeWorld
from wakestream.fences import Fence, Present


@pytest.mark.parametrize(("told_at_look", "state"), [(2, "succeeded"), (99, "stale")])
def test_what_is_told_between_comparing_and_judging_makes_nothing_stale(
    make_world: MakeWorld, monkeypatch: pytest.MonkeyPatch, told_at_look: int, state: str
) -> None:
    world = make_world(("actions: [rebook, notify]", "actions: [notify]"))
    looks = list[Fence]()

    def accepted(_connection: Any, _action: str, fence: Fence) -> Fence:
        looks.append(fence)
        return msgspec.structs.replace(fence, without=["ours"]) if len(looks) >= told_at_look else fence

    def compared(_connection: Any, fence: Fence) -> Present:
        return Present(() if fence.without else ("public.booking/42 status: 1 -> 2",), (), False, ())

    monkeypatch.setattr(own_changes, "accepted", accepted)
    monkeypatch.setattr(actions.fences, "compare_with_store", compared)
    world.feed(disruption())
    world.work()
    assert world.action("notify")["state"] == state
    assert len(world.receiver.seen) == (state == "succeeded")
