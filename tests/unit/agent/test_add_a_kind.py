"""`docs/how-to/add-an-action-kind.md` does what it says: its own blocks make a kind that works."""

from __future__ import annotations

import json
import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from agent import effects
from agent.effects import outcome
from agent.effects.outcome import Effect, Pending, Succeeded
from wakestream.config import actions
from wakestream.events import Cause
from wakestream.failpoint import reach

PAGE = Path(__file__).parents[3] / "docs/how-to/add-an-action-kind.md"
SECTION, CLASS, LINE = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)
FUTURE = "from __future__ import annotations\n"


@pytest.fixture
def made() -> dict[str, Any]:
    """What the page's blocks define, each where the page puts it."""
    settings: dict[str, Any] = dict(vars(actions))
    exec(FUTURE + SECTION, settings)
    effect: dict[str, Any] = {**vars(outcome), "Path": Path, "json": json, "reach": reach, "Any": Any}
    exec(FUTURE + CLASS, effect)
    return {"FileAction": settings["FileAction"], "FileEffect": effect["FileEffect"]}


def test_it_fits_a_screen() -> None:
    assert len(PAGE.read_text().splitlines()) <= 60


def test_the_line_is_one_like_the_others() -> None:
    code = Path(effects.__file__).read_text()
    assert re.fullmatch(r'    "(\w+)": (\w+)Effect,\n', LINE)
    assert len(re.findall(r'^    "\w+": \w+Effect,$', code, re.MULTILINE)) == len(effects.KINDS)


def test_the_kind_works(made: dict[str, Any], tmp_path: Path) -> None:
    path = tmp_path / "lines"
    settings = made["FileAction"](kind="file", path=str(path), approval="never")
    effect: Effect = made["FileEffect"].open(None)
    material: Any = SimpleNamespace(action=SimpleNamespace(settings=settings), values={"customer": 3})
    plan = effect.plan(material)
    intents: list[dict[str, Any]] = []
    action = Pending("a/1", "tell", plan, Cause("a/1", "a", "t", (), 1), None)
    assert effect.execute(action, intents.append) == Succeeded({"path": str(path)})
    assert effect.settle(action, intents.append) == Succeeded({"path": str(path), "settled": "by its line"})
    other = Pending("a/2", "tell", plan, Cause("a/2", "a", "t", (), 1), intents[0])
    assert effect.settle(other, intents.append) == Succeeded({"path": str(path)})
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert lines == [{"id": "a/1", "customer": 3}, {"id": "a/2", "customer": 3}]
    assert len(intents) == 2


@pytest.mark.parametrize("kind", sorted(effects.KINDS))
def test_every_kind_has_a_section_and_a_place_in_the_reference(kind: str) -> None:
    sections = {name: each for name, each in vars(actions).items() if name.lower() == f"{kind}action"}
    assert sections
    assert f"### `kind: {kind}`" in (PAGE.parents[1] / "reference/agent.md").read_text()
