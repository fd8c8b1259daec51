"""Kills spread over a run of the workload: the consumer at random moments and at its failpoints, and Connect."""

from __future__ import annotations

import random
import signal
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

from localstack import Stack
from tests.harness.processes import FAILPOINTS, ConsumerProcess
from tests.harness.source import AttachedSource
from tests.harness.waiting import eventually
from tests.harness.workload import Workload

LONGEST_LIFE = 0.8  # seconds of a consumer from taking over to a random kill
WORTH_A_LIFE = 20  # records by which the change log grows between two lives of the consumer


@dataclass
class Chaos:
    """One run: the workload goes on only as far as the kills do, so that all of it is written between them."""

    source: AttachedSource
    stack: Stack
    consumer: ConsumerProcess
    workload: Workload
    seed: int
    transactions: int
    random_kills: int
    connect_kills: int
    connect_ends: list[int] = field(default_factory=list[int])
    """The pids of the workers that were killed."""

    def __post_init__(self) -> None:
        self._random = random.Random(self.seed)
        self._moments: list[str | None] = [*([None] * self.random_kills), *FAILPOINTS]
        self._random.shuffle(self._moments)
        self._killed = 0
        self._moved = threading.Condition()
        self._failed = False

    def run(self) -> None:
        """Until everything is written and everybody was killed as often as planned; the consumer runs at the end."""
        with ThreadPoolExecutor(3) as pool:
            tasks = [
                pool.submit(self._guarded, task) for task in (self._write, self._kill_consumer, self._kill_connect)
            ]
        for task in tasks:
            task.result()
        self._start()

    def _guarded(self, task: Callable[[], None]) -> None:
        """One task that fails ends the waits of the others."""
        try:
            task()
        except BaseException:
            with self._moved:
                self._failed = True
                self._moved.notify_all()
            raise

    def _write(self) -> None:
        while self.workload.done < self.transactions:
            self._wait_killed(len(self._moments) * self.workload.done // self.transactions - 1)
            self.workload.step()

    def _kill_consumer(self) -> None:
        end = 0
        for point in self._moments:
            end = self.source.wait_grown(end + WORTH_A_LIFE)
            if point is not None:
                self.consumer.hold(point)
            if point is None:
                self._start()
                if self._random.random() < 0.5:  # the others are killed in their first cycle, mostly
                    applied = self.source.applied_offset()
                    eventually(lambda applied=applied: self.source.applied_offset() > applied, "a cycle committed")
                threading.Event().wait(self._random.uniform(0, LONGEST_LIFE))
                assert self.consumer.kill() == -signal.SIGKILL
            else:
                self.consumer.start()
                self.consumer.kill_at(point)
            with self._moved:
                self._killed += 1
                self._moved.notify_all()

    def _start(self) -> None:
        before = self._epoch()
        self.consumer.start()
        eventually(lambda: self._epoch() > before, "the consumer owning its source")

    def _kill_connect(self) -> None:
        self.source.wait_snapshot_kept()
        for number in range(self.connect_kills):
            self._wait_killed(len(self._moments) * number // self.connect_kills)
            self.source.wait_streaming()
            self.connect_ends.append(self._connect_pid())
            self.stack.kill("connect")
            self.stack.start_part("connect")
        self.source.wait_streaming()

    def _wait_killed(self, count: int) -> None:
        with self._moved:
            self._moved.wait_for(lambda: self._killed >= count or self._failed)
        assert not self._failed, "another part of the run has failed"

    def _epoch(self) -> int:
        with self.source.ledger() as connection:
            row = connection.execute("select epoch from wake.source_position where source = %s", (self.source.name,))
            found = row.fetchone()
        return 0 if found is None else int(found[0])

    def _connect_pid(self) -> int:
        return next(part.pid or 0 for part in self.stack.status() if part.part == "connect")
