from __future__ import annotations

import pytest

from tests.unit.agent.airline import booking, disruption, event
from tests.unit.agent.conftest import World
from wakestream.metrics import REGISTRY


def told(name: str, **labels: str) -> float:
    return REGISTRY.get_sample_value(f"wakestream_{name}", labels) or 0.0


class Growth:
    """What was added to counters since this was made."""

    def __init__(self, *counters: tuple[str, dict[str, str]]) -> None:
        self._counters = counters
        self._before = self._told()

    def _told(self) -> list[float]:
        return [told(name, **labels) for name, labels in self._counters]

    def now(self) -> list[float]:
        return [after - before for before, after in zip(self._before, self._told(), strict=True)]


def test_the_way_from_an_event_to_its_actions_is_counted(world: World) -> None:
    growth = Growth(
        ("agent_messages_total", {"source": "airline"}),
        ("agent_activations_total", {"trigger": "disrupted", "state": "open"}),
        ("agent_runs_total", {"trigger": "disrupted", "outcome": "decided"}),
        ("agent_answers_total", {"model": "default"}),
        ("agent_actions_total", {"action": "rebook", "state": "succeeded"}),
    )
    world.book()
    found = disruption()
    world.feed(found, found, event("booking", None, booking(1), kind="context.clock", offset=900_000))
    world.steward.round(heartbeat=True)
    assert (told("ledger_runs", state="pending"), told("ledger_runs", state="running")) == (1, 0)
    world.work()
    world.steward.round(heartbeat=True)
    assert growth.now() == [3, 1, 1, 1, 1]
    assert (told("ledger_runs", state="pending"), told("ledger_actions", state="approved")) == (0, 0)
    clock = told("agent_clock_timestamp_seconds", source="airline", partition="0")
    assert clock == pytest.approx(1795348391.769)
