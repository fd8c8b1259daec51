"""How the figures are shown: a table on the terminal, the same in Markdown for the README, and JSON."""

from __future__ import annotations

import dataclasses
import json
import os
import platform
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from benchmarks.figures import Figure
from benchmarks.promises import Judged

SIGNS = {"at most": "≤", "at least": "≥"}


def number(value: float) -> str:
    """A figure as people read it: thousands apart, and no more digits than were measured."""
    if abs(value) >= 1000:
        return f"{value:,.0f}"
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:.2f}" if abs(value) < 10 else f"{value:.1f}"


def promise_rows(judged: Sequence[Judged]) -> list[tuple[str, str, str, str, str]]:
    """Promise, bound, figure, measured over promised, and whether it is kept."""
    return [
        (
            each.promise.text,
            f"{SIGNS[each.promise.bound]} {number(each.promise.limit)} {each.figure.unit}".rstrip(),
            f"{number(each.figure.value)} {each.figure.unit}".rstrip(),
            f"{each.ratio:.2f}",
            "kept" if each.kept else "not yet",
        )
        for each in judged
    ]


def markdown(judged: Sequence[Judged]) -> str:
    """The promises as a table that the README can hold."""
    lines = ["| what | promised | measured | measured / promised | |", "|---|---|---|---|---|"]
    lines += ["| " + " | ".join(row) + " |" for row in promise_rows(judged)]
    return "\n".join(lines)


def document(figures: Sequence[Figure], judged: Sequence[Judged], size: str) -> dict[str, Any]:
    """Everything that was measured, with what it was measured on."""
    return {
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "size": size,
        "machine": {"cores": os.cpu_count(), "python": platform.python_version(), "system": platform.platform()},
        "figures": {each.name: {"value": each.value, "unit": each.unit, "what": each.what} for each in figures},
        "promises": [
            {**dataclasses.asdict(each.promise), "value": each.figure.value, "ratio": each.ratio, "kept": each.kept}
            for each in judged
        ],
    }


def write(path: Path, content: dict[str, Any]) -> None:
    """Write the document as JSON."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def show(figures: Sequence[Figure], judged: Sequence[Judged], console: Console) -> None:
    """Print the figures, the promises, and these once more in Markdown."""
    measured = Table("what was measured", "figure", title="Figures")
    for each in figures:
        measured.add_row(each.what, f"{number(each.value)} {each.unit}".rstrip())
    console.print(measured)
    promised = Table("promise", "bound", "figure", "figure / bound", "", title="Promises")
    for row in promise_rows(judged):
        promised.add_row(*row)
    console.print(promised)
    console.print(markdown(judged), markup=False, highlight=False, soft_wrap=True)
