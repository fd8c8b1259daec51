from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import msgspec
import pytest

from connectors import hops
from connectors.hops import AtSource, Ends, Hop, Meter
from connectors.ledger_status import AgentPosition, ConsumerPosition, InLedger

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)


@dataclass
class Clock:
    now: float = 0.0

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float, /) -> None:
        self.now += seconds


def ago(seconds: float) -> datetime:
    return NOW - timedelta(seconds=seconds)


def in_ledger(position: ConsumerPosition | None, read: dict[int, AgentPosition]) -> InLedger:
    return InLedger(NOW, 1, position, read, 1, (), (), {}, None, None, ())


def test_each_hop_is_behind_in_what_can_be_known() -> None:
    found = in_ledger(
        ConsumerPosition(109, 100, ago(2), "me", 7000),
        {0: AtAgent(40, 2.5), 1: AtAgent(60, 4)},
    )
    rates: dict[hops.To, float | None] = {"change log": 20.0, "context": 10.0, "agent": None}
    seen = Ends(log=115, context=103, applied=110, read=100)
    assert hops.hops(seen, rates, AtSource(NOW, 9000), (8000, ago(1)), found) == (
        Hop("change log", 1000, None, 1.0, 20.0),
        Hop("context", 2000, 5, 2.0, 10.0),
        Hop("agent", None, 3, 4.0, None),
    )


def AtAgent(offset: int, behind: float | None) -> AgentPosition:  # noqa: N802
    return AgentPosition(offset, None if behind is None else ago(behind))


def test_what_nobody_knows_is_null() -> None:
    rates: dict[hops.To, float | None] = {"change log": None, "context": None, "agent": None}
    found = in_ledger(None, {0: AtAgent(5, 1), 1: AtAgent(0, None)})
    assert hops.hops(Ends(3, 5, None, 5), rates, AtSource(NOW, 1), None, found) == (
        Hop("change log", None, None, None, None),
        Hop("context", None, None, None, None),
        Hop("agent", None, 0, None, None),
    )
    known = in_ledger(ConsumerPosition(1, 1, NOW, "me", 1), {})
    assert [each.behind_seconds for each in hops.hops(Ends(2, 0, 2, None), rates, None, (1, NOW), known)] == [None] * 3


def test_rates_are_told_since_the_look_before() -> None:
    clock = Clock()
    meter = Meter(clock)
    told: list[float | None] = []
    for count in (100, 150, 150, 90, 100, None, 130, 140):
        told.append(meter.rate("air", "agent", count))
        clock.sleep(2.0)
    # Unknown in the first look, where the count began anew, and behind a look that could not be made.
    assert told == [None, 25.0, 0.0, None, 5.0, None, None, 5.0]
    assert meter.rate("other", "agent", 1) is None


@pytest.mark.parametrize(
    ("record", "told"),
    [
        ({"status": "END", "id": "7:900", "ts_ms": 1000, "event_count": 1}, 900),
        ({"op": "c", "ts_ms": 5, "source": {"ts_ms": 1000, "lsn": 800, "table": "t"}}, 800),
        ({"op": "m", "source": {"ts_ms": 1000, "lsn": 800}, "message": {}}, 800),
        ({"op": "r", "source": {"ts_ms": 1000, "lsn": 800}}, None),
        ({"status": "BEGIN", "id": "7:900", "ts_ms": 1000}, None),
        ({"ts_ms": 1000}, None),
    ],
)
def test_what_a_record_tells_of_its_commit(record: dict[str, object], told: int | None) -> None:
    moment = datetime.fromtimestamp(1, UTC)
    assert hops.committed(msgspec.json.encode(record)) == (None if told is None else (told, moment))


def test_what_is_no_record_tells_nothing() -> None:
    assert hops.committed(b"\xff") is None
