"""Several consumers and agents share a source: each has a part, and what one leaves another takes over."""

from __future__ import annotations

import os
import signal
from collections.abc import Generator, Sequence
from contextlib import ExitStack
from pathlib import Path

import pytest

from agent.testing import Reaction, decision
from localstack import Stack
from tests.harness.agent import WakeProcess, World, attached_world
from tests.harness.context import ContextLog, Raw
from tests.harness.models import Call, RuledModel
from tests.harness.waiting import eventually
from wakestream import topics

DDL = "create table door (id int primary key, state text)"

WAKE = """
sources:
  SOURCE:
    capture: "${DATABASE_URL}"
    admin: "${DATABASE_URL}"
    tables: {public.door: {}}
triggers:
  opened: {table: SOURCE.public.door, when: after.state == 'open', fire: enter, agent: watcher}
agents:
  watcher: {instructions: prompt.md}
models:
  default: {base_url: "${MODEL_URL}", name: scripted}
"""
DOORS = 30


def _rule(_: Call) -> Reaction:
    return decision()


@pytest.fixture
def world(stack: Stack, env: dict[str, str], tmp_path: Path) -> Generator[World]:
    with (
        RuledModel(_rule) as model,
        attached_world(
            stack, env, tmp_path, ddl=DDL, wake=WAKE, prompt="Row {{ key.id }}: watch\n", MODEL_URL=model.url
        ) as world,
    ):
        world.execute("insert into door select n, 'shut' from generate_series(1, %s) n", DOORS)
        yield world


def open_and_shut(world: World) -> None:
    """Every door is opened once more and shut again."""
    world.execute("update door set state = 'open'")
    world.execute("update door set state = 'shut'")


def wait_activations(world: World, times: int) -> None:
    def counted() -> bool:
        rows = world.told("select key #>> '{id}', count(*) from wake.activation group by 1")
        return sorted(rows) == sorted((str(door), times) for door in range(1, DOORS + 1))

    eventually(counted, f"{times} activations of each door", within=90.0)
    verify_runs(world)


def verify_runs(world: World) -> None:
    """No activation was made twice, and none has two runs."""
    assert world.told("select activation, count(*) from wake.run group by 1 having count(*) > 1") == []


def owners(world: World) -> set[str]:
    """The agents that read the context topic, as they name themselves."""
    topic = topics.context(world.source)
    return {owner for (owner,) in world.told("select owner from wake.partition_position where topic = %s", topic)}


def consumer_of(world: World) -> int:
    """The process that consumes the source."""
    ((owner,),) = world.told("select owner from wake.source_position where source = %s", world.source)
    return int(str(owner).rpartition(":")[2])


def by_pid(processes: Sequence[WakeProcess], pid: int) -> WakeProcess:
    return next(each for each in processes if each.pid == pid)


def test_agents_share_the_partitions_and_take_over(world: World) -> None:
    with ExitStack() as running:
        running.enter_context(WakeProcess(world, "consume"))
        agents = [
            running.enter_context(
                WakeProcess(world, "agent", "--share", "--from", "beginning", "--workers", str(number))
            )
            for number in (2, 3)
        ]
        world.wait_mirrored()
        eventually(lambda: len(owners(world)) == 2, "both agents at work")
        open_and_shut(world)
        wait_activations(world, 1)
        agents[0].kill()
        open_and_shut(world)
        wait_activations(world, 2)
        assert len(owners(world)) == 1
        os.kill(agents[1].pid, signal.SIGSTOP)
        third = running.enter_context(WakeProcess(world, "agent", "--share", "--workers", "4"))
        before = owners(world)
        eventually(lambda: owners(world).isdisjoint(before), "the third agent at all partitions", within=90.0)
        os.kill(agents[1].pid, signal.SIGCONT)
        open_and_shut(world)
        wait_activations(world, 3)
        eventually(lambda: len(owners(world)) == 2, "the one that was frozen back at work", within=90.0)
        open_and_shut(world)
        wait_activations(world, 4)
        assert third.stop() == 0
        open_and_shut(world)
        wait_activations(world, 5)
        assert agents[1].stop() == 0


def test_consumers_take_a_source_over(world: World) -> None:
    with ExitStack() as running:
        consumers = [
            running.enter_context(WakeProcess(world, "consume", "--share", "--source", world.source)),
            running.enter_context(WakeProcess(world, "consume", "--share")),
        ]
        world.wait_mirrored()
        first = consumer_of(world)
        world.execute("update door set state = 'open' where id <= 10")
        by_pid(consumers, first).kill()
        eventually(lambda: consumer_of(world) != first, "the other consumer at the source", within=90.0)
        second = consumer_of(world)
        os.kill(second, signal.SIGSTOP)
        third = running.enter_context(WakeProcess(world, "consume", "--share"))
        eventually(lambda: consumer_of(world) == third.pid, "a third consumer at the source", within=90.0)
        world.execute("update door set state = 'open' where id > 10")
        os.kill(second, signal.SIGCONT)
        assert third.stop() == 0
        eventually(lambda: consumer_of(world) == second, "the one that was frozen back at the source", within=90.0)
        world.execute("update door set state = 'shut'")
        eventually(lambda: len(updates(world)) == 2 * DOORS, "every update as an event", within=90.0)
        assert len({each.event["id"] for each in updates(world)}) == 2 * DOORS
        assert by_pid(consumers, second).stop() == 0


def updates(world: World) -> list[Raw]:
    context = ContextLog.read(world.loaded.config.kafka, topics.context(world.source))
    return context.of_type("row.updated")
