"""More sources, more consumers, more agents: how the rate grows with them, and that the work for each row does not."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass

from benchmarks import backlog, children, progress, runs, traffic, triggers
from benchmarks.children import Child
from benchmarks.figures import Figure
from benchmarks.processes import Processes
from benchmarks.progress import Look, Stretch
from benchmarks.readers import Drained
from benchmarks.rig import Rig, Setup
from benchmarks.sources import Source

LOOK = 0.1  # seconds; looking at many processes is work that they wait for
AGENTS = (1, 2)
LEDGER = "ledger-db"
LEAST = 0.01  # seconds that the system's clock of CPU time can tell

Logs = Mapping[Source, Drained]


@dataclass(frozen=True)
class Worked:
    """How some processes worked through a backlog."""

    per_s: float
    """By wall time."""
    cpu_us: float
    """CPU of all of them for each one that was done."""
    ledger_us: float
    """The ledger's CPU for each."""


def of_sources(rig: Rig) -> list[Figure]:
    """A backlog in several sources: how one consumer works through some of them, and how several share them all."""
    spread, rows = rig.counts.spread, rig.counts.spread_rows
    with rig.several(max(spread)) as setup, rig.attached(setup):
        logs = _filled(rig, setup)
        alone = {count: _consumed(rig, setup, dict(list(logs.items())[:count])) for count in spread}
        shared = {count: _consumed(rig, setup, logs, share=count) for count in spread}
        rig.say("the bare loop on one of the logs")
        bare = backlog.drained(rig, setup.sources[0], rows)
    what = f"bare loop on {rows:,} rows of one source, per CPU second"
    return [
        Figure("scale.bare.per_cpu_s", what, bare.rows / bare.cpu_s, "rows/s"),
        *series("scale.sources", "one consumer, backlog of {} sources", "rows", alone),
        *series("scale.consumers", f"backlog of {max(spread)} sources, {{}} `consume --share`", "rows", shared),
    ]


def of_agents(rig: Rig, setup: Setup) -> list[Figure]:
    """A backlog of context events, then one of runs, for one agent and for two that share it; a consumer is at work."""
    many, count = rig.many(), rig.counts.spread_runs
    pool = rig.idle_pool(setup, triggers.POOL + count * len(AGENTS))
    touched, woken = pool[: triggers.POOL], pool[triggers.POOL :]
    read = {agents: _read(rig, many, touched, agents) for agents in AGENTS}
    done = {
        agents: _run(rig, setup, woken[number * count : (number + 1) * count], agents)
        for number, agents in enumerate(AGENTS)
    }
    return [
        *series("scale.triggers", f"{{}} `agent --share`, {rig.counts.triggers} triggers", "events", read),
        *series("scale.runs", "{} `agent --share`, scripted model", "runs", done),
    ]


def _read(rig: Rig, setup: Setup, touched: range, agents: int) -> Worked:
    rig.say(f"{rig.counts.updates:,} updates, {rig.counts.triggers} triggers, agents: {agents}")
    triggers.touch(rig, setup, touched)
    begun = triggers.begin(rig, setup)
    with rig.agents(setup, agents) as processes:
        return _worked(rig, lambda: triggers.read(rig, setup, processes, begun))


def _run(rig: Rig, setup: Setup, woken: range, agents: int) -> Worked:
    rig.say(f"{len(woken):,} runs, agents: {agents}")
    runs.wake(rig, setup, woken)
    with rig.looks(setup) as ledger:
        begun = progress.begin(ledger.runs())
        with rig.agents(setup, agents) as processes:
            return _worked(rig, lambda: progress.stretch(runs.follow(ledger, processes, begun, len(woken))))


def _filled(rig: Rig, setup: Setup) -> Logs:
    """Load every source as much, and wait until all of it is in the change logs."""
    rows = rig.counts.spread_rows
    rig.say(f"{rows:,} rows in each of {len(setup.sources)} sources")
    with ExitStack() as running:
        writers = [running.enter_context(Child(traffic.load, source.url, rig.marks(rows))) for source in setup.sources]
        children.begin(*writers)
        for writer in writers:
            writer.result()
    return {source: backlog.drained(rig, source, rows) for source in setup.sources}


def _consumed(rig: Rig, setup: Setup, logs: Logs, share: int | None = None) -> Worked:
    """How one consumer, or several that share, work through these logs; their ledger knows nothing of them yet."""
    rig.say(f"the backlog of {len(logs)} sources, " + ("one consumer" if share is None else f"shared by {share}"))
    with rig.copied(setup) as empty:
        begun = progress.begin(0)
        started = rig.consumer(empty, "consume-1", list(logs)) if share is None else rig.consumers(empty, share)
        with started as consumers:
            return _worked(rig, lambda: _followed(rig, empty, consumers, logs, begun))


def _followed(rig: Rig, setup: Setup, consumers: Processes, logs: Logs, begun: Look) -> Stretch:
    with rig.looks(setup) as ledger:

        def done() -> int:
            consumers.require_alive()
            return sum(log.applied(ledger.offset(source.name)) for source, log in logs.items())

        total = sum(log.rows for log in logs.values())
        return progress.stretch(progress.follow(begun, done, consumers.cpu_s, total, "the backlogs' end", every=LOOK))


def _worked(rig: Rig, work: Callable[[], Stretch]) -> Worked:
    before = rig.meter.cpu_s(LEDGER)
    took = work()
    ledger_s = rig.meter.cpu_s(LEDGER) - before
    return Worked(took.done / took.seconds, max(took.cpu_s, LEAST) / took.done * 1e6, ledger_s / took.done * 1e6)


def series(name: str, what: str, unit: str, worked: Mapping[int, Worked]) -> list[Figure]:
    """The figures of each, and beside those of the first."""
    found: list[Figure] = []
    one = worked[min(worked)]
    for count, each in worked.items():
        at, of = f"{name}.{count}", what.format(count)
        found += [
            Figure(f"{at}.per_s", f"{of}, wall time", each.per_s, f"{unit}/s"),
            Figure(f"{at}.per_cpu_s", f"{of}, per CPU second", 1e6 / each.cpu_us, f"{unit}/s"),
            Figure(f"{at}.cpu_us", f"{of}, CPU for each", each.cpu_us, "µs"),
            Figure(f"{at}.ledger_us", f"{of}, CPU of the ledger for each", each.ledger_us, "µs"),
            Figure(f"{at}.of_one", f"{of}, wall time, over one's", each.per_s / one.per_s, ""),
            Figure(f"{at}.cpu_of_one", f"{of}, CPU for each, over one's", each.cpu_us / one.cpu_us, ""),
        ]
    return found
