"""Incremental snapshots that show rows as they were before the last change that the log has told of them.

A commit stands in the log as soon as it is on disk, and other sessions see it later: what Debezium reads of a table
meanwhile comes behind the change and does not have it.
"""

from __future__ import annotations

import random
from typing import Any, LiteralString

import psycopg
import pytest

from cdc_consumer import recent
from cdc_consumer.plan import Plan
from tests.harness.context import ContextLog
from tests.harness.debezium import LATER, TS_MS, LogWriter, delete, insert, truncate, update
from tests.harness.replay import Recording
from tests.unit.cdc_consumer.tables import PLACEHOLDER, SOURCE, NewLedger, column, plan, table
from tests.unit.cdc_consumer.test_batch import KEY, started, summary, whole
from wakestream import change_log
from wakestream.capture import CapturedTable

KIND = "Incremental Snapshot"
SEAT = table("seat", "id", column("id", "int4"), column("n", "int4"), column("note", "text"))
GAP = change_log.encode(change_log.Control(reason="somebody says so", ts_ms=TS_MS))
ROWS: LiteralString = f"select id, n, note from {SOURCE}__public.seat order by id"
STATE: LiteralString = "select complete, doubt, snapshot from wake.mirror_state"
UNKNOWN: LiteralString = "select subject, columns from wake.missing_value"
LEFT: LiteralString = "select count(*) from wake.snapshot_row"
OTHERWISE = "rows are shown otherwise than the log had told just before it began"


def seat(number: int, n: int | None, note: str | None = "a") -> dict[str, Any]:
    return insert("seat", {"id": number}, {"n": n, "note": note})


def changed(number: int, n: int, note: str = "a") -> dict[str, Any]:
    return update("seat", {"id": number}, {"n": n, "note": note})


def begin(log: LogWriter, *, ts_ms: int = LATER, part: bool = False) -> None:
    if part:
        log.snapshot_id = change_log.snapshot_id(whole=False)
    log.notice("STARTED", KIND, ts_ms=ts_ms, data_collections="public.seat")


def end(log: LogWriter, rows: int | None = None) -> None:
    if rows is not None:
        said = {"scanned_collection": "public.seat", "status": "SUCCEEDED", "total_rows": str(rows)}
        log.notice("TABLE_SCAN_COMPLETED", KIND, **said)
    log.notice("COMPLETED", KIND, data_collections="public.seat")
    log.settle()


def mirrored(*rows: dict[str, Any]) -> LogWriter:
    """A log whose initial snapshot has shown these."""
    log = LogWriter()
    log.snapshot(["seat"], rows)
    return log


def replayed(
    new_ledger: NewLedger, log: LogWriter, *, compiled: Plan | None = None, seed: int = 0, crashes: float = 0.0
) -> tuple[ContextLog, list[Any], list[Any]]:
    """The context, the mirror's rows, and what is known of the mirror."""
    compiled = compiled or plan(SEAT)
    revision = compiled.revision
    records = [(offset, key, whole(compiled, value)) for offset, key, value in log.records]
    recording = Recording(SOURCE, revision.catalogue, revision.capture, KEY, 3, records)
    with new_ledger() as url:
        context = recording.replay(url, random.Random(seed), largest=3 if seed else 10**6, crashes=crashes)
        with psycopg.connect(url) as connection:
            rows = connection.execute(ROWS).fetchall() if compiled.tables["public.seat"].settings.mirror else []
            state = connection.execute(STATE).fetchall()
            assert state[0][2] is not None or connection.execute(LEFT).fetchone() == (0,)
            return context, rows, state


