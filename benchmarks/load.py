"""Loads of many rows: without anything attached, with Debezium and the bare reader, and with everything."""

from __future__ import annotations

from dataclasses import dataclass

from benchmarks import children, readers, traffic
from benchmarks.children import Child
from benchmarks.figures import Figure
from benchmarks.rig import Rig


@dataclass(frozen=True)
class Loaded:
    """How one load went."""

    rows: int
    rows_per_s: float
    """As the loading session sees it."""
    bare_s: float
    """From its first statement to the bare reader's last change."""
    events_s: float | None = None
    """From its first statement to the last context event."""


def alone(rig: Rig) -> list[Figure]:
    """What the database does when nothing is attached; the table is empty again afterwards."""
    rig.say("loading, nothing attached")
    marks = rig.marks(rig.counts.load_rows)
    with Child(traffic.load, rig.source.url, marks) as writer:
        children.begin(writer)
        began, ended = writer.result()
    with traffic.connect(rig.source.url) as connection:
        connection.execute("truncate item")
    rate = len(marks) / (ended - began)
    return [Figure("load.alone.rows_per_s", "load, nothing attached", rate, "rows/s")]


def without_us(rig: Rig) -> Loaded:
    """The same with Debezium and the bare reader: this makes the backlog, too."""
    rig.say("loading, Debezium and the bare reader attached")
    marks = rig.marks(rig.counts.load_rows)
    with (
        Child(readers.bare, rig.bootstrap, rig.source.changes, marks) as bare,
        Child(traffic.load, rig.source.url, marks) as writer,
    ):
        children.begin(bare, writer)
        began, ended = writer.result()
        arrived = max(bare.result().values())
    return Loaded(len(marks), len(marks) / (ended - began), arrived - began)


def with_us(rig: Rig) -> Loaded:
    """The same with consumer and agent at work."""
    rig.say("loading, everything attached")
    marks = rig.marks(rig.counts.load_rows)
    with (
        Child(readers.bare, rig.bootstrap, rig.source.changes, marks) as bare,
        Child(readers.events, rig.bootstrap, rig.source.context, marks) as events,
        Child(traffic.load, rig.source.url, marks) as writer,
    ):
        children.begin(bare, events, writer)
        with rig.meter.phase("load"):
            began, ended = writer.result()
            bare_last = max(bare.result().values())
            last = max(events.result().values())
    return Loaded(len(marks), len(marks) / (ended - began), bare_last - began, last - began)


def figures(without: Loaded, beside: Loaded) -> list[Figure]:
    """Both loads beside each other."""
    assert beside.events_s is not None
    rows = f"{beside.rows:,} rows"
    return [
        Figure("load.without_us.rows_per_s", "load, Debezium and bare reader", without.rows_per_s, "rows/s"),
        Figure("load.without_us.bare_s", f"{rows} to the bare reader, without us", without.bare_s, "s"),
        Figure("load.with_us.rows_per_s", "load, everything attached", beside.rows_per_s, "rows/s"),
        Figure("load.with_us.bare_s", f"{rows} to the bare reader, beside us", beside.bare_s, "s"),
        Figure("load.with_us.events_s", f"{rows} to our last event", beside.events_s, "s"),
        Figure("load.ratio", "our last event / the bare reader's last change", beside.events_s / beside.bare_s, ""),
        Figure("load.slow_down", "the load's time with us / without us", without.rows_per_s / beside.rows_per_s, ""),
        Figure("load.bare_slow_down", "bare reader's time with us / without us", beside.bare_s / without.bare_s, ""),
    ]
