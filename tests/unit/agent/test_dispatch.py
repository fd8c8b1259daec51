from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from agent import dispatch
from tests.unit.agent import airline
from tests.unit.agent.airline import booking, disruption, event, flight
from tests.unit.wakestream.test_program import load
from wakestream.errors import EventError
from wakestream.program import compile_program

CHANGE = """
  any:
    entity: booking
    when: after.status != 'x'
    fire: change
    agent: rebooker
lookups:"""


def names(directory: Path, found: dict[str, Any], *, source: str = "airline") -> set[str]:
    loaded = load(directory, ("\nlookups:", CHANGE))
    program = compile_program(loaded, {"airline": airline.REVISION})
    payload = airline.payload(found)
    listed = dispatch.Dispatch(program.triggers.values()).candidates(source, dispatch.glance(payload), payload)
    return {trigger.name for trigger in listed}


def delayed(number: int) -> dict[str, Any]:
    """A booking for which the condition of `disrupted` holds."""
    return disruption(number)["data"]["after"]


BOTH, CHANGES = {"disrupted", "any"}, {"any"}


@pytest.mark.parametrize(
    ("changed", "missing", "expected"),
    [
        (["status"], (), BOTH),
        (["flight.status"], (), BOTH),
        (["flight"], (), BOTH),
        (["remarks"], (), CHANGES),
        (["flight.delay_min"], (), BOTH),  # another column of a member it reads: looked at whole
        ([], (), CHANGES),
        (["remarks"], ("after.status",), BOTH),
    ],
)
def test_by_what_changed(tmp_path: Path, changed: list[str], missing: tuple[str, ...], expected: set[str]) -> None:
    found = event("booking", booking(1), delayed(1), changed=changed, missing=missing)
    assert names(tmp_path, found) == expected


def test_without_changed_everybody_looks(tmp_path: Path) -> None:
    assert names(tmp_path, event("booking", None, delayed(1))) == BOTH


def test_what_needs_a_text_that_is_not_there_does_not_look(tmp_path: Path) -> None:
    assert names(tmp_path, event("booking", None, booking(1))) == CHANGES
    unknown = event("booking", None, booking(1), missing=("after.flight",))
    assert names(tmp_path, unknown) == BOTH, "it may be what is missing"


def test_other_subjects_concern_nobody(tmp_path: Path) -> None:
    assert names(tmp_path, event("public.flight", None, flight(1))) == set()
    assert names(tmp_path, event("booking", None, booking(1)), source="railway") == set()
    for kind in ("context.gap", "context.clock", "table.truncated", "row.read"):
        assert names(tmp_path, event("booking", None, booking(1), kind=kind)) == set()


@pytest.mark.parametrize("payload", [b"", b"no JSON", b"[]", b"{}", b'{"type": 1}', b"\xff"])
def test_what_is_no_event(payload: bytes) -> None:
    with pytest.raises(EventError):
        dispatch.glance(payload)
