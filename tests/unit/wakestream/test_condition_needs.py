"""What is said from an event's bytes is what comes of the condition, or nothing is said."""

from __future__ import annotations

import json
from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wakestream.condition_scope import CHANGE_ROOTS, Document, Scalar, Scope
from wakestream.conditions import Condition, NotMatched, compile_condition

PLANE = Document({"maker": Scalar("text"), "seats": Scalar("int4")}, "plane")
ROW = Document(
    {
        **{"status": Scalar("text"), "kind": Scalar("text"), "delay": Scalar("int4"), "fare": Scalar("numeric")},
        **{"tags": Scalar("text", array=True), "at": Scalar("timestamptz"), "plane": PLANE},
    },
    "flight",
)
SCOPE = Scope({"after": ROW, "before": ROW, "op": Scalar("text")})

TEXTS = ["late", "gone", "x", "", "é", 'a"b', "seats", "null", "a\\b"]
OTHERS = [
    *("after.delay > 0", "after.fare < 2.0", "after.plane.seats == 1", "'late' in after.tags", "op == 'update'"),
    *("after.plane != null", "after.status != 'late'", "after.status.startsWith('l')", "1 / after.delay > 0"),
    *("after.at > timestamp('2026-01-01T00:00:00Z')", "after.status == before.status"),
]
PATHS = ["after.status", "after.kind", "after.plane.maker", "before.status"]


def quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)


def condition_text(random: Random, depth: int = 2) -> str:
    """One over texts for the most part, with everything around that a condition may hold."""
    draw = random.random()
    if depth == 0 or draw < 0.3:
        sides = [random.choice(PATHS), quoted(random.choice(TEXTS))]
        listed = ", ".join(quoted(text) for text in random.choices(TEXTS, k=2))
        equal = " == ".join(random.sample(sides, 2))
        return random.choice([equal, equal, f"{sides[0]} in [{listed}]", random.choice(OTHERS)])
    parts = [condition_text(random, depth - 1) for _ in range(3)]
    if draw < 0.9:
        return f"({parts[0]} {random.choice(['&&', '||'])} {parts[1]})"
    return random.choice([f"!({parts[0]})", f"({parts[0]} ? {parts[1]} : {parts[2]})"])


def image(random: Random) -> dict[str, Any] | None:
    def text() -> str | None:
        return random.choice([*TEXTS, "y", "z", None])

    plane = {"maker": text(), "seats": random.choice([0, 1])}
    row = {
        **{"status": text(), "kind": text(), "delay": random.choice([None, -1, 0, 1])},
        **{"fare": random.choice([None, 1, 2.5, "NaN"]), "tags": random.choice([None, [], ["late"], [None, "x"]])},
        **{"at": random.choice([None, "2026-11-22T11:53:11+00:00", "infinity"]), "plane": random.choice([plane, None])},
    }
    return random.choice([row, row, row, None])


def compiled(text: str) -> Condition:
    return compile_condition(text, SCOPE, CHANGE_ROOTS)


def event(before: Any, after: Any, *, gaps: bool) -> bytes:
    separators = (", ", ": ") if gaps else (",", ":")
    return json.dumps({"before": before, "after": after}, separators=separators, ensure_ascii=False).encode()


@given(st.integers(0, 2**32))
@settings(max_examples=4)
def test_what_cannot_hold_is_not_met(seed: int) -> None:
    """Random conditions, each over many random events; and of enough of these it is said."""
    random, said = Random(seed), 0
    for _ in range(60):
        condition = compiled(condition_text(random))
        for _ in range(50):
            before, after = image(random), image(random)
            if not condition.may_hold(event(before, after, gaps=random.random() < 0.5)):
                said += 1
                assert condition.evaluate({"before": before, "after": after, "op": "update"}) == NotMatched()
    assert said > 20


@pytest.mark.parametrize(
    ("text", "status", "plane", "expected"),
    [
        ("after.status == 'late'", "late", "x", True),
        ("after.status == 'late'", "lat", "x", False),
        ("after.status == 'late'", "later", "x", False),
        ("after.status == 'late'", "x", "late", False),  # it stands elsewhere
        ("after.status == 'late'", None, "x", True),
        ("after.status == 'late' && after.delay > 0", "x", "x", False),
        ("after.status in ['late', 'gone']", "gone", "x", True),
        ("after.status in ['late', 'gone']", "x", "x", False),
        ("after.status == 'late' || after.plane.maker == 'gone'", "x", "x", False),
        ("after.status == 'late' || after.plane.maker == 'gone'", "x", "gone", True),
        ("after.status == 'late' || after.delay > 0", "x", "x", True),
        ("after.status == 'x' && after.plane.maker == 'gone'", "x", "x", False),
        ("after.status != 'late'", "x", "x", True),
        ("!(after.status == 'late')", "x", "x", True),
        ("after.status == 'é'", "x", "x", True),
        ("after.status == 'late' && after.at > timestamp('2026-01-01T00:00:00Z')", "x", "x", True),
    ],
)
def test_what_is_looked_for(text: str, status: str | None, plane: str, expected: bool) -> None:
    after = {"status": status, "delay": 1, "at": None, "plane": {"maker": plane, "seats": 1}}
    assert compiled(text).may_hold(event(None, after, gaps=True)) is expected


def test_what_is_absent_is_looked_at_whole() -> None:
    """An event that was made under another revision."""
    condition = compiled("after.status == 'late'")
    assert not condition.may_hold(b'{"after": {"status": "x"}}')
    assert condition.may_hold(b'{"after": {"state": "x"}}')
