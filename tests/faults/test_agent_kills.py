"""The agent killed at every numbered step while activations run: nothing is lost, nothing happens twice."""

from __future__ import annotations

import os
import random
from collections import Counter
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from agent.testing import offered
from localstack import Stack
from tests.harness.agent import FAILPOINTS, Connection, WakeProcess
from tests.harness.clerk import MIX, Clerk, clerk_world, rule
from tests.harness.clerk_ends import verify_all
from tests.harness.models import RuledModel
from tests.harness.waiting import eventually

ACTIVATIONS = int(os.environ.get("WAKE_ACTIVATIONS") or (2000 if os.environ.get("WAKE_SOAK") else 200))
SEED = int(os.environ["WAKE_SEED"])
SETTLING = 120.0 + ACTIVATIONS / 4  # seconds: the last kill's leases, then what is left


@dataclass(frozen=True)
class Kill:
    """One life of the agent, and how it ends."""

    at: str
    """A failpoint, `a model call` or `a row lock`."""
    over: str | None = None
    """The only ticket that is opened for it has the model propose this, and its action has to stand there."""


OVER = {"_send": ("notify", "tell"), "_produce": ("publish",), "_tool": ("note",), "_call": ("count",)}
"""Of failpoints that only some kinds of action come to: by which actions."""
SENDS = tuple(
    Kill(point, name) for end, names in OVER.items() for point in FAILPOINTS if point.endswith(end) for name in names
)
OTHERS = (
    *(Kill(point) for point in FAILPOINTS if not point.endswith(tuple(OVER))),
    Kill("a model call"),
    Kill("a row lock"),
)
KILLS = (*SENDS, *OTHERS)


@dataclass
class Lives:
    """The lives of the clerk's agent, one after another."""

    clerk: Clerk
    model: RuledModel
    agent: WakeProcess
    reached: list[str] = field(default_factory=list[str])

    def die(self, kill: Kill, count: int) -> None:
        """Let a life of the agent end where `kill` says, with new work before it."""
        added = self.clerk.add(count, (kill.over,) if kill.over else MIX)
        with _held(self, kill.at, added), self.agent:
            _wait_held(self, kill.at)
            if kill.over:
                begun = "select 1 from wake.action where (bound ->> 'ticket')::int = %s and intent is not null"
                eventually(lambda: self.clerk.world.told(begun, added[0]), f"{kill.over} at {kill.at}")
            self.agent.kill()
        self.reached.append(kill.at)


@contextmanager
def _held(lives: Lives, at: str, added: list[int]) -> Generator[None]:
    """Arm a step before the agent starts, and let go of it after its end."""
    match at:
        case "a model call":
            lives.model.hold()
            yield
            lives.model.release()
        case "a row lock":
            with lives.clerk.world.connect() as peer, peer.transaction():
                peer.execute("select 1 from ticket where id = any(%s) for update", (added,))
                yield
        case _:
            lives.agent.hold(at)
            yield
            lives.agent.release(at)


def _wait_held(lives: Lives, at: str) -> None:
    match at:
        case "a model call":
            lives.model.wait_held()
        case "a row lock":
            blocked = (
                "select pid from pg_stat_activity where application_name = 'wake action' and wait_event_type = 'Lock'"
            )
            eventually(lambda: lives.clerk.world.rows(blocked), "an action that waits for the peer's lock")
        case _:
            lives.agent.wait_held(at)


@pytest.fixture
def lives(stack: Stack, env: dict[str, str], tmp_path: Path) -> Iterator[Lives]:
    with (
        RuledModel(rule) as model,
        clerk_world(stack, env, tmp_path, model_url=model.url) as clerk,
        WakeProcess(clerk.world, "consume"),
    ):
        clerk.world.wait_mirrored()
        yield Lives(clerk, model, WakeProcess(clerk.world, "agent", "--from", "beginning"))


@pytest.mark.timeout(900 + 4 * ACTIVATIONS)
def test_agent_killed_at_every_step(lives: Lives) -> None:
    clerk = lives.clerk
    for kill in SENDS:  # first and over one ticket each, so that nothing else takes the workers there
        lives.die(kill, 1)
    others = list(OTHERS)
    random.Random(SEED).shuffle(others)
    for left, kill in zip(range(len(others), 0, -1), others, strict=True):
        lives.die(kill, (ACTIVATIONS - len(clerk.rows)) // left)
        with clerk.world.ledger() as ledger:
            clerk.decide(ledger)
    with lives.agent:
        _wait_settled(lives)
        assert Counter(lives.reached) == Counter(kill.at for kill in KILLS)
        assert len(lives.reached) >= 20
        verify_all(clerk, _asked(lives), deaths=len(KILLS))
        _verify_cut_short(lives)


def _wait_settled(lives: Lives) -> None:
    def settled(ledger: Connection) -> bool:
        assert lives.agent.is_running, lives.agent.log[-3000:]
        lives.clerk.decide(ledger)
        return lives.clerk.is_settled(ledger)

    with lives.clerk.world.ledger() as ledger:
        eventually(lambda: settled(ledger), "all runs final or waiting", within=SETTLING)


def _asked(lives: Lives) -> dict[int, list[float]]:
    """When the clerk's model was asked about each ticket; the agent to whom was handed over is offered nothing."""
    model = lives.model
    return {
        ticket: [call.at for call in model.calls_about(ticket) if offered(call.request)] for ticket in lives.clerk.rows
    }


def _verify_cut_short(lives: Lives) -> None:
    """The kills did hit: what they cut short was repeated where it may be, and is unknown where it may not."""
    asked, world = _asked(lives), lives.clerk.world
    attempts = world.told("select (key ->> 'id')::int, attempts from wake.run where agent = 'clerk'")
    assert all(len(asked[ticket]) <= allowed for ticket, allowed in attempts)
    repeated = sum(len(times) - 1 for times in asked.values())
    assert 1 <= repeated <= 4 * len(KILLS), "some answers died with the agent before they were stored"
    unknown = world.told("select distinct name from wake.action where state = 'unknown'")
    assert {name for (name,) in unknown} == {"tell", "note"}
    deliveries = lives.clerk.target.deliveries()
    assert any(len(bodies) > 1 for bodies in deliveries.values()), "a webhook killed behind its sending is sent again"
