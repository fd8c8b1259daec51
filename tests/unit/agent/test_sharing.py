from __future__ import annotations

import threading

import pytest

from agent import sharing
from agent.intake import Intake
from agent.sharing import Shares
from tests.unit.agent import airline
from tests.unit.agent.conftest import World

PLACE = (airline.TOPIC, 0)


def test_who_has_stopped_lets_the_group_go_on(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sharing, "LETTING_GO", None)  # whoever waits in vain waits for ever
    shares, stop = Shares(), threading.Event()
    shares.follow(frozenset({PLACE}))
    assert shares.now() == {PLACE}
    stop.set()
    Intake(world.program, world.own, name="shared", start="end", wake=lambda _: None, shares=shares).run(stop)
    shares.follow(frozenset())
    assert shares.now() == frozenset()
