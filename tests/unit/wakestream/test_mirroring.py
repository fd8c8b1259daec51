from __future__ import annotations

import pytest

from wakestream.catalogue import Column
from wakestream.mirroring import is_lost, ledger_type


@pytest.mark.parametrize(
    ("column", "lost"),
    [
        (Column("c", "integer", "int4"), False),
        (Column("c", "integer", "int4", generated=True), True),
        (Column("c", "numeric(5,2)", "numeric"), False),
        (Column("c", "numeric(5,-2)", "numeric"), True),
        (Column("c", "time without time zone", "time"), False),
        (Column("c", "time without time zone[]", "time", array=True), True),
        (Column("c", "interval[]", "interval", array=True), True),
        (Column("c", "character(3)[]", "bpchar", array=True), False),
        (Column("c", "point", "point"), False),
        (Column("c", "point[]", "point", array=True), True),
        (Column("c", "time with time zone", "timetz"), True),
        (Column("c", "colour[]", "domain", array=True), True),
    ],
)
def test_what_never_arrives_whole(column: Column, lost: bool) -> None:
    assert is_lost(column) is lost


def test_enums_are_text_in_the_mirror() -> None:
    assert ledger_type(Column("c", "mood", "enum")) == "text"
    assert ledger_type(Column("c", "mood[]", "enum", array=True)) == "text[]"
    assert ledger_type(Column("c", "character varying(20)", "varchar")) == "character varying(20)"
