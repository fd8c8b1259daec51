"""What is said from an event's bytes is what comes of the condition, or nothing is said."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
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

TEXTS = ["late", "on time", "x", "", "é", 'a"b', "seats", "null", "a\\b"]
text_value = st.one_of(st.none(), st.sampled_from(TEXTS))
row = st.fixed_dictionaries(
    {
        **{"status": text_value, "kind": text_value, "delay": st.one_of(st.none(), st.integers(-2, 2))},
        **{"fare": st.sampled_from([None, 1, 2.5, "NaN"]), "tags": st.sampled_from([None, [], ["late"], [None, "x"]])},
        "at": st.sampled_from([None, "2026-11-22T11:53:11+00:00", "infinity"]),
        "plane": st.one_of(st.none(), st.fixed_dictionaries({"maker": text_value, "seats": st.integers(0, 2)})),
    }
)


def quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)


atoms = st.one_of(
    st.builds(
        lambda image, path, text, flip: (
            f"{quoted(text)} == {image}.{path}" if flip else f"{image}.{path} == {quoted(text)}"
        ),
        *(st.sampled_from(["after", "before"]), st.sampled_from(["status", "kind", "plane.maker"])),
        *(st.sampled_from(TEXTS), st.booleans()),
    ),
    st.builds(
        lambda path, texts: f"after.{path} in [{', '.join(map(quoted, texts))}]",
        st.sampled_from(["status", "plane.maker"]),
        st.lists(st.sampled_from(TEXTS), min_size=1, max_size=3),
    ),
    st.sampled_from(
        [
            *(
                "after.delay > 0",
                "after.fare < 2.0",
                "after.plane.seats == 1",
                "'late' in after.tags",
                "op == 'update'",
            ),
            *("after.plane != null", "after.status != 'late'", "after.status.startsWith('l')", "has(after.plane)"),
            *("1 / after.delay > 0", "after.at > timestamp('2026-01-01T00:00:00Z')", "after.status == before.status"),
        ]
    ),
)
texts = st.recursive(
    atoms,
    lambda inner: st.one_of(
        st.builds(lambda a, b, how: f"({a} {how} {b})", inner, inner, st.sampled_from(["&&", "||", "&&"])),
        st.builds(lambda a: f"!({a})", inner),
        st.builds(lambda a, b, c: f"({a} ? {b} : {c})", inner, inner, inner),
    ),
    max_leaves=5,
)


def compiled(text: str) -> Condition:
    return compile_condition(text, SCOPE, CHANGE_ROOTS)


def event(before: Any, after: Any, *, gaps: bool) -> bytes:
    separators = (", ", ": ") if gaps else (",", ":")
    return json.dumps({"before": before, "after": after}, separators=separators, ensure_ascii=False).encode()


@given(texts, st.one_of(st.none(), row), st.one_of(st.none(), row), st.booleans())
def test_what_cannot_hold_is_not_met(text: str, before: Any, after: Any, gaps: bool) -> None:
    try:
        condition = compiled(text)
    except Exception:  # noqa: BLE001 - what does not compile is told elsewhere
        return
    if not condition.may_hold(event(before, after, gaps=gaps)):
        images = {"before": before, "after": after, "op": "update"}
        assert condition.evaluate(images) == NotMatched()


@pytest.mark.parametrize(
    ("text", "status", "plane", "expected"),
    [
        ("after.status == 'late'", "late", "x", True),
        ("after.status == 'late'", "lat", "x", False),
        ("after.status == 'late'", "later", "x", False),
        ("after.status == 'late'", "x", "late", True),  # it stands somewhere: looked at whole
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
