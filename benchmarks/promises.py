"""What the design promises of the figures. One line here for each promise that one run can check."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from benchmarks.figures import Figure


@dataclass(frozen=True)
class Promise:
    """A bound for one figure."""

    figure: str
    """Its name."""
    text: str
    bound: Literal["at most", "at least"]
    limit: float


@dataclass(frozen=True)
class Judged:
    """A promise beside what was measured."""

    promise: Promise
    figure: Figure

    @property
    def ratio(self) -> float:
        """Measured over promised."""
        return self.figure.value / self.promise.limit

    @property
    def kept(self) -> bool:
        """Whether the figure is within its bound."""
        value, limit = self.figure.value, self.promise.limit
        return value <= limit if self.promise.bound == "at most" else value >= limit


_EVENT = "row change → context event, mirrored, 200 tx/s, over the bare reader"
_DOCUMENT = "row change → entity event, 200 tx/s, over the bare reader"
_MODEL = "row change → request at the model, 20 activations/s, over the bare reader"

PROMISES = (
    Promise("latency.200.event.over_bare.p50", f"{_EVENT}, p50", "at most", 2.0),
    Promise("latency.200.event.over_bare.p99", f"{_EVENT}, p99", "at most", 6.0),
    Promise("documents.200.event.over_bare.p50", f"{_DOCUMENT}, p50", "at most", 4.0),
    Promise("documents.200.event.over_bare.p99", f"{_DOCUMENT}, p99", "at most", 12.0),
    Promise("latency.20.model.over_bare.p50", f"{_MODEL}, p50", "at most", 8.0),
    Promise("latency.20.model.over_bare.p99", f"{_MODEL}, p99", "at most", 25.0),
    Promise("latency.20.activation.p50", "activation → request at the model, 20 activations/s, p50", "at most", 5.0),
    Promise("load.ratio", "one load: our last event / the bare reader's last change", "at most", 1.1),
    Promise("backlog.rows.per_cpu_s", "consumer on a backlog, `mirror: false`, per CPU second", "at least", 100_000),
    Promise("backlog.mirrored.per_cpu_s", "consumer on a backlog, mirrored, per CPU second", "at least", 80_000),
    Promise("triggers.events_per_s", "agent, 100 triggers, 5 of which read a changed column", "at least", 15_000),
    Promise("runs.of_bare", "runs/s through a scripted model / a bare loop over the OpenAI SDK", "at least", 0.5),
    Promise("runs.growth_mb", "a backlog of 100,000 runs: growth of the agent's memory", "at most", 20),
    Promise("large.consumer_mb", "one transaction of a million rows: consumer's memory, peak", "at most", 400),
    Promise("wide.consumer_mb", "one row in 10,000 documents: consumer's memory, peak", "at most", 400),
    Promise("memory.consumer.steady", "consumer's memory, steady", "at most", 250),
    Promise("memory.consumer.peak", "consumer's memory, peak", "at most", 400),
    Promise("memory.agent.steady", "agent's memory, steady", "at most", 250),
    Promise("memory.agent.peak", "agent's memory, peak", "at most", 400),
)


def judge(figures: Iterable[Figure], promises: Sequence[Promise] = PROMISES) -> list[Judged]:
    """The promises whose figures were measured, in the order of the promises."""
    by_name = {figure.name: figure for figure in figures}
    return [Judged(promise, by_name[promise.figure]) for promise in promises if promise.figure in by_name]
