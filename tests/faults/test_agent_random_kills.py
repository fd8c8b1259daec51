"""Agents, consumer and model server killed at random moments while runs go on, and an agent frozen past its leases."""

from __future__ import annotations

import os
import random
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from agent.leases import LEASE
from agent.testing import ANSWER_TOKENS, PROMPT_TOKENS
from localstack import Stack
from tests.harness.agent import Connection, WakeProcess
from tests.harness.clerk import WAKE, Clerk, clerk_world
from tests.harness.clerk_ends import verify_all
from tests.harness.clerk_model import ModelProcess
from tests.harness.waiting import eventually

SOAK = bool(os.environ.get("WAKE_SOAK"))
SEED = int(os.environ["WAKE_SEED"])
ACTIVATIONS, KILLS, FREEZES = (2000, 100, 5) if SOAK else (200, 10, 1)
WORKERS = 4  # of each agent
SETTLING = 120.0 + ACTIVATIONS / 4  # seconds: the last kill's leases, then what is left
TAKING_OVER = 90.0  # seconds: the leases of the frozen agent, then its work

# So little that each budget is spent in some window even where an hour ends meanwhile; the runs first.
RUNS, ANSWERS = ACTIVATIONS // 5, ACTIVATIONS * 9 // 20
TOKENS = PROMPT_TOKENS + ANSWER_TOKENS  # of one answer
BUDGETS = {
    "agent: clerk}": f"agent: clerk, budget: [{{runs: {RUNS}, per: hour, over: queue}}]}}",
    "lookups: [earlier], actions:": "lookups: [earlier],"
    f" budget: [{{tokens: {ANSWERS * TOKENS}, per: hour, over: approve}}], actions:",
}

PROGRESS = """
    select (select count(*) from wake.activation) + (select count(*) from wake.action where executed_at is not null)
    + (select count(*) from wake.run_step where step like 'model:%')
"""
HELD = """
    select id, attempts from wake.run where state = 'running' and split_part(lease_by, '/', 2) = %(pid)s
    union all
    select id, attempts from wake.action where state = 'executing' and split_part(lease_by, '/', 2) = %(pid)s
"""
CLAIMED = """
    select (key ->> 'id')::int, extract(epoch from lease_until)::float - %(lease)s from wake.run
    where agent = 'clerk' and state = 'running' and split_part(lease_by, '/', 2) = %(pid)s
"""
MOVING = """
    select id, state, attempts, lease_by, lease_until, error from wake.run
    where id = any(%(ids)s) and state in ('pending', 'running')
    union all
    select id, state, attempts, lease_by, lease_until, reason from wake.action
    where id = any(%(ids)s) and state in ('approved', 'executing')
"""
ATTEMPTS = """
    select id, attempts from wake.run where id = any(%(ids)s)
    union all
    select id, attempts from wake.action where id = any(%(ids)s)
"""
BLOCKED = """
    select pid, application_name, state, now() - xact_start, pg_blocking_pids(pid), left(query, 100)
    from pg_stat_activity where datname = current_database() and state <> 'idle'
"""
WRITTEN = """
    select run, step, at::text, response::text from wake.run_step where run = any(%(ids)s)
    union all
    select id, state, executed_at::text, result::text from wake.action where id = any(%(ids)s) order by 1, 2
"""


@dataclass
class Chaos:
    """The clerk's world with everything that is killed in it."""

    clerk: Clerk
    model: ModelProcess
    consumer: WakeProcess
    agents: list[WakeProcess]
    ledger: Connection
    dice: random.Random
    unsure: set[int] = field(default_factory=set[int])
    """Tickets whose worker was frozen before the model had seen its question."""

    def work(self, count: int) -> None:
        """Open so many tickets, and come back at a random moment of what they lead to."""
        first = self.dice.randint(1, max(count, 1))
        before = self._progress()
        self.clerk.add(first)
        wanted = before + self.dice.randint(1, first)
        eventually(lambda: self._progress() >= wanted, "progress", within=TAKING_OVER)
        self.clerk.add(max(count - first, 0))

    def strike(self, whom: str) -> None:
        """Kill somebody and start him again, or freeze an agent past its leases."""
        match whom:
            case "model":
                self.model.kill()
                self.model.start()
            case "consumer":
                self.consumer.kill()
                self.consumer.start()
            case "agent":
                agent = self.dice.choice(self.agents)
                agent.kill()
                agent.start()
            case _:
                agent = self.dice.choice(self.agents)
                while not self._freeze(agent):  # what it seemed to hold was just ended
                    pass

    def tend(self) -> None:
        """What people do meanwhile: decide on what awaits them, and let go what the budgets hold."""
        self.clerk.decide(self.ledger)
        self.clerk.let_go(self.ledger)

    def is_settled(self) -> bool:
        for process in (self.consumer, *self.agents):
            assert process.is_running, process.log[-3000:]
        self.tend()
        return self.clerk.is_settled(self.ledger)

    def _progress(self) -> int:
        ((count,),) = self.ledger.execute(PROGRESS).fetchall()
        return count

    def _freeze(self, agent: WakeProcess) -> bool:
        """Freeze it over its work until another has finished that; then it may not write anything any more.

        Returns whether another has.
        """
        said = agent.log.count("lease_lost")
        held = eventually(lambda: self._caught(agent), "an agent frozen over its work")
        self._note_unasked(agent)
        try:
            eventually(lambda: not self._moving(agent, held), "its work done by another", within=TAKING_OVER)
            taken = self._taken(held)
            written = self._written(taken)
        except AssertionError as error:
            error.add_note(f"left: {self._moving(agent, held)}; who waits for whom: {self._blocked()}")
            raise
        finally:
            agent.thaw()
        eventually(lambda: agent.log.count("lease_lost") >= said + len(taken), "it sees that it lost its work")
        assert self._written(taken) == written
        return bool(taken)

    def _caught(self, agent: WakeProcess) -> dict[str, int]:
        """Frozen while it holds work: which, in which attempt. Otherwise it goes on, with more to do."""
        agent.freeze()
        held = self._held(agent)
        if not held:
            agent.thaw()
            self.clerk.add(1)
            self.tend()
        return held

    def _held(self, agent: WakeProcess) -> dict[str, int]:
        return dict(self.ledger.execute(HELD, {"pid": str(agent.pid)}).fetchall())

    def _note_unasked(self, agent: WakeProcess) -> None:
        asked = self.model.asked()
        for ticket, claimed in self.ledger.execute(CLAIMED, {"pid": str(agent.pid), "lease": LEASE}).fetchall():
            if max(asked[ticket], default=0.0) < claimed:
                self.unsure.add(ticket)

    def _moving(self, agent: WakeProcess, held: dict[str, int]) -> list[tuple[Any, ...]]:
        """What is left to do of the work that the frozen agent held, or holds."""
        self.tend()
        return self.ledger.execute(MOVING, {"ids": list({**held, **self._held(agent)})}).fetchall()

    def _taken(self, held: dict[str, int]) -> list[str]:
        """What another has claimed; what its holder was just ending when it was frozen does not count."""
        found = self.ledger.execute(ATTEMPTS, {"ids": list(held)}).fetchall()
        return [thing for thing, attempts in found if attempts > held[thing]]

    def _blocked(self) -> list[tuple[Any, ...]]:
        return self.ledger.execute(BLOCKED).fetchall()

    def _written(self, taken: list[str]) -> list[tuple[str, ...]]:
        return self.ledger.execute(WRITTEN, {"ids": taken}).fetchall()


