"""The consumer alone on a change log that is already there, beside a bare loop over the same log."""

from __future__ import annotations

from benchmarks import children, progress, readers
from benchmarks.children import Child
from benchmarks.figures import Figure
from benchmarks.processes import Processes
from benchmarks.readers import Drained
from benchmarks.rig import Rig, Setup
from benchmarks.sources import Source


def bare(rig: Rig) -> Drained:
    """The log read and parsed by a bare loop: what this machine does just now."""
    rig.say("the bare loop on the backlog")
    return drained(rig, rig.source, rig.counts.load_rows)


def drained(rig: Rig, source: Source, rows: int) -> Drained:
    """A source's log by the bare loop, until there were so many rows."""
    with Child(readers.drain, rig.bootstrap, source.changes, rows) as child:
        children.begin(child)
        return child.result()


def unmirrored(rig: Rig, log: Drained) -> list[Figure]:
    """The consumer with `mirror: false`, started for this and stopped after it."""
    setup = rig.unmirrored()
    rig.apply(setup)
    with rig.consumer(setup, "consumer-unmirrored") as consumer:
        return consumed(rig, setup, consumer, log, "rows", "`mirror: false`")


def consumed(rig: Rig, setup: Setup, consumer: Processes, log: Drained, name: str, what: str) -> list[Figure]:
    """How a consumer that has just been started works through the log."""
    rig.say(f"the consumer on the backlog, {what}")
    with rig.looks(setup) as ledger:

        def done() -> int:
            consumer.require_alive()
            return log.applied(ledger.offset(rig.source.name))

        looks = progress.follow(progress.begin(0), done, consumer.cpu_s, log.rows, "the end of the backlog")
    took = progress.stretch(looks)
    rows, cpu_s = took.done, max(took.cpu_s, 0.01)  # what the system's clock of CPU time can tell
    per_cpu_s = rows / cpu_s
    return [
        Figure(f"backlog.{name}.per_cpu_s", f"consumer on a backlog, {what}, per CPU second", per_cpu_s, "rows/s"),
        Figure(f"backlog.{name}.us_per_row", f"consumer on a backlog, {what}, CPU", cpu_s / rows * 1e6, "µs/row"),
        Figure(f"backlog.{name}.per_s", f"consumer on a backlog, {what}, wall time", rows / took.seconds, "rows/s"),
        Figure(
            f"backlog.{name}.of_bare",
            f"consumer on a backlog, {what}, CPU over the bare loop's",
            per_row(log) ** -1 * cpu_s / rows,
            "",
        ),
    ]


def per_row(log: Drained) -> float:
    """CPU seconds of the bare loop for each row."""
    return log.cpu_s / log.rows


def figures(log: Drained) -> list[Figure]:
    """The bare loop's own."""
    return [
        Figure("backlog.bare.per_cpu_s", "bare loop on the backlog, per CPU second", 1 / per_row(log), "rows/s"),
        Figure("backlog.bare.per_s", "bare loop on the backlog, wall time", log.rows / log.wall_s, "rows/s"),
        Figure("backlog.bytes_per_change", "size of a change in the log", log.bytes / log.rows, "bytes"),
    ]
