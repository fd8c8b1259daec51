"""What people and Prometheus see of a source while it works: the hops of `wake status`, and each process' metrics."""

from __future__ import annotations

import re
from collections.abc import Generator
from pathlib import Path

import pytest
import requests
from prometheus_client.parser import text_string_to_metric_families

from agent.testing import decision
from connectors import status
from connectors.hops import Meter
from localstack import Stack
from localstack.home import free_port
from tests.harness.agent import WakeProcess, World, attached_world
from tests.harness.models import RuledModel
from tests.harness.waiting import eventually

DDL = """
    create table flight (id int primary key, delay int not null);
    insert into flight select n, 0 from generate_series(1, 10) n;
"""

WAKE = """
sources:
  SOURCE:
    capture: "${DATABASE_URL}"
    admin: "${DATABASE_URL}"
    tables: {public.flight: {}}
triggers:
  late: {table: SOURCE.public.flight, when: after.delay > 30, fire: enter, agent: watcher}
agents:
  watcher: {instructions: prompt.md}
models:
  default: {base_url: "${MODEL_URL}", name: scripted}
metrics: {consume: "${CONSUME_METRICS}", agent: "${AGENT_METRICS}", guard: "${GUARD_METRICS}"}
"""


@pytest.fixture
def world(stack: Stack, env: dict[str, str], tmp_path: Path) -> Generator[World]:
    addresses = {f"{part}_METRICS": f"127.0.0.1:{free_port()}" for part in ("CONSUME", "AGENT", "GUARD")}
    prompt = "Row {{ key.id }}: watch\n"
    with (
        RuledModel(lambda _: decision()) as model,
        attached_world(
            stack, env, tmp_path, ddl=DDL, wake=WAKE, prompt=prompt, MODEL_URL=model.url, **addresses
        ) as world,
        WakeProcess(world, "consume"),
        WakeProcess(world, "agent", "--from", "beginning"),
        WakeProcess(world, "guard"),
    ):
        world.wait_mirrored()
        yield world


class Numbers:
    """What a process tells; nothing while it does not answer."""

    def __init__(self, world: World, part: str) -> None:
        try:
            answer = requests.get(f"http://{world.variables[f'{part}_METRICS']}/metrics", timeout=60)
        except requests.ConnectionError:
            self.text = ""
        else:
            assert answer.status_code == 200
            self.text = answer.text
        self._told = {
            (sample.name, frozenset(sample.labels.items())): sample.value
            for family in text_string_to_metric_families(self.text)
            for sample in family.samples
        }

    def of(self, name: str, **labels: str) -> float | None:
        return self._told.get((f"wakestream_{name}", frozenset(labels.items())))


def test_a_change_is_seen_at_every_hop(world: World) -> None:
    world.execute("update flight set delay = 45 where id = 7")
    source = world.source

    def decided() -> bool:
        agent = Numbers(world, "AGENT")
        runs = agent.of("agent_runs_total", trigger="late", outcome="decided")
        return bool(runs) and agent.of("agent_activations_total", trigger="late", state="open") == 1

    eventually(decided, "the agent's numbers")
    consumer = Numbers(world, "CONSUME")
    assert (consumer.of("consumer_events_total", source=source) or 0) >= 11
    assert (consumer.of("consumer_offset", source=source) or 0) >= 11
    assert (consumer.of("consumer_clock_timestamp_seconds", source=source) or 0) > 1.7e9
    eventually(lambda: Numbers(world, "GUARD").of("slot_active", source=source) == 1, "the guard's numbers")
    guard = Numbers(world, "GUARD")
    assert guard.of("slot_retained_bytes", source=source)
    assert guard.of("guard_level", source=source) in (0, 1, 2)
    assert "45" not in re.findall(r'="([^"]*)"', guard.text + consumer.text)  # no label has anything of a row
    _hops(world)


def _hops(world: World) -> None:
    """The clock alone moves every hop each second."""
    meter = Meter()

    def moving() -> bool:
        (found,) = status.status(world.loaded, meter)
        hops = {hop.to: hop for hop in found.hops}
        return list(hops) == ["change log", "context", "agent"] and all(
            hop.events_per_second and hop.behind_seconds is not None and hop.behind_seconds < status.BEHIND
            for hop in found.hops
        )

    eventually(moving, "clocks through every hop")
    (found,) = status.status(world.loaded, over_s=0.1)
    log, context, agent = found.hops
    assert (log.behind_events, agent.behind_bytes) == (None, None)
    assert log.behind_bytes is not None and context.behind_bytes is not None and context.behind_events is not None
    assert agent.behind_events is not None
    assert log.behind_bytes <= context.behind_bytes
    assert [each.events_per_second is not None for each in found.hops] == [True] * 3
    eventually(lambda: status.healthy(status.status(world.loaded)), "wake status is well")
    (told,) = world.wake("status")
    assert [hop["to"] for hop in told["hops"]] == ["change log", "context", "agent"]
