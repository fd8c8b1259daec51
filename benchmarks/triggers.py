"""The agent alone on a backlog of changes that many triggers on one table could be concerned with."""

from __future__ import annotations

from benchmarks import configuration, progress, readers, traffic
from benchmarks.figures import Figure
from benchmarks.rig import Rig

POOL = 2000  # rows


def measure(rig: Rig) -> list[Figure]:
    """Updates while the agent is away, then how fast it works through them; a consumer is at work."""
    setup, counts = rig.many(), rig.counts
    pool = rig.marks(POOL)
    traffic.fill(rig.source_url, pool)
    rig.wait_applied(setup)
    with rig.agent(setup):
        rig.wait_read(setup)
    rig.say(f"{counts.updates:,} updates, then {counts.triggers} triggers on them")
    traffic.touch(rig.source_url, rig.marks(counts.updates), pool)
    rig.wait_applied(setup)
    target = sum(readers.end_offsets(rig.bootstrap, rig.context).values())
    with rig.looks(setup) as ledger, rig.agent(setup) as agent:

        def done() -> int:
            agent.require_alive()
            return ledger.agent_position(rig.context)

        looks = progress.follow(done, lambda: rig.meter.cpu_s("agent"), target, "the agent at the updates' end")
    took = progress.stretch(looks)
    per_s, per_cpu_s = took.done / took.seconds, took.done / max(took.cpu_s, 0.01)
    evaluated = counts.touched + configuration.TRUE_AT_ONCE
    what = f"agent, {counts.triggers} triggers, {counts.touched} of which read a changed column"
    return [
        Figure("triggers.events_per_s", what, per_s, "events/s"),
        Figure("triggers.events_per_cpu_s", f"{what}, per CPU second", per_cpu_s, "events/s"),
        Figure("triggers.evaluations_per_s", f"{what}, conditions evaluated", per_s * evaluated, "/s"),
    ]
