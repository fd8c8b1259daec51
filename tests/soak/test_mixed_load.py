"""Half an hour of mixed load while parts are killed and go away: the store is what the source is; `verify` can tell."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Generator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from localstack import Stack
from tests.faults.test_entity_oracle import DDL, TABLES, TRIP, Writer
from tests.harness.processes import ConsumerProcess
from tests.harness.source import AttachedSource, attached
from tests.harness.stack import REPOSITORY
from tests.harness.tending import Tending
from tests.harness.waiting import eventually

SEED = int(os.environ["WAKE_SEED"])
MINUTES = float(os.environ.get("WAKE_SOAK_MINUTES", "30"))
BETWEEN = 10.0  # seconds from one fault to the next, at most
BREATH = 0.1  # seconds between two transactions: every document of all of them is compared at the end, in memory
AWAY = 60.0  # seconds for which the broker is away
PATIENCE = 180.0

pytestmark = [
    pytest.mark.timeout(60 * MINUTES + 1200),
    pytest.mark.skipif("WAKE_SOAK" not in os.environ, reason="it takes half an hour: `make soak`"),
]


class Faults:
    """One fault after the other until the time is up; in the end everything runs."""

    def __init__(self, source: AttachedSource, stack: Stack, consumer: ConsumerProcess) -> None:
        self._source = source
        self._stack = stack
        self._consumer = consumer
        self._random = random.Random(SEED)
        self.done: dict[str, int] = {}

    def run(self, until: float) -> None:
        faults: list[Callable[[], None]] = [self.consumer, self.connect, self.broker, self.broker_away]
        number = 0
        while time.monotonic() < until:
            fault = faults[number] if number < len(faults) else self._random.choice(faults[:3])  # each at least once
            fault()
            self.done[fault.__name__] = self.done.get(fault.__name__, 0) + 1
            number += 1
            self._source.wait_streaming(within=PATIENCE)
            threading.Event().wait(self._random.uniform(0, BETWEEN))

    def consumer(self) -> None:
        self._consumer.kill()
        self._consumer.start()

    def connect(self) -> None:
        self._stack.kill("connect")
        self._stack.start_part("connect")

    def broker(self) -> None:
        self._stack.kill("kafka")
        self._stack.start_part("kafka")

    def broker_away(self) -> None:
        pid = next(part.pid or 0 for part in self._stack.status() if part.part == "kafka")
        os.kill(pid, signal.SIGSTOP)
        try:
            threading.Event().wait(AWAY)
        finally:
            os.kill(pid, signal.SIGCONT)


@pytest.fixture
def source(stack: Stack, env: dict[str, str]) -> Generator[AttachedSource]:
    with attached(env, DDL, TABLES, entities={"trip": TRIP}) as source:
        yield source


def test_the_store_is_what_the_source_is(source: AttachedSource, stack: Stack, tmp_path: Path) -> None:
    until = time.monotonic() + 60 * MINUTES

    def write() -> None:
        while time.monotonic() < until or not writer.current:  # a row to alter must be left
            writer.write()
            threading.Event().wait(BREATH)

    with closing(Writer(source)) as writer, ConsumerProcess(source.raw_config, tmp_path) as consumer:
        consumer.start()
        source.wait_mirrored()
        source.wait_snapshot_kept()
        faults = Faults(source, stack, consumer)
        with ThreadPoolExecutor(2) as pool:
            for task in [pool.submit(write), pool.submit(faults.run, until)]:
                task.result()
        settle(source)
        source.wait_applied(within=PATIENCE)
        assert min(faults.done.values()) > 0
        assert len(faults.done) == 4
        context = source.context()
        context.verify_contract()
        assert not context.of_type("context.gap")
        told: dict[int, dict[str, object]] = {}
        for each in context.of_type("entity.changed"):
            commit = told.setdefault(each.data["position"]["commit"], {})
            commit[each.event["subject"]] = (each.data["before"], each.data["after"])
        assert [told[commit] for commit in sorted(told)] == writer.expected
        verify(source, tmp_path)
        assert consumer.stop() == 0


def settle(source: AttachedSource) -> None:
    """Nothing has failed, nothing is left to be read."""
    tending = Tending(source.config, source.name, source.connect)
    with source.ledger() as ledger:
        eventually(lambda: tending.look(ledger), "a connector that runs", within=PATIENCE)


def verify(source: AttachedSource, tmp_path: Path) -> None:
    """`wake context verify` finds nothing; and exactly the row that was altered on purpose."""
    file = tmp_path / "wake.yaml"
    file.write_text(json.dumps(source.raw_config))
    clean = ask(file, source.name)
    assert (clean.returncode, differing(clean)) == (0, []), clean.stderr
    with source.ledger() as ledger:
        row = ledger.execute(
            f"update {source.name}__public.booking set note = coalesce(note, '') || '?' where id ="
            f" (select min(id) from {source.name}__public.booking) returning id".encode()
        ).fetchone()
    found = ask(file, source.name)
    assert row is not None
    assert (found.returncode, differing(found)) == (1, [("public.booking", {"id": row[0]})])


def ask(file: Path, source: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "cli.main", "-c", str(file), "context", "verify", source, "--json"]
    return subprocess.run(command, capture_output=True, text=True, check=False, cwd=REPOSITORY)


def differing(found: subprocess.CompletedProcess[str]) -> list[tuple[str, Any]]:
    """Table and key of every row that differs."""
    tables = [json.loads(line) for line in found.stdout.splitlines()]
    return [(each["table"], row["key"]) for each in tables for row in each["differing"]]