def read(context: ContextLog) -> list[tuple[str, str]]:
    """What incremental snapshots told."""
    return summary([each for each in context.unique if each.data.get("snapshot")])


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_of_what_the_log_told_since_the_snapshot_began_the_log_is_right(new_ledger: NewLedger, seed: int) -> None:
    """An update, a delete and an insert that the snapshot does not see; and one change that nobody told."""
    log = mirrored(seat(1, 1), seat(2, 1), seat(4, 1))
    begin(log)
    log.transaction(changed(1, 2), delete("seat", {"id": 2}), seat(3, 1))
    for row in (seat(1, 1), seat(2, 1), seat(4, 9)):
        log.read(row)
    end(log, rows=3)
    context, rows, state = replayed(new_ledger, log, seed=seed, crashes=0.3 if seed else 0.0)
    assert rows == [(1, 2, "a"), (3, 1, "a"), (4, 9, "a")]
    assert state == [(True, None, None)]
    assert read(context)[-1:] == [("row.read", "public.seat/4")]
    assert len(read(context)) == 4


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_the_same_of_a_snapshot_into_an_empty_mirror(new_ledger: NewLedger, seed: int) -> None:
    log = started("seat")
    begin(log)
    log.read(seat(5, 1))
    log.transaction(changed(1, 2), delete("seat", {"id": 2}), seat(3, 1))
    for row in (seat(1, 1), seat(2, 1), seat(4, 9)):
        log.read(row)
    end(log, rows=4)
    context, rows, state = replayed(new_ledger, log, seed=seed, crashes=0.3 if seed else 0.0)
    assert rows == [(1, 2, "a"), (3, 1, "a"), (4, 9, "a"), (5, 1, "a")]
    assert state == [(True, None, None)]
    assert read(context) == [("row.read", "public.seat/5"), ("row.read", "public.seat/4")]


@pytest.mark.parametrize("empty", [True, False])
def test_only_what_a_change_did_not_tell_is_taken(new_ledger: NewLedger, empty: bool) -> None:
    log = started("seat") if empty else mirrored(seat(1, 1, "stored"))
    if not empty:
        log.raw(change_log.key("gap"), GAP)
    begin(log)
    log.transaction(changed(1, 2, PLACEHOLDER))
    log.read(seat(1, 1, "read"))
    end(log)
    context, rows, state = replayed(new_ledger, log)
    assert rows == [(1, 2, "read")]
    assert state == [(True, None, None)]
    (told,) = context.of_type("row.read")[-1:]
    assert told.data["after"] == {"id": 1, "n": 2, "note": "read"}
    assert all(name.startswith("before") for name in told.data["missing"])


def test_nothing_is_taken_that_a_later_change_tells(new_ledger: NewLedger) -> None:
    log = mirrored(seat(1, 1, "stored"))
    log.raw(change_log.key("gap"), GAP)
    begin(log)
    log.transaction(changed(1, 2, PLACEHOLDER))
    log.read(seat(1, 1, "read"))
    log.transaction(changed(1, 3, "told"))
    end(log)
    context, rows, _ = replayed(new_ledger, log)
    assert rows == [(1, 3, "told")]
    assert len(read(context)) == 1  # of the initial snapshot


@pytest.mark.parametrize("part", [False, True])
def test_where_the_log_told_of_a_row_shortly_before_the_table_is_read_once_more(
    new_ledger: NewLedger, part: bool
) -> None:
    """The change may have been read over, or the store may be wrong: the next snapshot tells."""
    log = mirrored(seat(1, 1), seat(2, 1))
    log.transaction(changed(1, 2))
    begin(log, ts_ms=TS_MS + recent.SHORTLY, part=part)
    log.read(seat(1, 1))
    log.read(seat(2, 9))
    end(log)
    context, rows, ((complete, doubt, _),) = replayed(new_ledger, log)
    assert rows == [(1, 2, "a"), (2, 9, "a")]
    assert (complete, doubt) == (True, f"{change_log.IN_PART if part else ''}1 {OTHERWISE}")
    begin(log, ts_ms=TS_MS + recent.SHORTLY + 1, part=part)
    log.read(seat(1, 3))
    log.read(seat(2, 9))
    end(log)
    context, rows, state = replayed(new_ledger, log)
    assert rows == [(1, 3, "a"), (2, 9, "a")]
    assert state == [(True, None, None)]
    assert read(context)[-1] == ("row.read", "public.seat/1")


def test_a_row_that_is_not_shown_although_the_log_told_of_it_shortly_before(new_ledger: NewLedger) -> None:
    """It is not taken for gone; a row that the log took away shortly before and that is shown does not come back."""
    log = mirrored(seat(1, 1), seat(2, 1))
    log.transaction(seat(3, 1), delete("seat", {"id": 2}))
    begin(log, ts_ms=TS_MS)
    log.read(seat(1, 1))
    log.read(seat(2, 1))
    end(log, rows=2)
    _, rows, ((_, doubt, _),) = replayed(new_ledger, log)
    assert rows == [(1, 1, "a"), (3, 1, "a")]
    assert doubt == f"2 {OTHERWISE}"


