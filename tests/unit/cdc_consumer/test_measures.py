from __future__ import annotations

import time

from cdc_consumer import measures
from cdc_consumer.collect import Piece
from wakestream.metrics import REGISTRY


def told(name: str) -> float | None:
    return REGISTRY.get_sample_value(f"wakestream_consumer_{name}", {"source": "counted"})


def test_what_was_read_and_applied_is_told() -> None:
    measures.read("counted", 7, 106, 120)
    pieces = [Piece("transaction", 104, ts_ms=1500, clock=True), Piece("transaction", 106, ts_ms=9000)]
    measures.applied("counted", pieces, 5, time.perf_counter())
    assert (told("records_total"), told("lag_records"), told("offset")) == (7, 13, 106)
    assert (told("pieces_total"), told("events_total"), told("cycle_seconds_count")) == (2, 5, 1)
    assert told("clock_timestamp_seconds") == 1.5


def test_an_end_that_nobody_knows_changes_nothing() -> None:
    measures.read("counted", 1, 119, 120)
    measures.read("counted", 1, 120, None)
    assert told("lag_records") == 0
