"""A backlog of runs is worked off without growth of memory; `benchmarks` does the same with a hundred thousand."""

from __future__ import annotations

import gc
import tracemalloc

from agent import testing
from tests.unit.agent.airline import disruption
from tests.unit.agent.conftest import World

FIRST, REST = 100, 250
GROWTH = 250_000
"""Bytes; 250 runs that left their event, prompt and answer behind would be millions."""


def test_a_backlog_leaves_nothing_behind(world: World) -> None:
    def answer(_request: dict[str, object]) -> testing.Reaction:
        world.model.seen.clear()
        return testing.decision()

    world.model.script = answer
    world.feed(*(disruption(number) for number in range(FIRST + REST)))
    for _ in range(FIRST):  # what is kept for good is made: connections, prepared statements, compiled programs
        assert world.worker.work(world.stop)
    gc.collect()
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        while world.worker.work(world.stop):
            pass
        gc.collect()
        after, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert world.rows("select state, count(*) from wake.run group by 1") == [("succeeded", FIRST + REST)]
    assert after - before < GROWTH
