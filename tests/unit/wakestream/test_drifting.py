"""What has become of a table, and what in the configuration reads it."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from tests.unit.agent import airline
from tests.unit.wakestream.test_program import load
from wakestream import drifting
from wakestream.affected import affected
from wakestream.capture import Capture, CapturedTable, Revision
from wakestream.catalogue import Catalogue, Column, Table
from wakestream.config.models import CapturedTable as Settings
from wakestream.program import compile_program
from wakestream.reshaping import widening
from wakestream.resolving_tables import withheld_columns

ID = Column("id", "integer", "int4", not_null=True, number=1)
STATUS = Column("status", "text", "text", number=2)
MOOD = Column("mood", "mood", "enum", number=3, labels=("sad", "glad"))
KNOWN = Table("public", "t", (ID, STATUS, MOOD), ("id",), oid=7)


def catalogue(table: Table | None) -> Catalogue:
    return Catalogue("s", "1", 1, 180000, {table.label: table} if table else {})


def found(now: Table | None, known: Table = KNOWN) -> list[str]:
    capture = Capture({known.label: CapturedTable()})
    return [each.label for each in drifting.compare(catalogue(known), capture, catalogue(now))]


def made(*columns: Column, key: tuple[str, ...] = ("id",), oid: int = 7, kind: str = "table") -> Table:
    return Table("public", "t", columns, key, oid=oid, kind=kind)


def changed(column: Column, **values: object) -> Column:
    return msgspec.structs.replace(column, **values)


NEW = Column("gate", "text", "text", number=4)


@pytest.mark.parametrize(
    ("now", "said"),
    [
        (KNOWN, []),
        (made(ID, STATUS, MOOD, NEW), ["column gate added"]),
        (made(ID, MOOD), ["column status dropped"]),
        (made(ID, changed(STATUS, name="state"), MOOD), ["column status renamed to state"]),
        (made(ID, changed(STATUS, number=4), MOOD), ["column status dropped", "column status added"]),
        (made(ID, changed(STATUS, type="varchar(9)", base="varchar"), MOOD), ["column status is varchar(9) now"]),
        (
            made(ID, STATUS, changed(MOOD, labels=("sad", "calm", "glad"))),
            ["value calm added to the enum of column mood"],
        ),
        (
            made(ID, STATUS, changed(MOOD, labels=("sad", "happy"))),
            ["values of the enum of column mood are sad, happy now"],
        ),
        (made(ID, STATUS, MOOD, key=("id", "status")), ["the primary key is (id, status) now"]),
        (
            made(ID, STATUS, MOOD, oid=8),
            ["the table was dropped and made again, which takes it out of the publication"],
        ),
        (None, ["the table is gone"]),
    ],
)
def test_what_has_become_of_a_table(now: Table | None, said: list[str]) -> None:
    assert found(now) == [f"public.t: {each}" for each in said]


def test_a_table_that_can_no_longer_be_captured_needs_a_person() -> None:
    (only,) = drifting.compare(catalogue(KNOWN), Capture({"public.t": CapturedTable()}), catalogue(made(ID, key=())))
    assert (only.kind, only.standing) == ("table unfit", True)
    assert "has no primary key" in only.label
    assert "wake apply" in only.remedy


def test_a_revision_without_numbers_is_compared_by_name() -> None:
    old = made(changed(ID, number=0), changed(STATUS, number=0), oid=0)
    assert found(made(ID, changed(STATUS, name="state")), old) == [
        "public.t: column status dropped",
        "public.t: column state added",
    ]


@pytest.mark.parametrize(
    ("old", "new", "kind"),
    [
        (("integer", "int4"), ("bigint", "int8"), "rewritten"),
        (("bigint", "int8"), ("integer", "int4"), None),
        (("character varying(9)", "varchar"), ("character varying(20)", "varchar"), "same"),
        (("character varying(9)", "varchar"), ("text", "text"), "same"),
        (("text", "text"), ("character varying(9)", "varchar"), None),
        (("numeric(10,2)", "numeric"), ("numeric(12,2)", "numeric"), "same"),
        (("numeric(10,2)", "numeric"), ("numeric(12,3)", "numeric"), None),
        (("text", "text"), ("integer", "int4"), None),
    ],
)
def test_which_types_hold_all_that_was_there(old: tuple[str, str], new: tuple[str, str], kind: str | None) -> None:
    assert widening(Column("c", *old), Column("c", *new)) == kind


def test_new_columns_are_withheld_where_the_table_has_masks() -> None:
    now = made(ID, changed(STATUS, name="state"), MOOD, NEW)
    masks = Settings(mask={"status": "hash"})
    before = Revision(1, "s", catalogue(KNOWN), Capture({"public.t": CapturedTable(mask={"status": "hash"})}))
    assert withheld_columns(None, masks, now, before) == ("gate", "state")
    assert withheld_columns(None, masks, now, None) == ()
    assert withheld_columns("include", masks, now, before) == ()
    assert withheld_columns(None, Settings(), now, before) == ()
    assert withheld_columns("withhold", Settings(), now, before) == ("gate", "state")
    named = Settings(mask={"state": "hash"}, include=("gate",))
    assert withheld_columns(None, named, now, before) == ()
    withheld = Revision(2, "s", catalogue(now), Capture({"public.t": CapturedTable(withheld=("gate", "state"))}))
    assert withheld_columns(None, masks, now, withheld) == ("gate", "state")


@pytest.mark.parametrize(
    ("table", "column", "names"),
    [
        ("public.flight", "status", ["trigger `disrupted` (when)"]),
        ("public.booking", "status", ["trigger `disrupted` (when)"]),
        ("public.flight", "fare", ["action `rebook` (approval)"]),
        ("public.booking", "email", ["`mask` of public.booking"]),
        ("public.booking", "customer_id", ["action `notify` (bind customer)"]),
        ("public.flight", "crew", []),
        ("public.audit", "note", []),
    ],
)
def test_what_reads_a_column(tmp_path: Path, table: str, column: str, names: list[str]) -> None:
    assert affected(load(tmp_path), airline.REVISION, table, column) == names


def test_what_reads_a_foreign_key(tmp_path: Path) -> None:
    assert affected(load(tmp_path), airline.REVISION, "public.booking", "flight_id") == [
        "entity `booking` (flight)",
        "lookup `seats` (bind flight)",
        "action `rebook` (bind from_flight)",
        "action `rebook` (statement)",
    ]


def test_a_prompt_reads_what_its_expressions_name(tmp_path: Path) -> None:
    loaded = load(tmp_path, instructions="Crew: {{ after.flight.crew }}; remarks")
    assert affected(loaded, airline.REVISION, "public.flight", "crew") == ["prompt rebooker.md"]
    assert affected(loaded, airline.REVISION, "public.flight", "remarks") == []


def test_a_trigger_that_does_not_compile_is_held_and_others_go_on(tmp_path: Path) -> None:
    noted = "triggers:\n  noted: {table: airline.public.flight, when: after.fare > 1.0, fire: enter, agent: noter}\n"
    noter = "agents:\n  noter: {instructions: rebooker.md}\n"
    loaded = load(tmp_path, ("triggers:\n", noted), ("agents:\n", noter), instructions="Be kind.")
    suspended = {"booking": "column gone"}
    revision = msgspec.structs.replace(
        airline.REVISION, capture=msgspec.structs.replace(airline.CAPTURE, entities={}, suspended=suspended)
    )
    program = compile_program(loaded, {"airline": revision}, hold=True)
    assert (program.triggers.keys(), program.held.keys()) == ({"noted"}, {"disrupted"})
    assert program.held["disrupted"].endswith("entity `booking` is suspended: column gone")
