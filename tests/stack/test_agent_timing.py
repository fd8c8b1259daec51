"""Waits on the real stack: by the source's own clock, over a backlog, and across a restart of the agent."""

from __future__ import annotations

from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest

from agent.testing import SCRIPTS, ScriptedModel
from localstack import Stack
from tests.harness.agent import WakeProcess, World, attached_world
from tests.harness.waiting import eventually

DDL = """
    create table door (id int primary key, state text, answered boolean not null default false, house int not null);
"""
WAKE = """
sources:
  SOURCE:
    capture: "${DATABASE_URL}"
    admin: "${DATABASE_URL}"
    tables: {public.door: {}}
triggers:
  held: {table: SOURCE.public.door, when: after.state == 'open', fire: enter, hold: 2s, agent: watcher}
  unanswered:
    {table: SOURCE.public.door, when: after.state == 'rung', fire: enter, agent: watcher,
     absent: {event: after.answered, within: 2s}}
  lasting: {table: SOURCE.public.door, when: after.state == 'open', fire: enter, hold: 1h, agent: watcher}
  unheard:
    {table: SOURCE.public.door, when: after.state == 'rung', fire: enter, agent: watcher,
     absent: {event: after.answered, within: 1h}}
  shaken:
    {table: SOURCE.public.door, when: "'state' in changed", fire: change, agent: watcher,
     debounce: {quiet: 1s, at_most: 30s}}
  house:
    {table: SOURCE.public.door, when: after.state == 'burning', fire: enter, agent: watcher,
     batch: {by: after.house, at_most: 50, within: 1s}}
agents:
  watcher: {instructions: prompt.md}
models:
  default: {base_url: "${MODEL_URL}", name: scripted}
"""
PROMPT = """\
{% for each in events %}
Door {{ each.key.id }}: {{ each.before.state if each.before }} to {{ each.after.state }}
{% endfor %}
"""


@pytest.fixture(scope="module")
def model() -> Generator[ScriptedModel]:
    with ScriptedModel(SCRIPTS["decide_none"]) as model:
        yield model


@pytest.fixture(scope="module")
def world(stack: Stack, env: dict[str, str], tmp_path_factory: pytest.TempPathFactory, model: ScriptedModel) -> Any:
    directory: Path = tmp_path_factory.mktemp("timing")
    with (
        attached_world(stack, env, directory, ddl=DDL, wake=WAKE, prompt=PROMPT, MODEL_URL=model.url) as world,
        WakeProcess(world, "consume"),
    ):
        world.wait_mirrored()
        yield world


@pytest.fixture
def agent(world: World) -> Generator[WakeProcess]:
    with WakeProcess(world, "agent", "--from", "beginning") as agent:
        yield agent


def states(world: World, trigger: str, *keys: int) -> dict[int, tuple[str, str]]:
    """State of the newest activation and the reason's beginning, by key."""
    rows = world.told(
        "select (key ->> 'id')::int, state, coalesce(reason, '') from wake.activation"
        " where trigger = %s order by created_at, id",
        trigger,
    )
    return {key: (state, reason.partition(":")[0]) for key, state, reason in rows if key in keys}


def test_time_passes_where_nothing_happens(world: World, agent: WakeProcess) -> None:
    world.execute("insert into door values (1, 'open', false, 1), (2, 'rung', false, 1)")
    eventually(lambda: states(world, "held", 1) == {1: ("done", "")}, "what lasted")
    eventually(lambda: states(world, "unanswered", 2) == {2: ("done", "")}, "what stayed away")


def test_what_ends_and_what_comes_wakes_nobody(world: World, agent: WakeProcess) -> None:
    world.execute("insert into door values (11, 'open', false, 1), (12, 'rung', false, 1)")
    eventually(lambda: states(world, "lasting", 11) == {11: ("held", "hold")}, "a wait")
    world.execute("update door set state = 'shut' where id = 11; update door set answered = true where id = 12")
    eventually(lambda: states(world, "lasting", 11) == {11: ("suppressed", "it did not last")}, "its end")
    eventually(lambda: states(world, "unheard", 12) == {12: ("suppressed", "it came")}, "the answer")


def test_a_backlog_fires_nothing_that_ended_in_it(world: World) -> None:
    with WakeProcess(world, "agent", "--from", "beginning"):
        world.execute("insert into door values (22, 'open', false, 1)")
        eventually(lambda: len(states(world, "held", 22)) == 1, "a wait")
    # Transactions of their own, so close to each other that no wait is over between them.
    world.execute(
        "begin; insert into door values (21, 'open', false, 1), (23, 'rung', false, 1); commit;"
        "begin; update door set state = 'shut' where id = 21; update door set answered = true where id = 23; commit"
    )
    began = world.told("select clock_timestamp()")[0][0]
    late = "select clock > %s::timestamptz + interval '4 s' from wake.source_position"
    eventually(lambda: world.told(late, began) == [(True,)], "more marks than they wait for, read by nobody")
    with WakeProcess(world, "agent", "--from", "beginning"):
        eventually(lambda: states(world, "held", 22) == {22: ("done", "")}, "what lasted")
        eventually(lambda: states(world, "held", 21) == {21: ("suppressed", "it did not last")}, "what ended")
        eventually(lambda: states(world, "unanswered", 23) == {23: ("suppressed", "it came")}, "the answer")


def test_a_burst_is_one_run_with_the_net_change(world: World, agent: WakeProcess, model: ScriptedModel) -> None:
    world.execute("insert into door values (31, 'shut', false, 1), (32, 'shut', false, 1)")
    changes = [f"update door set state = '{state}' where id = 31" for state in ("ajar", "wide", "slammed")]
    changes += [f"update door set state = '{state}' where id = 32" for state in ("knocked", "shut")]
    world.execute("; ".join(f"begin; {change}; commit" for change in changes))
    eventually(lambda: states(world, "shaken", 31) == {31: ("done", "")}, "the burst's end")
    eventually(lambda: states(world, "shaken", 32) == {32: ("suppressed", "the changes cancel out")}, "the other's")
    ((steps,),) = world.told(
        "select jsonb_array_length(event #> '{data,steps}') from wake.activation where trigger = 'shaken' and key = %s",
        '{"id": 31}',
    )
    assert steps == 3
    assert any("Door 31: shut to slammed" in str(seen.body) for seen in model.seen)
    assert not any("Door 32" in str(seen.body) for seen in model.seen)


def test_one_run_for_many_keys_of_several_partitions(world: World, agent: WakeProcess, model: ScriptedModel) -> None:
    world.execute("insert into door select n, 'burning', false, n % 2 from generate_series(41, 60) n")
    done = "select count(*) from wake.activation where trigger = 'house' and state = 'done'"
    eventually(lambda: world.told(done) == [(20,)], "all of them answered")
    runs = world.told("select id, activation from wake.run where trigger = 'house'")
    assert len(runs) == 2
    prompts = [str(seen.body) for seen in model.seen if "burning" in str(seen.body)]
    assert sorted(sum(f"Door {n}:" in prompt for n in range(41, 61)) for prompt in prompts) == [10, 10]