@pytest.mark.parametrize("empty", [True, False])
def test_what_the_log_told_before_does_not_count_as_shown(new_ledger: NewLedger, empty: bool) -> None:
    """Debezium has lost a row, and another one is gone as the log says."""
    log = started("seat") if empty else mirrored(seat(1, 1), seat(2, 1), seat(3, 1))
    log.transaction(*(delete("seat", {"id": number}) for number in ((1, 2, 3) if empty else (3,))))
    begin(log, ts_ms=TS_MS)
    log.read(seat(4 if empty else 1, 1))
    end(log, rows=2)
    _, _, ((_, doubt, _),) = replayed(new_ledger, log)
    assert doubt == "Debezium has counted 2 rows and sent 1"


def test_a_part_of_a_table_proves_nothing_of_rows_that_it_does_not_show(new_ledger: NewLedger) -> None:
    log = mirrored(seat(1, 1), seat(2, 1))
    log.transaction(changed(1, 2))
    begin(log, ts_ms=TS_MS, part=True)
    log.read(seat(2, 9))
    end(log)
    _, rows, state = replayed(new_ledger, log)
    assert rows == [(1, 2, "a"), (2, 9, "a")]
    assert state == [(True, None, None)]


def test_what_changes_once_more_or_is_shown_as_it_is_needs_no_second_look(new_ledger: NewLedger) -> None:
    log = mirrored(seat(1, 1), seat(2, 1), seat(3, 1), seat(4, 1))
    log.transaction(changed(1, 2), changed(2, 2), delete("seat", {"id": 3}), changed(4, 2))
    begin(log, ts_ms=TS_MS)
    log.read(seat(1, 1))
    log.read(seat(2, 2))
    log.read(seat(4, 1))
    log.transaction(changed(1, 3), delete("seat", {"id": 4}))
    end(log, rows=3)
    context, rows, state = replayed(new_ledger, log)
    assert rows == [(1, 3, "a"), (2, 2, "a")]
    assert state == [(True, None, None)]
    assert len(read(context)) == 4  # of the initial snapshot


def test_values_that_a_change_shortly_before_did_not_tell_are_taken_at_once(new_ledger: NewLedger) -> None:
    log = mirrored(seat(1, 1, "stored"))
    log.raw(change_log.key("gap"), GAP)
    log.transaction(changed(1, 2, PLACEHOLDER))
    begin(log, ts_ms=TS_MS)
    log.read(seat(1, 2, "read"))
    end(log)
    _, rows, state = replayed(new_ledger, log)
    assert rows == [(1, 2, "read")]
    assert state == [(True, None, None)]


def test_what_the_log_told_before_a_gap_proves_nothing(new_ledger: NewLedger) -> None:
    log = mirrored(seat(1, 1))
    log.transaction(changed(1, 2))
    log.raw(change_log.key("gap"), GAP)
    begin(log, ts_ms=TS_MS)
    log.read(seat(1, 3))
    end(log)
    _, rows, state = replayed(new_ledger, log)
    assert rows == [(1, 3, "a")]
    assert state == [(True, None, None)]


@pytest.mark.parametrize(("ts_ms", "believed"), [(-(2**70), False), (0, False), (1, False), (2**70, True)])
def test_a_beginning_that_says_no_time_or_a_wrong_one(new_ledger: NewLedger, ts_ms: int, believed: bool) -> None:
    log = mirrored(seat(1, 1))
    log.transaction(changed(1, 2))
    begin(log, ts_ms=ts_ms)
    log.read(seat(1, 3))
    end(log)
    _, _, ((_, doubt, _),) = replayed(new_ledger, log)
    assert (doubt is None) == believed


def test_a_transaction_that_is_still_open_is_told_when_it_ends(new_ledger: NewLedger) -> None:
    log = mirrored(seat(1, 1))
    tx = log.next_tx()
    log.begin(tx)
    log.change(tx, 1, changed(1, 2))
    begin(log, ts_ms=TS_MS)
    log.read(seat(1, 2))
    log.end(tx, 1)
    end(log)
    context, rows, state = replayed(new_ledger, log)
    assert rows == [(1, 2, "a")]
    assert state == [(True, None, None)]
    (update_,) = context.of_type("row.updated")
    assert update_.data["before"]["n"] == 1


