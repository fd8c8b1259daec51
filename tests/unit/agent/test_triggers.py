from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from agent import triggers
from agent.triggers import Broken, Opened, Quiet, Suppressed, Verdict
from tests.unit.agent import airline
from tests.unit.agent.airline import event, flight
from tests.unit.wakestream.test_program import TABLE, load
from wakestream import events
from wakestream.program import CompiledTrigger, compile_program

YES, NO = flight(7, status="delayed"), flight(7)
NULL = flight(7, status=None)
MATCH, SILENT, NULLED = Opened(0), Quiet("no_match"), Quiet("null")
UNKNOWN_BEFORE = Suppressed("undecided: before is missing", 0)


STARTS = "after.status.startsWith('d')"


def trigger(directory: Path, fire: str = "enter", when: str = STARTS, more: str = "") -> CompiledTrigger:
    replaced = (
        *TABLE,
        ("after.status in ['delayed', 'cancelled']", when),
        ("fire: enter", f"fire: {fire}{more}"),
    )
    loaded = load(directory, *replaced, instructions="Be kind.")
    return compile_program(loaded, {"airline": airline.REVISION}).triggers["disrupted"]


def judged(of: CompiledTrigger, found: dict[str, Any], depth_limit: int = 3) -> Verdict:
    images = triggers.Images(events.parse(airline.payload(found)))
    return triggers.judge(of, images, depth_limit=depth_limit)


@pytest.mark.parametrize(
    ("before", "after", "missing", "enter", "leave", "change"),
    [
        (None, YES, (), MATCH, SILENT, MATCH),
        (None, NO, (), SILENT, SILENT, SILENT),
        (NO, YES, (), MATCH, SILENT, MATCH),
        (YES, NO, (), SILENT, MATCH, SILENT),
        (YES, YES, (), SILENT, SILENT, MATCH),
        (NO, NO, (), SILENT, SILENT, SILENT),
        (YES, None, (), SILENT, MATCH, NULLED),
        (NO, None, (), SILENT, SILENT, NULLED),
        (NULL, YES, (), MATCH, NULLED, MATCH),
        (YES, NULL, (), NULLED, MATCH, NULLED),
        (NULL, NULL, (), NULLED, NULLED, NULLED),
        (None, YES, ("before",), UNKNOWN_BEFORE, SILENT, MATCH),
        (None, NO, ("before",), SILENT, UNKNOWN_BEFORE, SILENT),
        (None, None, ("before",), SILENT, UNKNOWN_BEFORE, NULLED),
        (YES, YES, ("before.status",), Suppressed("undecided: before.status is missing", 0), SILENT, MATCH),
        (NO, NULL, ("before.status",), NULLED, Suppressed("undecided: before.status is missing", 0), NULLED),
        (NO, YES, ("before.remarks", "after.remarks"), MATCH, SILENT, MATCH),
        *(
            (before, NULL, ("after.status",), entered, left, Suppressed("undecided: after.status is missing", 0))
            for before, entered, left in (
                (NO, Suppressed("undecided: after.status is missing", 0), SILENT),
                (YES, SILENT, Suppressed("undecided: after.status is missing", 0)),
            )
        ),
    ],
)
def test_truth_table(  # noqa: PLR0913
    tmp_path: Path,
    before: dict[str, Any] | None,
    after: dict[str, Any] | None,
    missing: tuple[str, ...],
    enter: Verdict,
    leave: Verdict,
    change: Verdict,
) -> None:
    found = event("public.flight", before, after, missing=missing)
    for fire, expected in (("enter", enter), ("leave", leave), ("change", change)):
        assert judged(trigger(tmp_path, fire), found) == expected, fire


@pytest.mark.parametrize(
    ("when", "before", "after", "expected"),
    [
        ("inserted", None, YES, MATCH),
        ("updated", NO, YES, MATCH),
        ("deleted", YES, None, MATCH),
        ("deleted", NO, YES, SILENT),
        ("op == 'delete'", YES, None, MATCH),
        ("before == null", None, YES, MATCH),
        ("before == null", NO, YES, SILENT),
        ("before.status != after.status", NO, YES, MATCH),
        ("changed.exists(c, c == 'status')", NO, YES, MATCH),
        ("changed.exists(c, c == 'fare')", NO, YES, SILENT),
        ("after.departs_at - now < duration('4h')", NO, YES, MATCH),
        ("after.departs_at - now < duration('3h')", NO, YES, SILENT),
        ("key.id == 7", NO, YES, MATCH),
        ("cause == null", NO, YES, MATCH),
        ("cause != null && cause.keys.exists(k, k == 'x')", NO, YES, SILENT),
    ],
)
def test_change_reads_all_roots(tmp_path: Path, when: str, before: Any, after: Any, expected: Verdict) -> None:
    assert judged(trigger(tmp_path, "change", when), event("public.flight", before, after)) == expected


