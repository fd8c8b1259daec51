"""Messages of another's connector through the mirrors: what was sent before, what is a true `before`, what is not."""

from __future__ import annotations

import itertools
import json
from collections.abc import Sequence
from typing import Any

import psycopg
import pytest

from cdc_consumer import mirror_tables
from cdc_consumer.adopted_batch import AdoptedBatch
from cdc_consumer.adopted_position import Input, Inputs
from cdc_consumer.decode import Change
from cdc_consumer.foreign_messages import Entry, Kind
from cdc_consumer.render import Renderer
from tests.harness.source import Connection
from tests.unit.cdc_consumer.tables import FLIGHT, SOURCE, plan

TOPIC = "their.public.flight"
PLAN = plan(FLIGHT)
KINDS: dict[str, Kind] = {"c": "change", "u": "change", "d": "change", "r": "read", "t": "truncate"}

Told = tuple[str, Any, Any, list[str]]
"""Operation, status before and after, what is missing."""


def entry(
    op: str, lsn: int | None = None, status: str | None = None, *, key: int = 1, incremental: bool = False
) -> Entry:
    image = None if op in "dt" else json.dumps({"id": key, "status": status, "seats": 1, "big": "x"}).encode()
    change = Change(op, "public.flight", b"" if op == "t" else b'{"id":%d}' % key, image, lsn=lsn)
    return Entry(KINDS[op], TOPIC, 0, lsn or 0, 7, lsn, 9, change, incremental)


class Reader:
    """Applies stretches one after another, as cycles would."""

    def __init__(self, connection: Connection, *, partitions: int = 1) -> None:
        connection.execute("delete from wake.adopted_row")
        mirror_tables.prepare(connection, PLAN)
        connection.commit()
        self.connection = connection
        self.inputs: Inputs = {TOPIC: Input("A", "public.flight", [0] * partitions)}
        self.before = -1

    def read(self, *entries: Entry) -> list[dict[str, Any]]:
        batch = AdoptedBatch(self.connection, PLAN, Renderer(SOURCE, 1, 3), 1, careful=False)
        events = [json.loads(each.value) for each in batch.messages(entries, self.before, self.inputs)]
        self.connection.commit()
        self.before += len(entries)
        return events

    def tell(self, *entries: Entry) -> list[Told]:
        return [_told(event["data"]) for event in self.read(*entries)]


def _told(data: dict[str, Any]) -> Told:
    images: list[dict[str, Any]] = [data[name] or {} for name in ("before", "after")]
    before, after = (image.get("status") for image in images)
    return data["op"], before, after, data["missing"]


CHANGES = (entry("c", 10, "a"), entry("u", 20, "b"), entry("u", 30, "c"), entry("d", 40), entry("c", 50, "d"))
TOLD: list[Told] = [
    ("insert", None, "a", []),
    ("update", "a", "b", []),
    ("update", "b", "c", []),
    ("delete", "c", None, []),
    ("insert", None, "d", []),
]


def test_a_rows_changes_are_told_once_however_they_are_cut_and_sent_again(connection: Connection) -> None:
    for cut, again in itertools.product(range(len(CHANGES) + 1), range(len(CHANGES))):
        reader = Reader(connection)
        connection.execute("delete from unit__public.flight")
        assert reader.tell(*CHANGES[:cut]) + reader.tell(*CHANGES[again:cut], *CHANGES[cut:]) == TOLD


def test_other_keys_may_have_lower_numbers(connection: Connection) -> None:
    reader = Reader(connection)
    told = reader.tell(entry("c", 10, "a"), entry("c", 11, "a", key=2), entry("u", 30, "b", key=2), entry("u", 20, "b"))
    assert [after for _, _, after, _ in told] == ["a", "a", "b", "b"]


def test_offsets_count_every_message_and_ids_name_it(connection: Connection) -> None:
    reader = Reader(connection)
    events = reader.read(entry("c", 10, "a"), entry("c", 10, "a"), Entry("nothing", TOPIC, 0, 12), entry("u", 20, "b"))
    assert [event["id"] for event in events] == [f"unit/1/{TOPIC}.0.10.1", f"unit/1/{TOPIC}.0.20.1"]
    assert [event["data"]["position"] for event in events] == [
        {"log": 1, "offset": offset, "seq": 1, "of": 1, "commit": None, "tx": 9, "order": None, "lsn": lsn}
        for offset, lsn in ((0, 10), (3, 20))
    ]
    assert not any(event["data"]["snapshot"] for event in events)


def test_a_row_that_nobody_told_is_not_known(connection: Connection) -> None:
    reader = Reader(connection)
    assert reader.tell(entry("u", 20, "b"), entry("u", 30, "c")) == [
        ("update", None, "b", ["before"]),
        ("update", "b", "c", []),
    ]


def test_rows_of_the_first_snapshot_are_a_true_before(connection: Connection) -> None:
    reader = Reader(connection)
    (event,) = reader.read(entry("r", 100, "a"))
    assert _told(event["data"]) == ("read", None, "a", ["before"])
    assert (event["data"]["snapshot"], event["data"]["position"]["lsn"]) == (True, None)
    assert reader.tell(entry("u", 120, "b")) == [("update", "a", "b", [])]


