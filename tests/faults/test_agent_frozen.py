"""An agent frozen past its leases right before what cannot be undone: another does its work, and it wakes too late."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from localstack import Stack
from tests.harness.agent import WakeProcess
from tests.harness.clerk import Clerk, clerk_world
from tests.harness.clerk_model import ModelProcess
from tests.harness.waiting import eventually

ARGUMENTS = ("agent", "--share", "--from", "beginning")
POINTS = {"agent.6.before_send": "tell", "agent.5.before_model": "none", "agent.3.before_commit": "none"}
"""Where the agent stands when it is frozen, in this order, each over a ticket that has the model propose that."""


@dataclass
class Scene:
    clerk: Clerk
    model: ModelProcess


@pytest.fixture
def scene(stack: Stack, env: dict[str, str], tmp_path: Path) -> Iterator[Scene]:
    with (
        ModelProcess(tmp_path) as model,
        clerk_world(stack, env, tmp_path, model_url=model.url) as clerk,
        WakeProcess(clerk.world, "consume"),
    ):
        clerk.world.wait_mirrored()
        yield Scene(clerk, model)


def test_a_frozen_agent_wakes_too_late(scene: Scene) -> None:
    clerk = scene.clerk
    with WakeProcess(clerk.world, *ARGUMENTS, name="frozen") as frozen:
        for point, say in POINTS.items():
            frozen.hold(point)
            clerk.add(1, (say,))
            frozen.wait_held(point)
        frozen.freeze()
        with WakeProcess(clerk.world, *ARGUMENTS, name="other"):
            try:
                eventually(lambda: _is_settled(clerk), "its work done by another", within=120.0)
            finally:
                frozen.thaw()
            _verify(scene)
            for point in POINTS:
                frozen.release(point)
            eventually(lambda: frozen.log.count("lease_lost") >= 2, "it sees that it lost its run and its action")
            _verify(scene)


def _is_settled(clerk: Clerk) -> bool:
    with clerk.world.ledger() as ledger:
        return clerk.is_settled(ledger)


def _verify(scene: Scene) -> None:
    """Each ticket was asked about once, and nobody sent what another had to call unknown."""
    assert {ticket: len(times) for ticket, times in scene.model.asked().items()} == {1: 1, 2: 1, 3: 1}
    assert scene.clerk.target.deliveries() == {}
    assert scene.clerk.world.told("select name, state from wake.action") == [("tell", "unknown")]
