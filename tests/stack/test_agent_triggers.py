"""Triggers over real events: enter, leave and change; what our own writes wake, and what they do not."""

from __future__ import annotations

from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest

from agent.testing import Reaction, decision, offered
from localstack import Stack
from tests.harness.agent import WakeProcess, World, attached_world
from tests.harness.models import Call, RuledModel
from tests.harness.waiting import eventually

DDL = """
    create table door (id int primary key, state text, touched int not null default 0);
    create table step (id int primary key, level int not null);
    create table link (id int primary key, depth int not null default 0);
"""

WAKE = """
sources:
  SOURCE:
    capture: "${DATABASE_URL}"
    admin: "${DATABASE_URL}"
    tables: {public.door: {}, public.step: {}, public.link: {}}
triggers:
  entered: {table: SOURCE.public.door, when: after.state == 'open', fire: enter, agent: watcher}
  left: {table: SOURCE.public.door, when: after.state == 'open', fire: leave, agent: watcher}
  moved: {table: SOURCE.public.door, when: updated && before.state != after.state, fire: change, agent: watcher}
  climbed: {table: SOURCE.public.step, when: after.level > 0, fire: change, agent: climber}
  seen: {table: SOURCE.public.step, when: updated, fire: change, agent: watcher}
  linked: {table: SOURCE.public.link, when: inserted, fire: change, agent: chainer}
agents:
  watcher: {instructions: prompt.md}
  climber: {instructions: prompt.md, actions: [climb]}
  chainer: {instructions: prompt.md, actions: [append]}
actions:
  climb:
    kind: sql
    connection: ops
    statement: update step set level = level + 1 where id = :step
    rows: 1
    bind: {step: after.id}
    approval: never
  append:
    kind: sql
    connection: ops
    statement: insert into link (id, depth) values (:next, :depth)
    rows: 1
    bind: {next: after.id + 1, depth: run.depth + 1}
    approval: never
models:
  default: {base_url: "${MODEL_URL}", name: scripted}
"""

PROMPT = "Row {{ key.id }}: watch\n"


def _rule(call: Call) -> Reaction:
    """Propose whatever is offered, without arguments."""
    names = [str(each["properties"]["action"]["const"]) for each in offered(call.request)]
    return decision(*((name, dict[str, Any]()) for name in names))


@pytest.fixture(scope="module")
def world(stack: Stack, env: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Generator[World]:
    directory: Path = tmp_path_factory.mktemp("triggers")
    with (
        RuledModel(_rule) as model,
        attached_world(stack, env, directory, ddl=DDL, wake=WAKE, prompt=PROMPT, MODEL_URL=model.url) as world,
        WakeProcess(world, "consume"),
        WakeProcess(world, "agent", "--from", "beginning"),
    ):
        world.wait_mirrored()
        yield world


def test_enter_leave_and_change_over_real_statements(world: World) -> None:
    statements = {
        "insert into door values (1, 'open'), (2, 'shut')": ["entered 1"],
        "update door set touched = touched + 1": [],
        "update door set state = 'open' where id = 2": ["entered 2", "moved 2"],
        "update door set state = 'shut' where id = 1": ["left 1", "moved 1"],
        "update door set id = 3 where id = 2": ["entered 3", "left 2"],  # a delete and an insert
        "update door set id = 4 where id = 1": [],
        "delete from door where id = 4": [],
        "delete from door where id = 3": ["left 3"],
        "insert into door values (5, null)": [],
        "update door set state = 'open' where id = 5": ["entered 5", "moved 5"],
        "update door set state = null where id = 5": ["left 5", "moved 5"],
        "begin; insert into door values (6, 'open'); rollback": [],
        "insert into door select n, 'open' from generate_series(10, 14) n": [f"entered {n}" for n in range(10, 15)],
        "truncate door": [],  # ends the rows, and says of none that it left
        "insert into door values (10, 'open')": ["entered 10"],
    }
    expected: list[str] = []
    for statement, woken in statements.items():
        world.execute(statement)
        expected += woken
    found = eventually(lambda: _woken(world, "door", "door/10", 2), "the last row entered")
    assert found == expected
    counts = {(each.trigger, each.outcome): each.count for each in world.insights.why("public.door/5").counts}
    assert counts["entered", "opened"] == sum(each.startswith("entered") for each in expected)
    assert counts["left", "opened"] == sum(each.startswith("left") for each in expected)


def _woken(world: World, table: str, last: str, times: int) -> list[str] | None:
    """Trigger and key of every activation over a table, in the order of the commits; None before the last one.

    Each partition is read for itself: the others have to come as far as that one.
    """
    behind = world.told(
        'select from wake.partition_position where "offset" <'
        " (select max((event #>> '{data,position,offset}')::bigint) from wake.activation where subject like %s)",
        f"public.{table}/%",
    )
    found = world.told(
        "select trigger, key ->> 'id' from wake.activation where subject like %s"
        " order by (event #>> '{data,position,commit}')::bigint, trigger, (key ->> 'id')::int",
        f"public.{table}/%",
    )
    key = last.partition("/")[2]
    there = sum((t, k) == ("entered", key) for t, k in found) >= times and not behind
    return [f"{t} {k}" for t, k in found] if there else None


def test_own_write_does_not_wake_its_trigger_for_its_key_and_wakes_another_one_deeper(world: World) -> None:
    world.execute("insert into step values (1, 1)")

    def settled() -> bool:
        return len(world.insights.why("public.step/1").activations) == 3

    eventually(settled, "the insert's activation, and what the action's own update led to")
    found = {
        (each.trigger, each.state, each.reason, each.depth) for each in world.insights.why("public.step/1").activations
    }
    assert {(trigger, reason, depth) for trigger, _, reason, depth in found} == {
        ("climbed", None, 0),
        ("climbed", "own write", 1),
        ("seen", None, 1),
    }
    assert ("climbed", "suppressed", "own write", 1) in found
    eventually(lambda: _all_done(world, "climbed", "seen"), "their runs")
    assert world.rows("select level from step") == [(2,)]
    (action,) = world.insights.actions(trigger="climbed")
    cause = world.told("select event #>> '{data,cause,action}' from wake.activation where trigger = 'seen'")
    assert cause == [(action.id,)]


def test_a_chain_of_own_writes_ends_at_the_limit(world: World) -> None:
    world.execute("insert into link values (1)")
    last = eventually(
        lambda: [each for each in world.insights.why("public.link/4").activations if each.trigger == "linked"],
        "the chain's last event",
    )
    assert [(each.state, each.depth) for each in last] == [("suppressed", 3)]
    assert last[0].reason == "depth: 3 actions led here, limits.depth is 3"
    assert world.rows("select id, depth from link order by id") == [(1, 0), (2, 1), (3, 2), (4, 3)]
    chain = world.told(
        "select key ->> 'id', depth, state, event #>> '{data,cause,action}' from wake.activation"
        " where trigger = 'linked' order by depth"
    )
    runs = [action.id for action in reversed(world.insights.actions(trigger="linked"))]
    eventually(lambda: _all_done(world, "linked"), "the chain's runs")
    assert [(key, depth, cause) for key, depth, _, cause in chain] == [
        ("1", 0, None),
        *((str(number + 1), number, runs[number - 1]) for number in (1, 2, 3)),
    ]


def _all_done(world: World, *triggers: str) -> bool:
    open_runs = "select 1 from wake.run where trigger = any(%s) and state <> 'succeeded'"
    return world.told(open_runs, list(triggers)) == []
