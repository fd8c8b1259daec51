from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated

import typer

from cli import options
from cli.options import ConfigOption, JsonOption

if TYPE_CHECKING:
    from connectors.snapshot_run import Progress
    from connectors.snapshots import Order


def snapshot(
    source: Annotated[str, typer.Argument(metavar="SOURCE", help="The source's name in the file.")],
    tables: Annotated[list[str] | None, typer.Argument(metavar="TABLE…", help="schema.table, one or more.")] = None,
    where: Annotated[str | None, typer.Option("--where", help="SQL: read these rows of one table only.")] = None,
    pause: Annotated[bool, typer.Option("--pause", help="Let the snapshot that runs wait.")] = False,
    resume: Annotated[bool, typer.Option("--resume", help="Let it go on.")] = False,
    stop: Annotated[bool, typer.Option("--stop", help="End it; nothing becomes complete by it.")] = False,
    wait: Annotated[bool, typer.Option("--wait/--no-wait", help="Follow it until the store is settled.")] = True,
    as_json: JsonOption = False,
    config: ConfigOption = options.DEFAULT_CONFIG,
) -> None:
    """Read tables again while everything goes on: an incremental snapshot, followed until the store has settled it."""
    from connectors import databases, snapshot_run, snapshots
    from wakestream.errors import ConfigurationError

    loaded = options.load(config)
    wanted: list[tuple[Order, bool]] = [("pause-snapshot", pause), ("resume-snapshot", resume), ("stop-snapshot", stop)]
    orders: list[Order] = [order for order, asked in wanted if asked]
    if len(orders) + bool(tables) != 1:
        raise ConfigurationError("name tables, or one of --pause, --resume and --stop")
    if orders:
        databases.require_own(loaded, source, "snapshot")
        snapshots.order(loaded.config.kafka, source, orders[0])
        print(f"asked for {orders[0]}; Debezium takes it up within some seconds")
        return
    labels = tables or []
    snapshot_run.check(loaded, source, labels, where)
    if not wait:
        print(snapshots.signal(loaded.config.kafka, source, labels, where=where))
        return
    last = None
    for last in snapshot_run.SnapshotRun(loaded, source, labels, where).follow():
        _tell(last, as_json=as_json)
    raise typer.Exit(0 if last is not None and last.state == "settled" else 1)


def _tell(progress: Progress, *, as_json: bool) -> None:
    if as_json:
        import msgspec

        print(msgspec.json.encode(progress).decode(), flush=True)
        return
    done = f", {', '.join(progress.tables_done)} done" if progress.tables_done else ""
    line = f"{progress.state}: {progress.rows} rows, {progress.rows_per_second:,.0f} rows/s{done}"
    print(f"\r\x1b[K{line}" if sys.stdout.isatty() else line, end="" if sys.stdout.isatty() else "\n", flush=True)
    if progress.state in ("settled", "stopped") and sys.stdout.isatty():
        print()
