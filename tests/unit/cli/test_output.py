from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

from cli import output

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "now"),
        (0.9, "now"),
        (1, "1 s ago"),
        (59.9, "59 s ago"),
        (60, "1 min ago"),
        (7200, "2 h ago"),
        (86400 * 3, "3 d ago"),
        (-90, "in 1 min"),
    ],
)
def test_relative_times(seconds: float, text: str) -> None:
    assert output.ago(NOW - timedelta(seconds=seconds), NOW) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "–"),
        ("", "–"),
        ({}, "–"),
        ([], "–"),
        (0, "0"),
        (False, "False"),
        ("a\nb", "a b"),
        ({"a": Decimal("1.10"), "b": [None, "x"]}, '{"a": 1.10, "b": [null, "x"]}'),
    ],
)
def test_cells(value: Any, text: str) -> None:
    assert output.cell(value) == text


def test_a_moment_is_exact_and_in_utc() -> None:
    moment = datetime(2026, 11, 22, 13, 53, 11, 769123, tzinfo=UTC)
    assert output.exactly(moment).startswith("2026-11-22 13:53:11.769Z (")
    assert output.exactly(None) == "–"


def test_a_plain_table_is_aligned(capsys: pytest.CaptureFixture[str]) -> None:
    output.table(["A", "B"], [["long", "x"], ["s", ""]])
    assert capsys.readouterr().out == "A     B\nlong  x\ns\n"


def test_on_a_terminal_states_have_colours(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    monkeypatch.setenv("FORCE_COLOR", "1")
    output.table(["STATE"], [["failed"], ["anything"]])
    shown = capsys.readouterr().out
    assert "\x1b[31mfailed" in shown
    assert "\x1b[31manything" not in shown


def test_every_state_has_a_colour() -> None:
    from wakestream import states

    assert {*states.ACTION, *states.RUN, *states.ACTIVATION} <= set(output.COLOURS)
