"""The ledger crashes and takes back what the agent has committed: activations are committed without waiting for it."""

from __future__ import annotations

import os
import signal
from collections.abc import Generator
from contextlib import contextmanager, suppress
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
WRITERS = "from pg_stat_activity where backend_type in ('walwriter', 'background writer', 'checkpointer')"


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
    """Nobody puts on the ledger's disk what no commit waits for."""
    url = Cluster("ledger-db", stack.home).url("postgres", "postgres")
    with psycopg.connect(url, autocommit=True) as admin:
        writers = [pid for (pid,) in admin.execute(f"select pid {WRITERS}".encode())]
        assert len(writers) == 3

        def stopped_at_rest() -> bool:
            _send(signal.SIGSTOP, writers)
            at_rest = f"select count(*) {WRITERS} and wait_event_type = 'Activity'"  # none holds a lock
            if admin.execute(at_rest.encode()).fetchone() == (len(writers),):
                return True
            _send(signal.SIGCONT, writers)
            return False

        eventually(stopped_at_rest, "the ledger's writers at rest")
    try:
        yield
    finally:
        _send(signal.SIGCONT, writers)


def _send(what: signal.Signals, processes: list[int]) -> None:
    for process in processes:
        with suppress(ProcessLookupError):  # it has died with its server
            os.kill(process, what)
