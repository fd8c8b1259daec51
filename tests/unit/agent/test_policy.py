from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from agent import policy
from tests.unit.agent import airline
from tests.unit.wakestream.test_program import APPROVAL, load
from wakestream.program import compile_program

NOW = datetime(2026, 11, 22, tzinfo=UTC)


def ruled(directory: Path, approval: str, fare: float | None = 150.0, missing: tuple[str, ...] = ()) -> policy.Ruling:
    program = compile_program(load(directory, (APPROVAL, approval)), {"airline": airline.REVISION})
    rebook = program.triggers["disrupted"].agent.actions["rebook"]
    values: dict[str, Any] = {
        **{"before": None, "after": airline.booking(42), "cause": None, "event": {}, "run": {}},
        **{"bound": {"booking": 42, "from_flight": 7}, "chosen": {"to_flight": airline.flight(8, fare=fare)}},
    }
    return policy.rule(rebook, values, missing, NOW)


@pytest.mark.parametrize(
    ("approval", "fare", "state"),
    [
        ("never", 1000.0, "approved"),
        ("always", 0.0, "awaiting_approval"),
        (APPROVAL, 300.0, "approved"),
        (APPROVAL, 300.01, "awaiting_approval"),
    ],
)
def test_rulings(tmp_path: Path, approval: str, fare: float, state: str) -> None:
    assert ruled(tmp_path, approval, fare).state == state


def test_null_leaves_it_to_a_person(tmp_path: Path) -> None:
    ruling = ruled(tmp_path, APPROVAL, None)
    assert ruling.state == "awaiting_approval"
    assert "chosen.to_flight.fare is null" in ruling.reason


def test_missing_leaves_it_to_a_person(tmp_path: Path) -> None:
    ruling = ruled(tmp_path, APPROVAL, missing=("after.flight.fare",))
    assert ruling.state == "awaiting_approval"
    assert "after.flight.fare is missing" in ruling.reason


def test_failure_leaves_it_to_a_person(tmp_path: Path) -> None:
    ruling = ruled(tmp_path, "10 / after.flight.delay_min > 1")
    assert ruling.state == "awaiting_approval"
    assert "it cannot be said whether" in ruling.reason
