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
    plan = segment[0].plan
    keys = {row.change.key for row in segment if row.change.table == plan.label}
    if len(keys) == len(segment) and plan.simple_key:  # one table, and no key twice
        yield plan, segment
        return
    of_tables: dict[str, list[Row]] = {}
    for row in segment:
        of_tables.setdefault(row.change.table, []).append(row)
    for rows in of_tables.values():
        plan = rows[0].plan
        for wave in [rows] if plan.keyless else _by_turns(rows) if plan.simple_key else _stretches(rows):
            yield plan, wave


def _by_turns(rows: list[Row]) -> list[list[Row]]:
    """The first change of every key, then the second of those that have one, and so on."""
    counts: dict[bytes, int] = {}
    waves: list[list[Row]] = []
    for row in rows:
        number = counts.get(row.change.key, 0)
        counts[row.change.key] = number + 1
        if number == len(waves):
            waves.append([])
        waves[number].append(row)
    return waves


def _stretches(rows: list[Row]) -> list[list[Row]]:
    """Where one key may be spelt in several ways, as 1.0 and 1.00: deletes do not leave their place among the others.

    Others that are one key in two spellings cannot stand side by side without a delete between them.
    """
    waves: list[list[Row]] = []
    seen = set[bytes]()
    for row in rows:
        if not waves or row.change.key in seen or (row.change.op == "d") != (waves[-1][-1].change.op == "d"):
            waves.append([])
            seen.clear()
        waves[-1].append(row)
        seen.add(row.change.key)
    return waves
