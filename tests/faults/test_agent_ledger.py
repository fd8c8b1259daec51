"""The ledger crashes and takes back what the agent has committed: activations are committed without waiting for it."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import psycopg

from localstack import Stack
from localstack.postgres import Cluster
from tests.harness.agent import WakeProcess
from tests.harness.clerk import Clerk, clerk_world
from tests.harness.clerk_model import ModelProcess
from tests.harness.waiting import eventually

CLAIMED = "agent.4.after_claim"
ACTIVATIONS = "select count(*) from wake.activation"
BEFORE, LOST = 2, 3  # tickets


def test_what_a_crash_takes_back_is_read_again(stack: Stack, env: dict[str, str], tmp_path: Path) -> None:
    """Its positions go with it, so that nothing is passed over; and nothing that was answered is asked again."""
    with (
        ModelProcess(tmp_path) as model,
        clerk_world(stack, env, tmp_path, model_url=model.url) as clerk,
        WakeProcess(clerk.world, "consume"),
        WakeProcess(clerk.world, "agent", "--from", "beginning") as agent,
    ):
        clerk.world.wait_mirrored()
        clerk.add(BEFORE, ("none",))
        _wait_settled(clerk)
        with _lazy(stack):
            agent.hold(CLAIMED)
            clerk.add(LOST, ("none",))
            agent.wait_held(CLAIMED)
            assert clerk.world.told(ACTIVATIONS)[0][0] > BEFORE
            stack.kill("ledger-db")
            stack.start_part("ledger-db")
            assert clerk.world.told(ACTIVATIONS) == [(BEFORE,)], "the crash has taken back what was committed"
            agent.release(CLAIMED)
            _wait_settled(clerk)
        assert {ticket: len(times) for ticket, times in model.asked().items()} == dict.fromkeys(clerk.rows, 1)
        assert agent.is_running


def _wait_settled(clerk: Clerk) -> None:
    def settled() -> bool:
        with clerk.world.ledger() as ledger:
            return clerk.is_settled(ledger)

    eventually(settled, "every run is over", within=120.0)


@contextmanager
def _lazy(stack: Stack) -> Generator[None]:
    """The ledger writes what nobody waits for as late as it can."""
    url = Cluster("ledger-db", stack.home).url("postgres", "postgres")

    def told(*statements: str) -> None:
        with psycopg.connect(url, autocommit=True) as admin:
            for statement in statements:
                admin.execute(statement.encode())

    settings = {"wal_writer_delay": "10s", "wal_writer_flush_after": "1GB"}
    told(*(f"alter system set {name} = '{value}'" for name, value in settings.items()), "select pg_reload_conf()")
    try:
        yield
    finally:
        told(*(f"alter system reset {name}" for name in settings), "select pg_reload_conf()")
