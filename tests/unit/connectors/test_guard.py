"""When the guard helps and when it waits, on a source that does as it is told and a clock that is set."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest

from connectors.connect import ConnectAway, types
from connectors.guard import FATAL_PAUSE, FIRST_PAUSE, LONGEST_PAUSE, STEADY, Watch
from connectors.snapshot_log import Progress

PASSING = "org.x.ConnectException: lost\nCaused by: org.postgresql.util.PSQLException: Connection refused\n\tat x"
FATAL = (
    'org.x.ConnectException: no\nCaused by: org.x.PSQLException: FATAL: password authentication failed for user "u"\n'
)


@dataclass
class Clock:
    now: float = 0.0

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float, /) -> None:
        self.now += seconds


@dataclass
class FakeSource:
    name: str = "airline"
    state: types.State = "RUNNING"
    trace: str = ""
    progress: Progress = "complete"
    attached: bool = True
    away: bool = False
    restarts: int = 0
    started_over: int = 0
    tended: int = 0
    records: list[tuple[str, str]] = field(default_factory=list)

    def status(self) -> types.Status | None:
        if self.away:
            raise ConnectAway("Kafka Connect does not answer", uncertain=False)
        if not self.attached:
            return None
        connector: types.State = "RUNNING" if self.state == "FAILED" else self.state
        tasks = () if self.state == "STOPPED" else (types.TaskStatus(0, self.state, "w", self.trace),)
        return types.Status("wake-airline", types.ConnectorState(connector, "w"), tasks)

    def snapshot(self) -> Progress:
        return self.progress

    def restart(self) -> None:
        self.restarts += 1

    def start_over(self) -> None:
        self.started_over += 1

    def tend(self) -> None:
        self.tended += 1

    def record(self, what: str, detail: str) -> None:
        self.records.append((what, detail))

    def fail(self, trace: str) -> None:
        self.state, self.trace = "FAILED", trace


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def source() -> FakeSource:
    return FakeSource()


@pytest.fixture
def watch(source: FakeSource, clock: Clock) -> Watch:
    return Watch(source, clock)


def look_for(watch: Watch, clock: Clock, seconds: float) -> None:
    for _ in range(int(seconds)):
        watch.look()
        clock.sleep(1.0)


def test_what_runs_is_left_alone(watch: Watch, source: FakeSource, clock: Clock) -> None:
    look_for(watch, clock, 100)
    assert (source.restarts, source.started_over, source.records) == (0, 0, [])


def test_a_passing_failure_is_restarted_with_longer_and_longer_pauses(
    watch: Watch, source: FakeSource, clock: Clock
) -> None:
    source.fail(PASSING)
    moments: list[float] = []
    while len(moments) < 9:
        before = source.restarts
        watch.look()
        if source.restarts > before:
            moments.append(clock.now)
        clock.sleep(1.0)
    pauses = [after - before for before, after in zip(moments, moments[1:], strict=False)]
    assert pauses == [FIRST_PAUSE * 2**n for n in range(6)] + [LONGEST_PAUSE, LONGEST_PAUSE]
    assert source.records[0] == ("restarted", "attempt 1, after: Connection refused")


def test_a_long_run_makes_the_next_failure_a_first_one(watch: Watch, source: FakeSource, clock: Clock) -> None:
    source.fail(PASSING)
    look_for(watch, clock, 60)
    source.state = "RUNNING"
    look_for(watch, clock, STEADY + 2)
    assert source.records[-1][0] == "running"
    restarts = source.restarts
    source.fail(PASSING)
    watch.look()
    assert source.restarts == restarts + 1
    assert source.records[-1] == ("restarted", "attempt 1, after: Connection refused")


def test_what_needs_a_person_is_said_once_and_tried_slowly(watch: Watch, source: FakeSource, clock: Clock) -> None:
    source.fail(FATAL)
    look_for(watch, clock, FATAL_PAUSE)
    assert source.restarts == 0
    assert source.records == [("needs a person", 'FATAL: password authentication failed for user "u"')]
    look_for(watch, clock, 2 * FATAL_PAUSE)
    assert source.restarts == 2


def test_an_interrupted_snapshot_is_started_over_and_not_restarted(
    watch: Watch, source: FakeSource, clock: Clock
) -> None:
    source.progress = "interrupted"
    watch.look()
    watch.look()
    assert (source.started_over, source.restarts) == (1, 0)
    assert [what for what, _ in source.records] == ["snapshot interrupted", "snapshot started over"]
    source.progress = "running"
    look_for(watch, clock, 10)
    assert source.started_over == 1


def test_a_failure_during_the_snapshot_starts_it_over(watch: Watch, source: FakeSource) -> None:
    source.progress = "running"
    source.fail(PASSING)
    watch.look()
    assert (source.started_over, source.restarts) == (1, 0)


def test_what_a_person_stopped_stays_stopped_unless_we_were_on_the_way(watch: Watch, source: FakeSource) -> None:
    source.state, source.progress = "STOPPED", "interrupted"
    watch.look()
    assert source.started_over == 0
    source.progress = "starting over"
    watch.look()
    assert source.started_over == 1


def test_an_unattached_source_and_an_absent_worker_are_waited_for(
    watch: Watch, source: FakeSource, clock: Clock
) -> None:
    source.attached = False
    look_for(watch, clock, 3)
    assert source.records == []
    source.away = True
    look_for(watch, clock, 3)
    assert source.records == [("unreachable", "Kafka Connect does not answer")]
    source.away, source.attached = False, True
    watch.look()
    assert source.records[-1][0] == "running"
