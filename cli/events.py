from __future__ import annotations

import json
import sys
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from cli import options
from cli.options import ConfigOption, JsonOption
from wakestream.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from console.tail import Seen, Tail
    from wakestream.config import Config

app = typer.Typer(help="Context events.", no_args_is_help=True)


@app.callback()
def events() -> None:
    """Context events as they are published."""


@app.command()
def tail(
    source: Annotated[str | None, typer.Argument(metavar="[SOURCE]", help="Default: all sources.")] = None,
    start: Annotated[
        str, typer.Option("--from", metavar="WHERE", help="`beginning`, `end`, a time, or how long ago (`15m`).")
    ] = "end",
    limit: Annotated[int | None, typer.Option("--limit", min=1, metavar="N", help="End after so many.")] = None,
    table: Annotated[str | None, typer.Option("--table", metavar="TABLE", help="Only `schema.table`.")] = None,
    entity: Annotated[str | None, typer.Option("--entity", metavar="ENTITY", help="Only this entity.")] = None,
    key: options.KeyOption = None,
    follow: Annotated[
        bool | None, typer.Option("--follow/--no-follow", help="Wait for more; the default for `--from end` only.")
    ] = None,
    clock: Annotated[bool, typer.Option("--clock", help="Show the clock's events too.")] = False,
    as_json: JsonOption = False,
    config: ConfigOption = options.DEFAULT_CONFIG,
) -> None:
    """Print context events, each once."""
    from console.tail import Tail, Wanted

    if table and entity:
        raise typer.BadParameter("give --table or --entity, not both")
    settings = options.load(config).config
    name, key = _subject(table or entity, key)
    wanted = Wanted(
        start=_start(start), name=name, key=key, clock=clock, follow=start == "end" if follow is None else follow
    )
    reading = Tail(settings.kafka, _sources(settings, source, config), wanted)
    try:
        _print(reading, limit, as_json)
    finally:
        reading.close()


def _print(reading: Tail, limit: int | None, as_json: bool) -> None:
    for seen in islice(reading, limit):
        print(seen.payload.decode() if as_json else _line(seen), flush=True)
    for problem in reading.unreadable:
        print(f"not shown: {problem}", file=sys.stderr)


def _sources(settings: Config, source: str | None, config: Path) -> list[str]:
    from wakestream.config.loading import nearest

    if source is None:
        return list(settings.sources)
    if source not in settings.sources:
        raise ConfigurationError(f"{config}: no source `{source}`{nearest(source, settings.sources)}")
    return [source]


def _subject(name: str | None, key: str | None) -> tuple[str | None, str | None]:
    """`--key public.flight/7` names the table too."""
    if name is None and key is not None and "/" in key:
        name, _, key = key.partition("/")
    return name, key


def _start(text: str) -> datetime | Literal["beginning", "end"]:
    from wakestream.config.sections import parse_duration

    if text == "beginning" or text == "end":
        return text
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        try:
            return datetime.now(UTC) - timedelta(seconds=float(str(parse_duration(text))))
        except ValueError:
            raise typer.BadParameter(
                f"`{text}` is none of: beginning, end, a time such as 2026-11-22T11:53:00Z, a duration such as 15m",
                param_hint="--from",
            ) from None
    return moment if moment.tzinfo else moment.astimezone()


def _line(seen: Seen) -> str:
    event = seen.event
    data: dict[str, Any] = json.loads(seen.payload, parse_float=Decimal)["data"]
    parts = [event.time.replace("T", " "), event.type.ljust(15), event.subject, *_changes(data)]
    if event.data.reason:
        parts.append(event.data.reason)
    if event.data.cause is not None:
        parts.append(f"caused by {event.data.cause.action}")
    if event.data.snapshot:
        parts.append("(snapshot)")
    return "  ".join(parts)


def _changes(data: dict[str, Any]) -> Iterator[str]:
    from cli import output
    from console import records

    before, after = data.get("before"), data.get("after")
    for path in data.get("changed") or ():
        old, new = records.value_at(before, path), records.value_at(after, path)
        yield f"{path}: {output.cell(old)} → {output.cell(new)}"
