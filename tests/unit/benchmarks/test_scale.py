from __future__ import annotations

import pytest

from benchmarks import scale
from benchmarks.readers import Drained
from benchmarks.scale import Worked


def test_a_series_is_told_beside_its_first() -> None:
    worked = {1: Worked(per_s=100.0, cpu_us=20.0, ledger_us=5.0), 2: Worked(per_s=150.0, cpu_us=22.0, ledger_us=6.0)}
    found = {each.name: each.value for each in scale.series("scale.runs", "{} agents", "runs", worked)}
    assert found["scale.runs.1.of_one"] == found["scale.runs.1.cpu_of_one"] == 1.0
    assert found["scale.runs.2.of_one"] == 1.5
    assert found["scale.runs.2.cpu_of_one"] == pytest.approx(1.1)
    assert found["scale.runs.2.per_cpu_s"] == pytest.approx(1e6 / 22.0)
    assert found["scale.runs.2.ledger_us"] == 6.0


@pytest.mark.parametrize(("offset", "applied"), [(-1, 0), (10, 0), (60, 50), (111, 100), (130, 100)])
def test_rows_that_are_applied_follow_the_offset(offset: int, applied: int) -> None:
    log = Drained(rows=100, first=10, last=110, bytes=66_000, cpu_s=0.1, wall_s=0.1)
    assert log.applied(offset) == applied