def test_what_was_changed_before_a_snapshot_may_be_in_its_rows(connection: Connection) -> None:
    reader = Reader(connection)
    reader.read(entry("r", 100, "b"))
    assert reader.tell(entry("u", 90, "b")) == [("update", None, "b", ["before"])]
    assert reader.tell(entry("u", 110, "c")) == [("update", "b", "c", [])]


def test_a_row_that_is_shown_again_may_be_ahead_and_one_that_is_the_same_says_nothing(connection: Connection) -> None:
    reader = Reader(connection)
    reader.read(entry("c", 10, "a"), entry("c", 11, "x", key=2))
    assert reader.tell(entry("r", None, "b", incremental=True), entry("r", None, "x", key=2, incremental=True)) == [
        ("read", None, "b", ["before"])
    ]
    assert reader.tell(entry("u", 20, "b"), entry("u", 21, "y", key=2), entry("u", 30, "c")) == [
        ("update", None, "b", ["before"]),  # it was a, and nobody can know that any more
        ("update", "x", "y", []),
        ("update", "b", "c", []),
    ]


def test_an_incremental_row_that_was_not_known_may_be_ahead_too(connection: Connection) -> None:
    reader = Reader(connection)
    assert reader.tell(entry("r", None, "b", incremental=True)) == [("read", None, "b", ["before"])]
    assert reader.tell(entry("u", 20, "b"), entry("u", 30, "c")) == [
        ("update", None, "b", ["before"]),
        ("update", "b", "c", []),
    ]


def test_behind_a_loss_no_row_is_sure_until_it_is_told_again(connection: Connection) -> None:
    reader = Reader(connection)
    reader.read(entry("c", 10, "a"), entry("c", 11, "a", key=2))
    AdoptedBatch(connection, PLAN, Renderer(SOURCE, 1, 3), 1, careful=False).doubt(["public.flight"])
    connection.commit()
    assert reader.tell(entry("r", 15, "a")) == []
    assert reader.tell(entry("u", 20, "b"), entry("u", 30, "c"), entry("d", 31, key=2)) == [
        ("update", None, "b", ["before"]),
        ("update", "b", "c", []),
        ("delete", None, None, ["before"]),
    ]


def test_a_truncate_in_one_partition_is_in_order_and_never_done_twice(connection: Connection) -> None:
    reader = Reader(connection)
    reader.read(entry("c", 10, "a"))
    (event,) = reader.read(entry("t", 20))
    assert (event["type"], event["subject"], event["data"]["snapshot"]) == ("table.truncated", "public.flight", False)
    assert event["id"] == f"unit/1/{TOPIC}.0.20.1"
    assert reader.tell(entry("c", 30, "b"), entry("t", 20), entry("u", 40, "c")) == [
        ("insert", None, "b", []),
        ("update", "b", "c", []),
    ]


def test_a_truncate_among_several_partitions_makes_every_row_unsure(connection: Connection) -> None:
    reader = Reader(connection, partitions=2)
    reader.read(entry("c", 10, "a"))
    assert reader.tell(entry("t", 20), entry("u", 30, "b")) == [
        ("truncate", None, None, []),
        ("update", None, "b", ["before"]),
    ]


def test_what_cannot_be_read_is_kept_with_its_place(connection: Connection) -> None:
    broken = Entry("broken", TOPIC, 2, 17, reason="not a change", detail="flat", digest="d")
    assert Reader(connection).read(broken) == []
    row = connection.execute(
        'select kind, reason, topic, "partition", "offset", digest from wake.dead_letter'
    ).fetchall()
    assert row == [("not a change", "flat", TOPIC, 2, 17, "d")]


def test_the_same_stretch_makes_the_same_bytes(connection: Connection) -> None:
    def values(entries: Sequence[Entry]) -> list[str]:
        render = Renderer(SOURCE, 1, 3)
        batch = AdoptedBatch(connection, PLAN, render, 1, careful=False)
        return [each.value for each in batch.messages(entries, 4, {TOPIC: Input("A", "public.flight", [0])})]

    Reader(connection).read(entry("c", 5, "z"))
    stretch = [entry("u", 10, "a"), entry("r", 12, "q", key=3), entry("u", 20, "b"), entry("d", 30)]
    first = values(stretch)
    connection.rollback()  # what a crash before the commit does
    assert values(stretch) == first
    assert len(first) == 4


def test_a_value_that_postgresql_cannot_read_is_missing_and_kept_with_its_place(connection: Connection) -> None:
    reader = Reader(connection)
    good, bad = entry("c", 10, "a"), entry("c", 11, "a", key=2)
    assert bad.change is not None
    bad.change.after = b'{"id":2,"status":"a","seats":"many","big":null}'
    with pytest.raises(psycopg.DataError):
        reader.read(good, bad)
    connection.rollback()
    batch = AdoptedBatch(connection, PLAN, Renderer(SOURCE, 1, 3), 1, careful=True)
    events = [json.loads(each.value)["data"] for each in batch.messages([good, bad], -1, reader.inputs)]
    assert [(event["after"] is None, event["missing"]) for event in events] == [
        (False, []),
        (True, ["after"]),
    ]
    letters = connection.execute('select kind, topic, "partition", "offset", subject from wake.dead_letter').fetchall()
    assert letters == [("unreadable value", TOPIC, 0, 11, "public.flight/2")]
