"""The benchmark with counts so small that its figures say nothing: what is tested is that all of them are there."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import psycopg
import pytest

from benchmarks.promises import PROMISES
from localstack import Stack
from tests.harness.stack import REPOSITORY

QUANTILES = ("p50", "p95", "p99")
PROCESSES = ("agent", "connect", "consumer", "kafka", "ledger-db", "source-db")
OTHERS = {
    *("load.alone.rows_per_s", "load.without_us.rows_per_s", "load.without_us.bare_s", "load.with_us.rows_per_s"),
    *("load.with_us.bare_s", "load.with_us.events_s", "load.ratio", "load.slow_down", "load.bare_slow_down"),
    *("backlog.bare.per_cpu_s", "backlog.bare.per_s", "backlog.bytes_per_change"),
    *("runs.per_s", "runs.bare.per_s", "runs.of_bare", "runs.cpu_ms", "runs.growth_mb"),
    *("documents.burst.per_s", "documents.burst.bare_per_s", "documents.burst.ratio"),
    "scale.bare.per_cpu_s",
    *("triggers.events_per_s", "triggers.events_per_cpu_s", "triggers.evaluations_per_s"),
}


def expected() -> set[str]:
    stages = ("bare", "event", "event.over_bare", "model", "model.over_bare", "activation")
    latencies = {f"latency.{rate}.{stage}.{q}" for rate in (20, 200) for stage in stages for q in QUANTILES}
    backlog = {
        f"backlog.{how}.{what}"
        for how in ("rows", "mirrored")
        for what in ("per_cpu_s", "us_per_row", "per_s", "of_bare")
    }
    memory = {f"memory.{process}.{kind}" for process in PROCESSES for kind in ("steady", "peak")}
    cpu = {f"cpu.{process}.{phase}" for process in PROCESSES for phase in ("latency.20", "latency.200", "load")}
    scale = {
        f"scale.{series}.{count}.{what}"
        for series in ("sources", "consumers", "triggers", "runs")
        for count in (1, 2)  # of sources and consumers there are four in a run that is not tiny
        for what in ("per_s", "per_cpu_s", "cpu_us", "ledger_us", "of_one", "cpu_of_one")
    }
    return OTHERS | latencies | backlog | scale | memory | cpu


def run(stack: Stack, tmp_path: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [
            *(sys.executable, "-m", "benchmarks.run", "--tiny", "--home", str(stack.home.path)),
            *("--json", str(tmp_path / "figures.json"), *arguments),
        ],
        capture_output=True,
        text=True,
        check=False,
        cwd=REPOSITORY,
    )


def left_behind(stack: Stack) -> tuple[set[str], set[str]]:
    """Directories, and databases with their slots, of benchmarks."""
    databases = set[str]()
    for url in (stack.env()["POSTGRES_URL"], stack.env()["LEDGER_URL"]):
        with psycopg.connect(url) as connection:
            rows = connection.execute("select datname::text from pg_database where datname like 'bench%'").fetchall()
            databases |= {name for (name,) in rows}
    return {path.name for path in stack.home.path.glob("bench*")}, databases


@pytest.mark.timeout(1200)  # everything is started several times over
def test_every_figure_is_measured(stack: Stack, tmp_path: Path) -> None:
    before = left_behind(stack)
    done = run(stack, tmp_path)
    assert done.returncode == 0, done.stderr
    written = json.loads((tmp_path / "figures.json").read_text())
    assert expected() - set(written["figures"]) == set()
    assert {each["figure"] for each in written["promises"]} == {promise.figure for promise in PROMISES}
    assert all(isinstance(each["value"], float | int) for each in written["figures"].values())
    assert 620 < written["figures"]["backlog.bytes_per_change"]["value"] < 700
    assert written["size"] == "tiny"
    assert "| what | promised | measured | measured / promised | |" in done.stdout
    assert all(part.state == "running" for part in stack.status())  # A stack that was up is left so.
    assert left_behind(stack) == before


@pytest.mark.parametrize("arguments", [("--only", "speed"), ("--nonsense",)])
def test_usage_is_refused_before_anything_is_started(stack: Stack, tmp_path: Path, arguments: tuple[str, ...]) -> None:
    assert run(stack, tmp_path, *arguments).returncode == 2
