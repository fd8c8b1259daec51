from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent import prompt_budget
from agent.answers import Offer
from agent.prompt_budget import Parts
from agent.testing import decide_first, decision
from tests.unit.agent import airline
from tests.unit.agent.airline import disruption
from tests.unit.agent.conftest import MakeWorld, World
from wakestream import config
from wakestream.errors import EventError
from wakestream.events import parse
from wakestream.program import Program, compile_program

ROWS = st.lists(st.dictionaries(st.sampled_from("abc"), st.text(max_size=400)), max_size=20)


def written(parts: Parts) -> list[dict[str, Any]]:
    """A plain prompt: instructions that are never cut, and everything else after them."""
    options = {name: offer.choices for name, offer in parts.offered.items()}
    said = [parts.event.data.after, [each.data.after for each in parts.together], parts.lookups, options]
    return [{"role": "system", "content": "i" * 90}, {"role": "user", "content": json.dumps(said, default=str)}]


def parts_of(program: Program, remarks: str, lookups: list[dict[str, str]], options: int) -> Parts:
    action = program.triggers["disrupted"].agent.actions["rebook"]
    offered = {"rebook": Offer(action, {"to_flight": [airline.flight(n) for n in range(options)]})}
    event = parse(airline.payload(disruption(remarks=remarks)))
    return Parts(event, (), {"seats": lookups}, offered)


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Program:
    directory = tmp_path_factory.mktemp("budget")
    urls = dict.fromkeys(("ledger", "lookups", "ops"), "postgresql://l") | {"webhook": "http://w", "model": "http://m"}
    (directory / "rebooker.md").write_text(airline.INSTRUCTIONS)
    (directory / "wake.yaml").write_text(airline.CONFIG.format(**urls))
    loaded = config.load(directory / "wake.yaml", {})

    return compile_program(loaded, {"airline": airline.REVISION})


@given(st.integers(30, 3000), st.text(max_size=900), ROWS, st.integers(1, 40))
def test_what_comes_out_fits_or_is_refused(
    program: Program, limit: int, remarks: str, lookups: list[dict[str, str]], options: int
) -> None:
    parts = parts_of(program, remarks, lookups, options)
    try:
        found = prompt_budget.fit(limit, parts, written)
    except EventError as error:
        assert f"`prompt_tokens` allows {limit}" in str(error)
        shortest = parts_of(program, remarks[:200], [], 1)
        assert prompt_budget.tokens(written(shortest)) > limit - 2, "it would have fitted"
        return
    assert prompt_budget.tokens(found.messages) <= limit
    (offer,) = found.offered.values()
    kept = offer.choices["to_flight"]
    assert kept == parts.offered["rebook"].choices["to_flight"][: len(kept)]
    assert kept
    assert bool(found.cut) == (prompt_budget.tokens(written(parts)) > limit)
    assert found == prompt_budget.fit(limit, parts, written), "it is the same after a restart"


@given(ROWS, st.one_of(st.none(), st.integers(0, 2000)), st.text(max_size=500))
def test_answers_have_the_room_that_is_left(rows: list[dict[str, str]], limit: int | None, said: str) -> None:
    text, left_out = prompt_budget.fit_rows(limit, [{"content": said}], rows)
    shown = json.loads(text)
    assert shown == rows[: len(rows) - left_out]
    if limit is None:
        assert left_out == 0
    elif shown:
        assert prompt_budget.tokens([{"content": said}, {"content": text}]) <= limit + 1


def test_options_that_are_not_shown_cannot_be_chosen(make_world: MakeWorld) -> None:
    world = make_world(("attempts: 3", "prompt_tokens: 700"))
    event = disruption(remarks="x" * 3000)
    event["data"]["after"]["alternatives"] = [airline.flight(n, remarks="y" * 100) for n in range(8, 48)]
    world.model.script = lambda request: decide_first(request)
    world.feed(event)
    world.work()
    ((step,),) = world.rows("select request from wake.run_step where step = 'prompt'")
    assert step["cut"][0] == "texts are shortened to 200 characters"
    assert step["cut"][-1].endswith("options are offered at most")
    assert prompt_budget.tokens(step["messages"]) <= 700
    (rebook,) = [
        each
        for each in step["schema"]["properties"]["actions"]["items"]["anyOf"]
        if each["properties"]["action"] == {"const": "rebook"}
    ]
    offered = rebook["properties"]["arguments"]["properties"]["to_flight"]["enum"]
    shown = step["messages"][1]["content"]
    assert 1 <= len(offered) < 40
    assert [f"    {number}: " in shown for number in range(8, 48)] == [number in offered for number in range(8, 48)]


def test_what_can_never_fit_fails_the_run_and_says_so(make_world: MakeWorld) -> None:
    world = make_world(("attempts: 3", "prompt_tokens: 100"), instructions="rules " * 200)
    world.feed(disruption())
    world.work()
    run = world.run()
    assert run["state"] == "failed"
    assert "where `prompt_tokens` allows 100, although all was cut that may be" in run["error"]
    assert not world.model.seen


def test_without_a_budget_nothing_is_cut(world: World) -> None:
    world.model.script = lambda _: decision()
    world.feed(disruption(remarks="x" * 5000))
    world.work()
    ((step,),) = world.rows("select request from wake.run_step where step = 'prompt'")
    assert "cut" not in step
    assert "x" * 5000 in step["messages"][1]["content"]
