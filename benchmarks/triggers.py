"""The agent alone on a backlog of changes that many triggers on one table could be concerned with."""

from __future__ import annotations

from benchmarks import configuration, progress, readers, traffic
from benchmarks.figures import Figure
from benchmarks.processes import Processes
from benchmarks.progress import Look, Stretch
from benchmarks.rig import Rig, Setup

POOL = 2000  # rows


def measure(rig: Rig) -> list[Figure]:
    """Updates while the agent is away, then how fast it works through them; a consumer is at work."""
    setup, counts = rig.many(), rig.counts
    pool = rig.idle_pool(setup, POOL)
    rig.say(f"{counts.updates:,} updates, then {counts.triggers} triggers on them")
    touch(rig, setup, pool)
    begun = begin(rig, setup)
    with rig.agent(setup) as agent:
        took = read(rig, setup, agent, begun)
    per_s, per_cpu_s = took.done / took.seconds, took.done / max(took.cpu_s, 0.01)
    evaluated = counts.touched + configuration.TRUE_AT_ONCE
    what = f"agent, {counts.triggers} triggers, {counts.touched} of which read a changed column"
    return [
        Figure("triggers.events_per_s", what, per_s, "events/s"),
        Figure("triggers.events_per_cpu_s", f"{what}, per CPU second", per_cpu_s, "events/s"),
        Figure("triggers.evaluations_per_s", f"{what}, conditions evaluated", per_s * evaluated, "/s"),
    ]


def touch(rig: Rig, setup: Setup, pool: range) -> None:
    """The updates, until all of them are context events; no agent is at work."""
    traffic.touch(rig.source.url, rig.marks(rig.counts.updates), pool)
    rig.wait_applied(setup)


def begin(rig: Rig, setup: Setup) -> Look:
    """How far agents had read when none is at work."""
    with rig.looks(setup) as ledger:
        return progress.begin(ledger.agent_position(rig.source.context))


def read(rig: Rig, setup: Setup, agents: Processes, begun: Look) -> Stretch:
    """How agents that have been started since then read up to the end."""
    topic = rig.source.context
    target = sum(readers.end_offsets(rig.bootstrap, topic).values())
    with rig.looks(setup) as ledger:

        def done() -> int:
            agents.require_alive()
            return ledger.agent_position(topic)

        return progress.stretch(progress.follow(begun, done, agents.cpu_s, target, "the agent at the updates' end"))