def test_a_truncate_settles_what_was_told_before_it(new_ledger: NewLedger) -> None:
    log = mirrored(seat(1, 1))
    log.transaction(changed(1, 2))
    log.transaction(truncate("seat"))
    begin(log, ts_ms=TS_MS)
    end(log, rows=0)
    _, rows, state = replayed(new_ledger, log)
    assert (rows, state) == ([], [(True, None, None)])


@pytest.mark.parametrize("shortly_before", [True, False])
def test_a_table_that_is_not_mirrored_is_told_by_the_log(new_ledger: NewLedger, shortly_before: bool) -> None:
    log = started("seat")
    if shortly_before:
        log.transaction(changed(1, 2))
        begin(log, ts_ms=TS_MS)
    else:
        begin(log)
        log.transaction(changed(1, 2))
    log.read(seat(1, 1))
    log.read(seat(2, 1))
    end(log)
    context, _, state = replayed(new_ledger, log, compiled=plan(SEAT, seat=CapturedTable(mirror=False)))
    assert state == [(True, None, None)]
    assert read(context) == [("row.read", "public.seat/2")]


class Source:
    """A table, the log of its changes, and a snapshot of it that reads what other sessions see."""

    def __init__(self, rng: random.Random) -> None:
        self.rng = rng
        self.log = started("seat")
        self.rows: dict[int, int] = {}
        self.unlogged: list[dict[str, Any]] = []
        """Changes that are committed and not in the log yet."""
        self.before_last: dict[int, int] = {}
        """What those see who do not see the last change that is in the log."""
        self._images: list[dict[int, int]] = []

    def commit(self) -> None:
        """One change more."""
        number, n = self.rng.randint(1, 6), self.rng.randint(1, 1000)
        self._images.append(dict(self.rows))
        if number not in self.rows:
            self.unlogged.append(seat(number, n))
            self.rows[number] = n
        elif self.rng.random() < 0.3:
            self.unlogged.append(delete("seat", {"id": number}))
            del self.rows[number]
        else:
            self.unlogged.append(changed(number, n))
            self.rows[number] = n

    def lose(self) -> None:
        """Changes that the log never has, and a gap that says so."""
        self.unlogged.clear()
        self._images.clear()
        self.before_last = dict(self.rows)
        self.log.raw(change_log.key("gap"), GAP)

    def write_log(self, most: int = 10**6) -> None:
        for _ in range(min(most, len(self.unlogged))):
            self.log.transaction(self.unlogged.pop(0))
            self.before_last = self._images.pop(0)

    def read(self, first: int, last: int) -> None:
        """A chunk: as everybody sees it, or as one who does not see the last change that the log has."""
        seen = self.before_last if not self.unlogged and self.rng.random() < 0.5 else self.rows
        chunk = [seat(number, seen[number]) for number in sorted(seen) if first <= number <= last]
        if self.rng.random() < 0.5:
            self.write_log(self.rng.randint(0, 2))
        for row in chunk:
            self.log.read(row)

    def snapshot(self, *, ts_ms: int) -> None:
        begin(self.log, ts_ms=ts_ms)
        for first in (1, 3, 5):
            for _ in range(self.rng.randint(0, 3)):
                self.commit()
            self.write_log(self.rng.randint(0, 4))
            self.read(first, first + 1)
        self.log.notice("COMPLETED", KIND, data_collections="public.seat")
        self.write_log()
        self.log.settle()


@pytest.mark.parametrize("seed", range(40))
def test_a_snapshot_makes_the_mirror_right_whatever_it_sees(new_ledger: NewLedger, seed: int) -> None:
    """Or it is not believed, and then the next one does, which begins when everybody sees what the log has."""
    source = Source(random.Random(seed))
    for _ in range(source.rng.randint(0, 8)):
        source.commit()
        source.write_log()
    if source.rng.random() < 0.5:
        for _ in range(3):
            source.commit()
        source.lose()
    for _ in range(source.rng.randint(0, 3)):
        source.commit()
        source.write_log()
    source.snapshot(ts_ms=TS_MS)
    _, rows, ((_, doubt, _),) = replayed(new_ledger, source.log, seed=seed, crashes=0.1)
    if doubt is not None:
        assert doubt.endswith(OTHERWISE)
        source.before_last = dict(source.rows)
        source.snapshot(ts_ms=LATER)
        _, rows, state = replayed(new_ledger, source.log, seed=seed, crashes=0.1)
        assert state == [(True, None, None)]
    assert {number: n for number, n, _ in rows} == source.rows
