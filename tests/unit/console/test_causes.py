from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import psycopg
import pytest

from cli import causes as telling
from console import causes, views
from console.causes import CausedChange, Tree
from console.insights import Insights
from tests.unit.console.seeds import COMMITTED, EVENT, Seed
from wakestream.errors import RefusedError
from wakestream.ledger.models import Action, Activation, Receipt, Run


def change(seed: Seed, name: str, cause: str | None = None, *, state: str = "done", **fields: Any) -> str:
    """An activation by a change that an action made."""
    given = None if cause is None else {"action": cause, "run": "r", "trigger": "t", "keys": [], "depth": 1}
    document = EVENT | {"id": name, "data": EVENT["data"] | {"cause": given}}
    at = COMMITTED + timedelta(seconds=len(name))
    seed.add(
        Activation(
            **{"id": f"t/{name}", "trigger": "t", "source": "airline", "event_id": name, "subject": f"booking/{name}"},
            **{"key": {"id": 1}, "state": state, "depth": len(name) // 2} | fields,
            event=document,
            committed_at=at,
        )
    )
    return f"t/{name}"


def run(seed: Seed, activation: str, *actions: str) -> str:
    """A run with its actions: `…/1`, `…/2`."""
    seed.add(Run(id=activation, activation=activation, agent="a", trigger="t", key={"id": 1}, state="succeeded"))
    for number, name in enumerate(actions, 1):
        row = {"id": f"{activation}/{number}", "run": activation, "number": number, "name": name, "kind": "sql"}
        values: dict[str, Any] = {"bound": {}, "chosen": {}, "arguments": {}, "effect": {}}
        seed.add(Action(**row, **values, state="succeeded", approval="never", depth=1))
    return activation


@pytest.fixture
def chain(seed: Seed) -> Seed:
    """Two actions of the first run; one change wakes two triggers, one of which is stopped by depth."""
    first = run(seed, change(seed, "1"), "move", "tell")
    second = run(seed, change(seed, "1.1", f"{first}/1"), "back")
    change(seed, "1.2", f"{first}/1", state="suppressed", reason="depth: 3 actions led here")
    run(seed, change(seed, "1.1.1", f"{second}/1"))
    run(seed, change(seed, "other"), "move")
    seed.add(
        Receipt(
            **{"action": f"{first}/1", "source": "airline", "log": 1, "offset": 1, "commit": 1, "rows": 2},
            committed_at=COMMITTED,
        )
    )
    return seed


def lines(found: Tree, capsys: pytest.CaptureFixture[str]) -> list[str]:
    telling.tell(found)
    return capsys.readouterr().out.splitlines()


def events(found: CausedChange) -> Iterator[str]:
    yield found.event
    for action in found.run.actions if found.run else ():
        for each in action.changes:
            yield from events(each)


@pytest.mark.parametrize("asked", ["t/1", "t/1.1", "t/1.1.1"])
def test_from_everywhere_it_is_the_same_tree(chain: Seed, insights: Insights, asked: str) -> None:
    found = insights.tree(asked)
    assert list(events(found.change)) == ["1", "1.1", "1.1.1", "1.2"]
    assert (found.runs, found.more) == (3, False)
    assert views.to_json(found).count('"asked":true') == 1


def test_it_is_told_with_what_stopped_it(chain: Seed, insights: Insights, capsys: pytest.CaptureFixture[str]) -> None:
    told = lines(insights.tree("t/1.1"), capsys)
    assert [line.partition(", 2026")[0] for line in told] == [
        "change booking/1 (status)",
        "  met t at depth 0: done",
        "  run t/1 of a: succeeded",
        "    action move (sql) t/1/1: succeeded, 2 rows",
        "      change booking/1.1 (status)",
        "        met t at depth 1: done",
        "        run t/1.1 of a: succeeded  ← this one",
        "          action back (sql) t/1.1/1: succeeded",
        "            change booking/1.1.1 (status)",
        "              met t at depth 2: done",
        "              run t/1.1.1 of a: succeeded",
        "      change booking/1.2 (status)",
        "        met t at depth 1: suppressed: depth: 3 actions led here",
        "    action tell (sql) t/1/2: succeeded",
    ]


def test_a_batch_is_one_run_below_each_of_its_changes(seed: Seed, insights: Insights) -> None:
    first = run(seed, change(seed, "1"), "move")
    batch = run(seed, change(seed, "1.1", f"{first}/1", batch="t/1.1"))
    change(seed, "1.2", f"{first}/1", batch=batch)
    (action,) = insights.tree(batch).change.run.actions  # type: ignore[union-attr]
    assert [each.event for each in action.changes] == ["1.1", "1.2"]
    assert [each.run is not None for each in action.changes] == [True, False], "told once"


def test_a_hand_over_stands_below_the_action_that_made_it(
    seed: Seed, insights: Insights, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its event is the first one's, cause included; what it came from is the action that handed over."""
    top = run(seed, change(seed, "0"), "move")
    first = run(seed, change(seed, "0.1", f"{top}/1"), "compensate")
    handed = run(seed, change(seed, "0.1.1", f"{top}/1", handed={"by": f"{first}/1"}, batch=first))
    found = insights.tree(handed)
    assert list(events(found.change)) == ["0", "0.1", "0.1.1"]
    assert [line.strip().partition(" (")[0] for line in lines(found, capsys)][7:8] == ["action compensate"]
    assert any(line.strip().startswith("hand-over of booking/0.1.1") for line in lines(found, capsys))


def test_a_second_decision_stands_below_the_action_that_was_stale(
    seed: Seed, insights: Insights, capsys: pytest.CaptureFixture[str]
) -> None:
    first = run(seed, change(seed, "0"), "move")
    again = {"by": f"{first}/1", "first": first, "number": 1, "runs": [first], "differences": []}
    run(seed, change(seed, "0.1", again=again), "move")
    told = lines(insights.tree(f"{first}.1"), capsys)
    assert any(line.strip().startswith("again booking/0.1") for line in told)
    assert insights.tree(f"{first}.1").change.event == "0"


def test_a_cause_from_another_ledger_is_where_it_begins(seed: Seed, insights: Insights) -> None:
    name = run(seed, change(seed, "1", "unknown/1"))
    assert insights.tree(name).change.event == "1"


def test_a_large_tree_says_that_there_is_more(seed: Seed, insights: Insights, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(causes, "MANY", 3)
    first = run(seed, change(seed, "0"), "move")
    for number in range(1, 6):
        run(seed, change(seed, f"0.{number}", f"{first}/1"))
    found = insights.tree(first)
    assert (found.runs, found.more) == (3, True)


def test_an_unknown_run_is_refused(insights: Insights) -> None:
    with pytest.raises(RefusedError, match="no run `x`"):
        insights.tree("x")


def test_what_is_below_is_found_by_an_index(chain: Seed) -> None:
    with psycopg.connect(chain.url) as connection:
        connection.execute("set enable_seqscan = off")
        rows = connection.execute(
            "explain select id from wake.activation where"
            " coalesce(again ->> 'by', handed ->> 'by', event #>> '{data,cause,action}') = any(array['x', 'y'])"
        ).fetchall()
    assert any("activation_cause_idx" in row[0] for row in rows)
