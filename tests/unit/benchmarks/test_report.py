from __future__ import annotations

import io
import json
from pathlib import Path

import pytest
from rich.console import Console

from benchmarks import promises, report
from benchmarks.figures import Figure
from benchmarks.promises import PROMISES, Promise

RATIO = Promise("load.ratio", "last event / last change", "at most", 1.1)
RATE = Promise("backlog.rows.per_cpu_s", "rows per CPU second", "at least", 100_000)
SLOW = [Figure("load.ratio", "ratio", 1.21, ""), Figure("backlog.rows.per_cpu_s", "rate", 125_000.4, "rows/s")]


def test_a_promise_is_kept_on_its_own_side_of_the_bound() -> None:
    judged = promises.judge(SLOW, [RATIO, RATE])
    assert [(each.kept, round(each.ratio, 4)) for each in judged] == [(False, 1.1), (True, 1.25)]
    assert [each.kept for each in promises.judge([Figure("load.ratio", "ratio", 1.1, "")], [RATIO])] == [True]


def test_what_was_not_measured_is_not_judged() -> None:
    assert promises.judge([Figure("other", "other", 1.0, "")]) == []


def test_each_promise_is_about_another_figure() -> None:
    assert len({promise.figure for promise in PROMISES}) == len(PROMISES)


def test_the_markdown_table() -> None:
    assert report.markdown(promises.judge(SLOW, [RATIO, RATE])).splitlines() == [
        "| what | promised | measured | measured / promised | |",
        "|---|---|---|---|---|",
        "| last event / last change | ≤ 1.10 | 1.21 | 1.10 | not yet |",
        "| rows per CPU second | ≥ 100,000 rows/s | 125,000 rows/s | 1.25 | kept |",
    ]


@pytest.mark.parametrize(
    ("value", "shown"),
    [(0.034, "0.03"), (1.1, "1.10"), (-3.456, "-3.46"), (12.34, "12.3"), (250.4, "250"), (80_000.0, "80,000")],
)
def test_figures_have_no_more_digits_than_were_measured(value: float, shown: str) -> None:
    assert report.number(value) == shown


def test_everything_is_shown() -> None:
    console = Console(file=io.StringIO(), width=140)
    report.show(SLOW, promises.judge(SLOW, [RATIO]), console)
    assert isinstance(console.file, io.StringIO)
    text = console.file.getvalue()
    assert "125,000 rows/s" in text
    assert "| last event / last change | ≤ 1.10 | 1.21 | 1.10 | not yet |" in text


def test_the_document_is_written_as_json(tmp_path: Path) -> None:
    path = tmp_path / "results" / "latest.json"
    report.write(path, report.document(SLOW, promises.judge(SLOW, [RATE]), "quick"))
    read = json.loads(path.read_text())
    assert read["size"] == "quick"
    assert read["figures"]["load.ratio"] == {"value": 1.21, "unit": "", "what": "ratio"}
    assert [(each["figure"], each["limit"], each["kept"]) for each in read["promises"]] == [
        ("backlog.rows.per_cpu_s", 100_000, True)
    ]
