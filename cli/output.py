"""How commands print: tables with colour on a terminal, plain aligned text elsewhere, JSON where asked."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, TypeVar

from console import views

Row = TypeVar("Row", bound=views.View)
Columns = Mapping[str, Callable[[Row], Any]]
"""Headings, and what stands below them."""

ABSENT = "–"
GAP = "  "
# One colour for each state, whatever has it.
COLOURS = {
    **dict.fromkeys(("succeeded", "done", "approved", "retried"), "green"),
    **dict.fromkeys(("running", "executing", "open", "pending"), "cyan"),
    **dict.fromkeys(("waiting", "awaiting_approval", "held", "proposed"), "yellow"),
    **dict.fromkeys(("failed", "unknown", "parked"), "red"),
    **dict.fromkeys(("cancelled", "rejected", "stale", "expired", "shadowed", "suppressed", "discarded"), "dim"),
}
_UNITS = ((86400, "d"), (3600, "h"), (60, "min"), (1, "s"))


def rows(found: Sequence[Row], columns: Columns[Row], *, as_json: bool, empty: str) -> None:
    """A list: JSON lines, a table, or what it means that there is nothing."""
    if as_json:
        for row in found:
            print(views.to_json(row))
    elif not found:
        print(empty)
    else:
        table(list(columns), [[cell(value(row)) for value in columns.values()] for row in found])


def document(view: views.View) -> None:
    """One JSON document, for reading too; numbers keep every digit."""
    print(views.to_json(view))


def decided(decision: views.Decided, *, as_json: bool) -> None:
    """What an operator's word led to."""
    if as_json:
        document(decision)
        return
    print(f"{decision.id}: {decision.was} → {decision.state}, by {decision.by}")
    if decision.note:
        print(decision.note, file=sys.stderr)


def history(deeds: Sequence[views.AuditRow]) -> None:
    """Who did what, and why."""
    if deeds:
        section("history", [f"{exactly(each.at)}  {each.who}  {each.what}  {cell(each.reason)}" for each in deeds])


def table(headings: Sequence[str], cells: Sequence[Sequence[str]]) -> None:
    """Aligned columns."""
    if sys.stdout.isatty():
        _rich_table(headings, cells)
        return
    widths = [max(len(line[index]) for line in [headings, *cells]) for index in range(len(headings))]
    for line in [headings, *cells]:
        print(GAP.join(text.ljust(width) for text, width in zip(line, widths, strict=True)).rstrip())


def section(title: str, lines: Iterable[str]) -> None:
    """A part of a story: its title, and indented below it what it says."""
    shown = [part for line in lines for part in line.split("\n")]
    if sys.stdout.isatty():
        from rich.console import Console

        console = Console(highlight=False)
        console.print(f"[bold]{title}[/bold]")
        for line in shown:
            console.print("  " + line, markup=False, soft_wrap=True)
    else:
        print(title)
        for line in shown:
            print(f"  {line}".rstrip())


def fields(pairs: Mapping[str, Any]) -> list[str]:
    """`name  value`, aligned."""
    width = max(map(len, pairs), default=0)
    return [f"{name.ljust(width)}{GAP}{cell(value)}" for name, value in pairs.items()]


def cell(value: Any) -> str:
    """One value on one line."""
    if value is None or value == "":
        return ABSENT
    if isinstance(value, datetime):
        return ago(value)
    if isinstance(value, Mapping | list | tuple):
        return compact(value) if value else ABSENT
    return str(value).replace("\n", " ")


def compact(value: Any) -> str:
    """JSON on one line with every digit."""
    if isinstance(value, Decimal):
        return str(value)
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{json.dumps(str(k))}: {compact(v)}" for k, v in value.items()) + "}"  # pyright: ignore[reportUnknownVariableType, reportUnknownArgumentType]
    if isinstance(value, list | tuple):
        return "[" + ", ".join(compact(each) for each in value) + "]"  # pyright: ignore[reportUnknownVariableType]
    return json.dumps(value, ensure_ascii=False)


def ago(moment: datetime, now: datetime | None = None) -> str:
    """`12 s ago`, `in 5 min`."""
    seconds = ((now or datetime.now(UTC)) - moment).total_seconds()
    for size, unit in _UNITS:
        if abs(seconds) >= size:
            text = f"{int(abs(seconds) // size)} {unit}"
            return f"{text} ago" if seconds > 0 else f"in {text}"
    return "now"


def exactly(moment: datetime | None) -> str:
    """The time itself and how long ago that is."""
    if moment is None:
        return ABSENT
    return f"{moment.astimezone(UTC):%Y-%m-%d %H:%M:%S.%f}"[:-3] + f"Z ({ago(moment)})"


def _rich_table(headings: Sequence[str], cells: Sequence[Sequence[str]]) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    drawn = Table(box=None, pad_edge=False, header_style="bold")
    for heading in headings:
        drawn.add_column(heading, overflow="fold")
    for line in cells:
        drawn.add_row(*(Text(text, style=COLOURS.get(text, "")) for text in line))
    Console(highlight=False).print(drawn)