def test_changed_is_unknown_where_before_is(tmp_path: Path) -> None:
    found = event("public.flight", None, YES, missing=("before",), kind="row.updated")
    verdict = judged(trigger(tmp_path, "change", "changed.exists(c, c == 'status')"), found)
    assert verdict == UNKNOWN_BEFORE


def test_a_failing_condition_is_a_dead_letter(tmp_path: Path) -> None:
    verdict = judged(trigger(tmp_path, when="10 / after.delay_min > 1"), event("public.flight", None, YES))
    assert isinstance(verdict, Broken)
    assert "zero" in verdict.message


@pytest.mark.parametrize("fire", ["enter", "leave", "change"])
def test_initial_snapshots_never_fire(tmp_path: Path, fire: str) -> None:
    found = event("public.flight", None, YES, missing=("before",), snapshot=True, kind="row.read")
    for more in ("", "\n    on_snapshot: changed"):
        assert judged(trigger(tmp_path, fire, more=more), found) == SILENT


def test_later_snapshots_fire_where_asked(tmp_path: Path) -> None:
    found = event("public.flight", NO, YES, snapshot=True)
    assert judged(trigger(tmp_path), found) == SILENT
    assert judged(trigger(tmp_path, more="\n    on_snapshot: changed"), found) == MATCH


def caused(by: str, keys: list[str], depth: int) -> dict[str, Any]:
    cause = {"action": "a", "run": "r", "trigger": by, "keys": keys, "depth": depth}
    return event("public.flight", NO, YES, cause=cause)


@pytest.mark.parametrize(
    ("by", "keys", "depth", "expected"),
    [
        ("disrupted", ["public.flight/7"], 1, Suppressed("own write", 1)),
        ("disrupted", ["public.flight/8"], 1, Opened(1)),
        ("other", ["public.flight/7"], 1, Opened(1)),
        ("other", ["public.flight/7"], 2, Opened(2)),
        ("other", ["public.flight/7"], 3, Suppressed("depth: 3 actions led here, limits.depth is 3", 3)),
    ],
)
def test_own_writes_and_depth(tmp_path: Path, by: str, keys: list[str], depth: int, expected: Verdict) -> None:
    assert judged(trigger(tmp_path), caused(by, keys, depth)) == expected


def test_conditions_read_the_cause(tmp_path: Path) -> None:
    when = "cause != null && cause.depth == 1 && cause.keys.exists(k, k == 'public.flight/8')"
    reads = trigger(tmp_path, "change", when)
    assert judged(reads, caused("other", ["public.flight/8"], 1)) == Opened(1)
    assert judged(reads, caused("other", ["public.flight/9"], 1)) == SILENT


def test_own_writes_where_asked_still_count_depth(tmp_path: Path) -> None:
    own = trigger(tmp_path, more="\n    own_writes: true")
    assert judged(own, caused("disrupted", ["public.flight/7"], 1)) == Opened(1)
    assert isinstance(judged(own, caused("disrupted", ["public.flight/7"], 3)), Suppressed)


def test_own_writes_that_do_not_match_are_no_match(tmp_path: Path) -> None:
    found = event("public.flight", NO, NO, cause=caused("disrupted", [], 9)["data"]["cause"])
    assert judged(trigger(tmp_path), found) == SILENT


def test_entities(tmp_path: Path) -> None:
    entity = compile_program(load(tmp_path), {"airline": airline.REVISION}).triggers["disrupted"]
    assert judged(entity, airline.disruption()) == MATCH
    late = load(tmp_path, ("after.flight.status in ['delayed', 'cancelled']", "after.flight.delay_min > 60"))
    entity = compile_program(late, {"airline": airline.REVISION}).triggers["disrupted"]
    assert judged(entity, event("booking", None, airline.booking(42, flight=None))) == NULLED
