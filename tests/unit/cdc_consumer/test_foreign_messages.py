"""Messages of another's connector: with schemas and without, and in one order however they were received."""

from __future__ import annotations

import itertools
import json
from typing import Any

import pytest

from cdc_consumer.foreign_messages import Entry, entry, merged
from cdc_consumer.foreign_values import Conversion
from tests.unit.cdc_consumer.tables import FLIGHT, table_plan

CONVERSION = Conversion(table_plan(FLIGHT))
SOURCE = {"schema": "public", "table": "flight", "ts_ms": 7, "lsn": 100, "txId": 9, "snapshot": "false"}


def looked_at(op: str = "u", *, wrap: bool = False, key: Any = None, **more: Any) -> Entry:
    body: Any = {"op": op, "before": None, "after": {"id": 1, "status": "late"}, "source": SOURCE} | more
    named: Any = {"id": 1} if key is None else key
    if wrap:
        body, named = ({"schema": {"type": "struct"}, "payload": each} for each in (body, named))
    return entry("their.public.flight", 2, (11, _dump(named), _dump(body), False), "public.flight", CONVERSION)


def _dump(value: Any) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()


@pytest.mark.parametrize("wrap", [False, True])
def test_a_change_with_and_without_schemas(wrap: bool) -> None:
    found = looked_at(wrap=wrap)
    assert (found.kind, found.topic, found.partition, found.offset) == ("change", "their.public.flight", 2, 11)
    assert (found.lsn, found.tx, found.ts_ms, found.incremental) == (100, 9, 7, False)
    assert found.change is not None
    assert (found.change.table, found.change.key, found.change.after) == (
        "public.flight",
        b'{"id":1}',
        b'{"id":1,"status":"late"}',
    )


def test_an_insert_that_continues_another_row_is_said_to() -> None:
    body = _dump({"op": "c", "before": None, "after": {"id": 1, "status": "late"}, "source": SOURCE})
    for moved in (True, False):
        found = entry("t", 0, (0, b'{"id":1}', body, moved), "public.flight", CONVERSION)
        assert found.change is not None
        assert found.change.moved == moved


def test_rows_of_snapshots() -> None:
    assert looked_at("r").kind == "read"
    assert not looked_at("r").incremental
    assert looked_at("r", source=SOURCE | {"snapshot": "incremental", "lsn": None}).incremental


def test_truncates_have_no_key() -> None:
    assert looked_at("t", after=None).kind == "truncate"


def test_tombstones_and_rows_of_another_table_say_nothing() -> None:
    assert entry("t", 0, (0, b'{"id":1}', None, False), "public.flight", CONVERSION).kind == "nothing"
    assert looked_at(source=SOURCE | {"table": "fli.ght"}).kind == "nothing"


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"op": None}, "whole envelope"),
        ({"source": None}, "whole envelope"),
        ({"op": "x"}, "op is 'x'"),
        ({"after": None}, "no new image"),
        ({"source": SOURCE | {"lsn": None}}, "has no LSN"),
        ({"key": [1]}, "no JSON object"),
        ({"source": "flat"}, "envelopes as JSON"),
    ],
)
def test_what_cannot_be_read_becomes_a_dead_letter(more: dict[str, Any], said: str) -> None:
    found = looked_at(**more)
    assert found.kind == "broken"
    assert said in found.detail
    assert found.digest


def row(partition: int, offset: int, lsn: int | None) -> Entry:
    return Entry("change", "t", partition, offset, lsn=lsn)


def test_partitions_merge_in_one_order_however_they_were_received() -> None:
    places = {
        ("t", 0): [row(0, 0, 10), row(0, 1, 40), row(0, 2, None), row(0, 3, 20)],  # overlapping transactions
        ("t", 1): [row(1, 0, None), row(1, 1, 15), row(1, 2, 41)],
        ("s", 0): [row(5, 0, 15)],
    }
    orders = {
        tuple((each.partition, each.offset) for each in merged({place: places[place] for place in order}))
        for order in itertools.permutations(places)
    }
    assert orders == {((1, 0), (0, 0), (5, 0), (1, 1), (0, 1), (0, 2), (0, 3), (1, 2))}
