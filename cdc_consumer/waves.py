"""In which order changes are applied: set by set, and yet as if each had been applied alone."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import msgspec

from cdc_consumer.decode import Change
from cdc_consumer.tables import TablePlan

NO_KEY = "null"
"""The key of a row in a table without one."""


class Row(msgspec.Struct, gc=False, eq=False):
    """What became of one change: its images as PostgreSQL prints them."""

    change: Change
    plan: TablePlan
    key: str = ""
    """The key as a JSON object, or `NO_KEY`."""
    before: str | None = None
    after: str | None = None
    before_known: bool = True
    """Whether `before` says the truth when it is None."""
    missing_before: frozenset[str] = frozenset()
    missing_after: frozenset[str] = frozenset()
    error: str | None = None
    """Why its values could not be read."""
    moved: Row | None = None
    """The delete of the old key, when this insert is the other half of a change of the key."""


def parts(changes: Sequence[Change], size: int) -> Iterator[Sequence[Change]]:
    """As many as one statement takes; an insert may continue a row whose key was changed by the delete before it."""
    start = 0
    while start < len(changes):
        end = min(start + size, len(changes))
        while end < len(changes) and changes[end - 1].op == "d":
            end += 1
        yield changes[start:end]
        start = end


def segments(rows: list[Row]) -> Iterator[list[Row]]:
    """Stretches whose changes may go in waves: a truncate, and an insert that continues a moved row, stand apart."""
    segment: list[Row] = []
    for row in rows:
        alone = row.change.op == "t"
        if segment and (alone or _continues_moved(row)):
            yield segment
            segment = []
        segment.append(row)
        if alone:
            yield segment
            segment = []
    if segment:
        yield segment


def is_move(previous: Change, change: Change) -> bool:
    """Whether these two are one change of the key: only then do they have one place in the source's log."""
    return (previous.op, change.op) == ("d", "c") and previous.table == change.table and previous.lsn == change.lsn


def _continues_moved(row: Row) -> bool:
    """Whether what this insert does not tell stands in the row of the old key, which must have been applied first."""
    image = row.change.after or b""
    return row.moved is not None and (row.plan.is_doubtful(image) or row.plan.may_hide(image))


def of(segment: list[Row]) -> Iterator[tuple[TablePlan, list[Row]]]:
    """For each table its waves, in order; in a wave every key stands once. What has no key goes in one."""
    first = segment[0].change.table
    keys = {row.change.key for row in segment if row.change.table == first}
    if len(keys) == len(segment):  # one table, and no key twice
        yield segment[0].plan, segment
        return
    counts: dict[tuple[str, bytes], int] = {}
    waves: dict[str, list[list[Row]]] = {}
    for row in segment:
        place = (row.change.table, row.change.key)
        number = 0 if row.plan.keyless else counts.get(place, 0)
        counts[place] = number + 1
        of_table = waves.setdefault(row.change.table, [])
        if number == len(of_table):
            of_table.append([])
        of_table[number].append(row)
    for of_table in waves.values():
        for wave in of_table:
            yield wave[0].plan, wave
