from __future__ import annotations

import json
from typing import Any

import pytest

from cdc_consumer import render
from cdc_consumer.collect import Piece
from cdc_consumer.decode import Change
from cdc_consumer.render import Message, Renderer
from cdc_consumer.unknown import WHOLE_ROW
from cdc_consumer.waves import Row
from tests.harness.context import Number, exact
from tests.unit.cdc_consumer.tables import column, table, table_plan
from wakestream import events
from wakestream.events import Cause

TABLE = table(
    "seat",
    "number code",
    column("code", "text"),
    column("number", "numeric"),
    column("n", "int4"),
    column("hours", "time", array=True),
)
PLAN = table_plan(TABLE)
RENDER = Renderer("unit", 3, 6)
TRANSACTION = Piece("transaction", 42, ts_ms=1_795_363_190_094, commit=493, tx=7)
SNAPSHOT = Piece("snapshot", 42, ts_ms=1_795_363_190_094)
KEY = '{"number":12.30,"code":"a,b/%"}'
BEFORE = '{"n": 1, "code": "a,b/%", "number": 12.30}'
AFTER = '{"n": 2, "code": "a,b/%", "number": 12.30}'


def row(op: str, **fields: Any) -> Row:
    change = Change(op, TABLE.label, b"", None, order=4, lsn=5)
    return Row(change, PLAN, KEY, **fields)


def event(made: Row, piece: Piece = TRANSACTION, cause: str = "null") -> dict[str, Any]:
    return exact(message(made, piece, cause).value)


def message(made: Row, piece: Piece = TRANSACTION, cause: str = "null") -> Message:
    return RENDER.row(RENDER.at(piece), made, cause, 2, 9)


def test_an_update() -> None:
    found = event(row("u", before=BEFORE, after=AFTER))
    assert found == {
        "specversion": "1.0",
        "id": "unit/3/493.4",
        "source": "wake://unit/public.seat",
        "type": "row.updated",
        "subject": "public.seat/12.30,a%2Cb%2F%25",
        "time": "2026-11-22T15:59:50.094Z",
        "data": {
            "op": "update",
            "key": {"number": Number("12.30"), "code": "a,b/%"},
            "before": exact(BEFORE),
            "after": exact(AFTER),
            "changed": ["n"],
            "missing": ["before.hours", "after.hours"],
            "untrusted": [],
            "position": {
                **{"log": 3, "offset": 42, "seq": 2, "of": 9},
                **{"commit": 493, "tx": 7, "order": 4, "lsn": 5},
            },
            "snapshot": False,
            "cause": None,
        },
    }


def test_a_message_goes_where_readers_look_for_its_subject() -> None:
    made = message(row("u", before=BEFORE, after=AFTER))
    assert made.partition == events.partition_of(made.subject, 6)


@pytest.mark.parametrize(
    ("made", "before", "after", "changed", "missing"),
    [
        (row("c", after=AFTER), None, AFTER, None, ["after.hours"]),
        (row("d", before=BEFORE), BEFORE, None, None, ["before.hours"]),
        (row("d", before=BEFORE, before_known=False), None, None, None, ["before"]),
        (row("u", before=BEFORE, before_known=False, after=AFTER), None, AFTER, None, ["before", "after.hours"]),
        (row("u", before=BEFORE, after=BEFORE), BEFORE, BEFORE, [], ["before.hours", "after.hours"]),
        (row("u", before=BEFORE, missing_after=frozenset({WHOLE_ROW})), BEFORE, None, None, ["before.hours", "after"]),
    ],
)  # fmt: skip
def test_images(
    made: Row, before: str | None, after: str | None, changed: list[str] | None, missing: list[str]
) -> None:
    data = event(made)["data"]
    assert data["before"] == (None if before is None else exact(before))
    assert data["after"] == (None if after is None else exact(after))
    assert (data["changed"], data["missing"]) == (changed, missing)


def test_what_is_not_known_is_named_and_not_shown() -> None:
    made = row("u", before=BEFORE, after=AFTER, missing_before=frozenset({"n"}), missing_after=frozenset({"n", "code"}))
    data = event(made)["data"]
    assert data["before"] == {"code": "a,b/%", "number": Number("12.30")}
    assert data["after"] == {"number": Number("12.30")}
    assert data["missing"] == ["before.hours", "before.n", "after.hours", "after.code", "after.n"]
    assert data["changed"] == []


def test_a_snapshot_row() -> None:
    found = event(row("r", after=AFTER), SNAPSHOT)
    assert (found["id"], found["type"], found["data"]["snapshot"]) == ("unit/3/r42.2", "row.read", True)
    position = found["data"]["position"]
    assert [position[name] for name in ("commit", "tx", "order", "lsn")] == [None] * 4


def test_a_cause() -> None:
    cause = Cause("action", "run", "trigger", ("booking/1",), 2)
    found = event(row("c", after=AFTER), cause=render.cause_json(cause))
    parsed = events.parse(json.dumps(found, default=lambda number: float(number.digits)).encode())
    assert parsed.data.cause == cause


@pytest.mark.parametrize(
    ("before", "after", "paths"),
    [
        ('{"a": 1, "b": 2}', '{"a": 1, "b": 2}', []),
        ('{"a": 1}', '{"a": 1.0}', ["a"]),
        ('{"a": 1, "f": {"x": 1, "y": 2}}', '{"a": 2, "f": {"x": 1, "y": 3}}', ["a", "f.y"]),
        ('{"f": {"x": 1}}', '{"f": null}', ["f"]),
        ('{"f": [1, 2]}', '{"f": [1, 3]}', ["f"]),
        ('{"a": 1}', '{"b": 1}', ["a", "b"]),
        ('{"f": {"g": {"x": 1, "y": 2}}}', '{"f": {"g": {"x": 2, "y": 2}}}', ["f.g.x"]),
        ('{"f": {"x": {"y": 2}}}', '{"f": {"x": {"y": 3}}}', ["f.x"]),
        ('{"a": {"x": 1}}', '{"a": {"x": 2}}', ["a"]),
    ],
)
def test_paths_at_which_documents_differ(before: str, after: str, paths: list[str]) -> None:
    """`f` and in it `g` are members of one row; `a` is a column, even where it holds an object."""
    assert render.changed_paths(before, after, {"f": {"g": {}}}) == paths


def test_times_have_milliseconds_and_a_zone() -> None:
    assert render.iso(0) == "1970-01-01T00:00:00.000Z"
    assert render.iso(1_795_363_190_994) == "2026-11-22T15:59:50.994Z"
