"""Values as another's connector writes them: turned exactly, or unknown, and never something else."""

from __future__ import annotations

import pytest

from cdc_consumer.columns import UNKNOWN
from cdc_consumer.foreign_values import Conversion
from cdc_consumer.tables import TablePlan
from tests.unit.cdc_consumer.tables import PLACEHOLDER, column, table, table_plan
from wakestream.capture import CapturedTable, Form
from wakestream.catalogue import Column
from wakestream.errors import EventError

UNKNOWN_TEXT = UNKNOWN.decode()


def plan(base: str, form: Form, formatted: str = "", *, key: bool = False) -> TablePlan:
    made = Column("x", formatted or base, base, toastable=base == "numeric")
    return table_plan(table("t", "x" if key else "id", column("id", "int4"), made), CapturedTable(forms={"x": form}))


@pytest.mark.parametrize(
    ("base", "formatted", "form", "given", "turned"),
    [
        ("numeric", "numeric(10,2)", "unscaled", '"MDk="', '"123.45"'),
        ("numeric", "numeric(10,2)", "unscaled", '"+w=="', '"-0.05"'),
        ("numeric", "numeric(10,2)", "unscaled", '"AA=="', '"0.00"'),
        ("numeric", "numeric(5)", "unscaled", '"Cg=="', '"10"'),
        ("numeric", "numeric(10,2)", "unscaled", "null", UNKNOWN_TEXT),  # it may be NaN
        ("numeric", "numeric(10,2)", "unscaled", '"123.45"', UNKNOWN_TEXT),  # written under other settings
        ("numeric", "numeric(10,2)", "unscaled", "123.45", UNKNOWN_TEXT),
        ("numeric", "numeric(10,2)", "unscaled", f'"{PLACEHOLDER}"', f'"{PLACEHOLDER}"'),
        ("numeric", "numeric(10,2)", "text", '"123.45"', '"123.45"'),
        ("numeric", "numeric(10,2)", "text", '"NAN"', '"NAN"'),
        ("numeric", "numeric(10,2)", "text", "null", "null"),
        ("numeric", "numeric(10,2)", "text", '"MDk="', UNKNOWN_TEXT),
        ("numeric", "numeric(10,2)", "text", '"1234"', UNKNOWN_TEXT),  # such text always has its digits
        ("numeric", "numeric", "text", '"1E+3"', '"1E+3"'),
        ("numeric", "numeric", "text", '{"scale":2,"value":"MDk="}', UNKNOWN_TEXT),
        ("date", "date", "days", "19782", '"2024-02-29"'),
        ("date", "date", "days", "-1", '"1969-12-31"'),
        ("date", "date", "days", "null", "null"),
        ("date", "date", "days", '"2024-02-29Z"', '"2024-02-29Z"'),
        ("date", "date", "days", "-2147472692", UNKNOWN_TEXT),  # infinity
        ("time", "time without time zone", "time_us", "45296789012", '"12:34:56.789012"'),
        ("time", "time without time zone", "time_us", "86400000000", '"24:00:00.000000"'),
        ("time", "time(3) without time zone", "time_ms", "45296789", '"12:34:56.789000"'),
        ("time", "time without time zone", "time_us", "-1", UNKNOWN_TEXT),
        (
            "timestamp",
            "timestamp without time zone",
            "timestamp_us",
            "1709210096789012",
            '"2024-02-29T12:34:56.789012"',
        ),
        ("timestamp", "timestamp(3) without time zone", "timestamp_ms", "-1", '"1969-12-31T23:59:59.999000"'),
        ("timestamp", "timestamp without time zone", "timestamp_us", "9223372036825200000", UNKNOWN_TEXT),
        ("timestamp", "timestamp without time zone", "text", "1709210096789012", UNKNOWN_TEXT),
    ],
)
def test_a_value_is_turned_exactly_or_unknown(base: str, formatted: str, form: Form, given: str, turned: str) -> None:
    conversion = Conversion(plan(base, form, formatted))
    assert conversion.image(f'{{"id":1,"x":{given}}}'.encode()).decode() == f'{{"id":1,"x":{turned}}}'


def test_a_key_is_turned_too_or_refused() -> None:
    conversion = Conversion(plan("numeric", "unscaled", "numeric(10,2)", key=True))
    assert conversion.key(b'{"x":"MDk="}') == b'{"x":"123.45"}'
    with pytest.raises(EventError, match=r"unreadable key: x of public\.t"):
        conversion.key(b'{"x":true}')


def test_without_forms_nothing_is_looked_at() -> None:
    conversion = Conversion(table_plan(table("t", "id", column("id", "int4"))))
    assert conversion.image(b"anything") == conversion.key(b"anything") == b"anything"
