"""The agent alone on a backlog of changes that each wake it, beside a bare loop over the OpenAI SDK."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import openai

from benchmarks import children, progress, traffic
from benchmarks.children import Child, Ready
from benchmarks.figures import Figure
from benchmarks.ledgers import Looks
from benchmarks.processes import Processes
from benchmarks.progress import Look
from benchmarks.rig import Rig, Setup

WORKERS = 4
"""As many as the agent has by itself."""
BARE = 2000
"""Requests of the bare loop at most."""
LOOK = 0.5  # seconds between two counts of what is done, which the ledger has to work for
SLOWEST = 20.0  # runs per second; slower ones are not waited for
FIRST = 0.2
"""The share of the backlog after which memory has no more reason to grow."""


def measure(rig: Rig, setup: Setup) -> list[Figure]:
    """Changes while the agent is away, then how fast it works through them; a consumer is at work."""
    count = rig.counts.activations
    pool = rig.idle_pool(setup, count)
    rig.say(f"the bare loop, then {count:,} runs")
    bare_per_s = _bare(rig, min(count, BARE))
    wake(rig, setup, pool)
    with rig.looks(setup) as ledger:
        begun = progress.begin(ledger.runs())
        with rig.agent(setup) as agent:
            with rig.meter.phase("runs.first"):
                looks = follow(ledger, agent, begun, int(count * FIRST))
            with rig.meter.phase("runs.rest"):
                looks += follow(ledger, agent, looks[-1], begun.done + count - looks[-1].done)
    took = progress.stretch(looks)
    per_s = took.done / took.seconds
    growth = rig.meter.peak_mb("agent", "runs.rest") - rig.meter.peak_mb("agent", "runs.first")
    what = "runs on a backlog, scripted model"
    return [
        Figure("runs.per_s", what, per_s, "runs/s"),
        Figure("runs.bare.per_s", f"bare loop over the OpenAI SDK, {WORKERS} threads", bare_per_s, "/s"),
        Figure("runs.of_bare", f"{what}, over the bare loop", per_s / bare_per_s, ""),
        Figure("runs.cpu_ms", f"{what}, CPU of the agent", took.cpu_s / took.done * 1000, "ms/run"),
        Figure("runs.growth_mb", f"{what}: growth of the agent's memory after its first fifth", max(growth, 0.0), "MB"),
    ]


def wake(rig: Rig, setup: Setup, pool: range) -> None:
    """Let each row wake the agent, until all of that are context events; no agent is at work."""
    traffic.wake(rig.source.url, pool)
    rig.wait_applied(setup)


def follow(ledger: Looks, agents: Processes, begun: Look, count: int) -> list[Look]:
    """Look until so many more runs are done than when it begun."""
    target = begun.done + count

    def done() -> int:
        agents.require_alive()
        return ledger.runs()

    within = count / SLOWEST + 60.0
    return progress.follow(begun, done, agents.cpu_s, target, f"{target} runs done", within=within, every=LOOK)


def bare(ready: Ready, url: str, count: int) -> float:
    """So many questions of the agent's kind, asked and answered, and nothing else; returns the seconds."""
    schema: dict[str, Any] = {"type": "object", "properties": {"actions": {"type": "array", "items": {}}}}
    form: Any = {"type": "json_schema", "json_schema": {"name": "decision", "schema": schema}}
    with openai.OpenAI(base_url=url, api_key="none") as client, ThreadPoolExecutor(WORKERS) as pool:

        def ask(number: int) -> object:
            return client.chat.completions.create(
                model="scripted",
                messages=[
                    {"role": "system", "content": "You decide what is to be done about one event. " * 20},
                    {"role": "user", "content": f"Item {number} is now waking. " * 20},
                ],
                temperature=0.0,
                max_tokens=400,
                response_format=form,
            )

        list(pool.map(ask, range(WORKERS)))
        ready()
        began = time.perf_counter()
        list(pool.map(ask, range(count)))
        return time.perf_counter() - began


def _bare(rig: Rig, count: int) -> float:
    with Child(bare, rig.model_url, count) as child:
        children.begin(child)
        return count / child.result()
