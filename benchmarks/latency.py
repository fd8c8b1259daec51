"""From right before a row's change is sent to the bare reader, to its context event, and to the model's server."""

from __future__ import annotations

import re
import time
from typing import Any, cast

import requests

from benchmarks import children, figures, readers, traffic
from benchmarks.children import Child
from benchmarks.counts import Rate
from benchmarks.figures import Figure
from benchmarks.rig import Rig, Setup
from benchmarks.waiting import until

_MARK = re.compile(r"mark <(\d+)>")
ASK_TIMEOUT = 10.0  # seconds


def measure(rig: Rig, setup: Setup) -> list[Figure]:
    """Each rate in turn; consumer and agent are at work."""
    _run_in(rig, setup)
    found: list[Figure] = []
    for rate in rig.counts.rates:
        found += _at(rig, setup, rate)
    return found


def measure_documents(rig: Rig, setup: Setup) -> list[Figure]:
    """At the highest rate: to the document of each row, which the consumer reads before and after it."""
    _run_in(rig, setup)
    rate = rig.counts.rates[-1]
    pool = rig.marks(rate.rows)
    traffic.fill(rig.source.url, pool)
    rig.wait_applied(setup)
    rig.say(f"latency of documents at {rate.per_second} transactions per second")
    marks = rig.marks(rate.rows)
    with (
        Child(readers.bare, rig.bootstrap, rig.source.changes, marks) as bare,
        Child(readers.documents, rig.bootstrap, rig.source.context, marks) as documents,
        Child(traffic.pace, rig.source.url, rate, marks, pool) as writer,
    ):
        children.begin(bare, documents, writer)
        with rig.meter.phase(f"documents.{rate.per_second}"):
            sent = writer.result(rate.rows / rate.per_second + readers.PATIENCE)
            seen = {"bare": bare.result(), "document": documents.result()}
    measured = marks[rate.warm_up :]
    waits = {
        name: figures.between(sent, {mark: at for mark, at in arrived.items() if mark in measured})
        for name, arrived in seen.items()
    }
    name, what = f"documents.{rate.per_second}", f"row change → entity event, at {rate.per_second} tx/s"
    return [
        *figures.latency_figures(f"{name}.event", what, waits["document"]),
        *figures.over_figures(f"{name}.event", what, waits["document"], waits["bare"]),
        *_burst(rig, setup),
    ]


def _burst(rig: Rig, setup: Setup) -> list[Figure]:
    """Transactions of one row, and of one document, as fast as one session sends them."""
    rate = rig.counts.burst
    pool, marks = rig.marks(rate.rows), rig.marks(rate.rows)
    traffic.fill(rig.source.url, pool)
    rig.wait_applied(setup)
    rig.say(f"{rate.rows:,} documents, as fast as they are written")
    with (
        Child(readers.bare, rig.bootstrap, rig.source.changes, marks) as bare,
        Child(readers.documents, rig.bootstrap, rig.source.context, marks) as documents,
        Child(traffic.pace, rig.source.url, rate, marks, pool) as writer,
    ):
        children.begin(bare, documents, writer)
        with rig.meter.phase("documents.burst"):
            began = min(writer.result(readers.PATIENCE).values())
            last_change, last_event = max(bare.result().values()), max(documents.result().values())
    name, what = "documents.burst", f"{rate.rows:,} transactions of one document each, as fast as they are written"
    return [
        Figure(f"{name}.per_s", f"{what}: until our last event", rate.rows / (last_event - began), "tx/s"),
        Figure(f"{name}.bare_per_s", f"{what}: until the last change", rate.rows / (last_change - began), "tx/s"),
        Figure(f"{name}.ratio", f"{what}: the one over the other", (last_event - began) / (last_change - began), ""),
    ]


def _run_in(rig: Rig, setup: Setup) -> None:
    """Bring everything to where it is after some minutes of work."""
    rate = rig.counts.run_in
    rig.say(f"running in, {rate.rows:,} transactions")
    pool, marks = rig.marks(rate.rows), rig.marks(rate.rows)
    traffic.fill(rig.source.url, pool)
    with Child(traffic.pace, rig.source.url, rate, marks, pool) as writer:
        children.begin(writer)
        writer.result(rate.rows / rate.per_second + readers.PATIENCE)
    rig.wait_applied(setup)


def _at(rig: Rig, setup: Setup, rate: Rate) -> list[Figure]:
    pool = rig.marks(rate.rows)
    traffic.fill(rig.source.url, pool)
    rig.wait_applied(setup)
    rig.say(f"latency at {rate.per_second} transactions per second")
    marks = rig.marks(rate.rows)
    with (
        Child(readers.bare, rig.bootstrap, rig.source.changes, marks) as bare,
        Child(readers.events, rig.bootstrap, rig.source.context, marks) as events,
        Child(traffic.pace, rig.source.url, rate, marks, pool) as writer,
    ):
        children.begin(bare, events, writer)
        with rig.meter.phase(f"latency.{rate.per_second}"):
            sent = writer.result(rate.rows / rate.per_second + readers.PATIENCE)
            seen_bare, seen_events = bare.result(), events.result()
    asked = until(lambda: _all_asked(rig, marks[:: rate.activates]), "the requests at the model's server")
    measured = marks[rate.warm_up :]
    found = _figures(rate, sent, measured, seen_bare, seen_events, asked)
    return found + _activated(rig, setup, rate, measured, asked)


def _activated(rig: Rig, setup: Setup, rate: Rate, measured: range, asked: dict[int, float]) -> list[Figure]:
    """From where an activation is written, which is before its commit, to the request that it leads to."""
    with rig.looks(setup) as ledger:
        written = ledger.activated(measured)
    since = time.time() - time.perf_counter()  # one clock for all processes of a machine
    waits = [asked[mark] + since - at for mark, at in written.items()]
    what = f"activation → request at the model, at {rate.per_second} tx/s"
    return figures.latency_figures(f"latency.{rate.per_second}.activation", what, waits)


def _figures(
    rate: Rate,
    sent: dict[int, float],
    measured: range,
    bare: dict[int, float],
    events: dict[int, float],
    asked: dict[int, float],
) -> list[Figure]:
    waits = {
        name: figures.between(sent, {mark: at for mark, at in seen.items() if mark in measured})
        for name, seen in (("bare", bare), ("event", events), ("model", asked))
    }
    name, at = f"latency.{rate.per_second}", f"at {rate.per_second} tx/s"
    found = figures.latency_figures(f"{name}.bare", f"row change → bare reader, {at}", waits["bare"])
    for stage, what in (("event", "context event"), ("model", "request at the model")):
        found += figures.latency_figures(f"{name}.{stage}", f"row change → {what}, {at}", waits[stage])
        found += figures.over_figures(f"{name}.{stage}", f"row change → {what}, {at}", waits[stage], waits["bare"])
    return found


def _all_asked(rig: Rig, marks: range) -> dict[int, float] | None:
    """When each marked row's request arrived, once all have."""
    rig.model.require_alive()
    answer = requests.get(rig.model_url.removesuffix("/v1") + "/requests", timeout=ASK_TIMEOUT)
    arrived: dict[int, float] = {}
    for request in cast("list[dict[str, Any]]", answer.json()):
        mark = _MARK.search(str(request["body"].get("messages")))
        if mark is not None and int(mark[1]) in marks:
            arrived.setdefault(int(mark[1]), request["at"])
    return arrived if len(arrived) == len(marks) else None