@pytest.fixture
def chaos(stack: Stack, env: dict[str, str], tmp_path: Path) -> Iterator[Chaos]:
    wake = WAKE
    for plain, limited in BUDGETS.items():
        assert plain in wake
        wake = wake.replace(plain, limited)
    arguments = ("agent", "--share", "--from", "beginning", "--workers", str(WORKERS))
    with (
        ModelProcess(tmp_path) as model,
        clerk_world(stack, env, tmp_path, model_url=model.url, wake=wake) as clerk,
        WakeProcess(clerk.world, "consume") as consumer,
    ):
        clerk.world.wait_mirrored()
        with (
            WakeProcess(clerk.world, *arguments, name="one") as one,
            WakeProcess(clerk.world, *arguments, name="other") as other,
            clerk.world.ledger() as ledger,
        ):
            yield Chaos(clerk, model, consumer, [one, other], ledger, random.Random(SEED))


@pytest.mark.timeout(900 + 4 * ACTIVATIONS)
def test_killed_at_random_moments(chaos: Chaos) -> None:
    victims = ["agent", "consumer", "model"] * KILLS
    strikes = victims[:KILLS] + ["freeze"] * FREEZES
    chaos.dice.shuffle(strikes)
    for left, whom in zip(range(len(strikes), 0, -1), strikes, strict=True):
        chaos.work((ACTIVATIONS - len(chaos.clerk.rows)) // left)
        chaos.strike(whom)
        chaos.tend()
    eventually(chaos.is_settled, "all runs final or waiting", within=SETTLING)
    assert len(chaos.clerk.rows) >= ACTIVATIONS
    verify_all(chaos.clerk, chaos.model.asked(), deaths=len(strikes), unsure=chaos.unsure)
    _verify_run_budget(chaos)
    _verify_token_budget(chaos)


def _verify_run_budget(chaos: Chaos) -> None:
    """Once so many runs have begun in a window, none does that nobody let go."""
    begun = chaos.clerk.world.told(
        "select let_go_by is not null, row_number() over"
        " (partition by date_trunc('hour', admitted_at, 'UTC') order by admitted_at)"
        " from wake.run where admitted_at is not null"
    )
    assert [number for let_go, number in begun if number > RUNS and not let_go] == []
    assert _spent(chaos, "trigger opened: runs per hour")


def _verify_token_budget(chaos: Chaos) -> None:
    """Once it is spent, only calls that were under way are answered for runs that nobody let go."""
    answered = chaos.clerk.world.told(
        "select date_trunc('hour', s.at, 'UTC'), r.let_go_by is not null, sum(s.tokens_in + s.tokens_out) over"
        " (partition by date_trunc('hour', s.at, 'UTC') order by s.at rows unbounded preceding)"
        " from wake.run_step s join wake.run r on r.id = s.run where r.agent = 'clerk' and s.step like 'model:%'"
    )
    over = [hour for hour, let_go, spent in answered if spent > ANSWERS * TOKENS and not let_go]
    assert all(over.count(hour) <= WORKERS * len(chaos.agents) for hour in over), over
    assert _spent(chaos, "agent clerk: tokens per hour")


def _spent(chaos: Chaos, scope: str) -> bool:
    """Whether the budget did hold something back."""
    held = "select 1 from wake.spend where scope = %s and exhausted_at is not null"
    return bool(chaos.clerk.world.told(held, scope))
