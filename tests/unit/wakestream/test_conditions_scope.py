"""Scopes out of the catalogue, and the engine's own contract that the rest relies on."""

from __future__ import annotations

import msgspec
import pytest

from tests.unit.wakestream.test_conditions import BOOKING, FLIGHT
from wakestream import cel_engine, cel_tree, condition_problems, condition_reading, condition_scope
from wakestream.catalogue import Column, Table
from wakestream.condition_scope import Document, Scalar


@pytest.mark.parametrize(
    ("name", "base", "array", "kind"),
    [
        ("numeric(10,2)", "numeric", False, "double"),
        ("timestamp with time zone", "timestamptz", False, "timestamp"),
        ("timestamp(3) without time zone", "timestamp", False, "timestamp"),
        ("character varying(20)", "varchar", False, "text"),
        ("Integer[]", "int4", True, "int"),
        ("double precision", "float8", False, "double"),
        ("boolean", "bool", False, "bool"),
        ("jsonb", "jsonb", False, "json"),
        ("mood", "mood", False, "text"),
    ],
)
def test_types_as_people_write_them(name: str, base: str, array: bool, kind: str) -> None:
    scalar = condition_scope.scalar_named(name)
    assert (scalar, scalar.kind) == (Scalar(base, array), kind)


def test_a_table_as_document() -> None:
    document = condition_scope.document_of(FLIGHT, without={"status"})
    assert document.label == "public.flight"
    assert "status" not in document.fields
    assert document.withheld == {"status"}
    assert document.fields["tags"] == Scalar("text", array=True)


def test_a_key_keeps_its_order() -> None:
    columns = tuple(Column(name, "int4", "int4") for name in ("a", "b", "c"))
    assert list(condition_scope.key_of(Table("public", "t", columns, ("c", "a"))).fields) == ["c", "a"]


def test_documents_survive_the_ledger() -> None:
    assert msgspec.json.decode(msgspec.json.encode(BOOKING), type=Document) == BOOKING


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("null", None),
        ("true", True),
        ("false", False),
        ("-9223372036854775808", -(2**63)),
        ("9223372036854775807", 2**63 - 1),
        ("7u", 7),
        ("-1.5e300", -1.5e300),
        ("'é😀'", "é😀"),
        ("b'\\xff'", b"\xff"),
        ("0", 0),
        ("''", ""),
    ],
)
def test_literals_are_read_out_of_the_tree(text: str, value: object) -> None:
    tree = cel_engine.plan(text)
    assert isinstance(tree, cel_tree.Constant)
    assert (tree.value, type(tree.value)) == (value, type(value))


def test_offsets_count_characters() -> None:
    text = "'é😀' == a.b && f(c)[{'k': x}.k]"
    names = [node for node in condition_problems.walk(cel_engine.plan(text)) if isinstance(node, cel_tree.Name)]
    assert [(node.name, text[node.offset]) for node in names] == [("a", "a"), ("c", "c"), ("x", "x")]


def test_an_error_is_raised_and_never_taken_for_a_result() -> None:
    run = cel_engine.program("x > 1", {"x": "int"})
    assert run({"x": 2}) is True
    with pytest.raises(cel_engine.EvaluationError, match=r"^No matching overloads found : _>_\(null_type, int64\)$"):
        run({"x": None})


def test_a_text_that_reads_like_an_error_is_a_text() -> None:
    run = cel_engine.program("x", {"x": "text"})
    assert run({"x": "UNKNOWN: No matching overloads found"}) == "UNKNOWN: No matching overloads found"


def test_the_checked_text_maps_back_to_what_was_written() -> None:
    text = "x.all(a, a.b == null) && c"
    reading = condition_reading.Reading(edits=[(16, 4, "dyn(null)"), (9, 1, "element")])
    checked = condition_reading.checked_text(text, reading)
    assert checked == "x.all(a, element.b == dyn(null)) && c"
    for part in (".all", "element", ".b", "==", "dyn", "&&", "c"):
        written = {"element": 9, ".b": 10, "dyn": 16, "c": 25}.get(part, text.find(part))
        place = checked.rfind(part) if part == "c" else checked.find(part)
        assert condition_reading.original_offset(reading, place) == written
