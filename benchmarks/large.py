"""What does not fit into memory: one transaction of very many rows, and one row that very many documents show."""

from __future__ import annotations

import time

from benchmarks import traffic
from benchmarks.figures import Figure
from benchmarks.rig import Rig, Setup

WIDE = "wide"


def transaction(rig: Rig, setup: Setup) -> list[Figure]:
    """One transaction with a row for each mark, until the consumer has told all of it."""
    marks = rig.marks(rig.counts.large_rows)
    rig.say(f"one transaction of {len(marks):,} rows")
    with rig.meter.phase("large"):
        traffic.fill(rig.source.url, marks)
        began = time.perf_counter()
        rig.wait_applied(setup)
        took = time.perf_counter() - began
    rows = f"one transaction of {len(marks):,} rows"
    return [
        Figure("large.rows_per_s", f"{rows}: from its commit to the last event", len(marks) / took, "rows/s"),
        Figure("large.consumer_mb", f"{rows}: consumer's memory, peak", rig.meter.peak_mb("consumer", "large"), "MB"),
    ]


def fan_out(rig: Rig, setup: Setup) -> list[Figure]:
    """One change of a row that very many documents show; the entity is in force."""
    marks = rig.marks(rig.counts.fan_out)
    rig.say(f"one row in {len(marks):,} documents")
    with traffic.connect(rig.source.url) as connection:
        connection.execute("insert into kind values (%s, 'as it was')", (WIDE,))
        connection.execute(
            "insert into item (id, mark, kind) select g, g, %s::text from generate_series(%s::bigint, %s::bigint) g",
            (WIDE, marks.start, marks.stop - 1),
        )
    rig.wait_applied(setup)
    with rig.meter.phase("wide"):
        with traffic.connect(rig.source.url) as connection:
            connection.execute("update kind set label = 'as it is' where kind = %s", (WIDE,))
        began = time.perf_counter()
        rig.wait_applied(setup)
        took = time.perf_counter() - began
    wide = f"one row in {len(marks):,} documents"
    return [
        Figure("wide.documents_per_s", f"{wide}: from the commit to the last event", len(marks) / took, "documents/s"),
        Figure("wide.consumer_mb", f"{wide}: consumer's memory, peak", rig.meter.peak_mb("consumer", "wide"), "MB"),
    ]
