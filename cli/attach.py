from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING, Annotated

import typer

from cli import options
from cli import plan as planning
from cli.options import ConfigOption, JsonOption, YesOption

if TYPE_CHECKING:
    from connectors.hops import Hop
    from connectors.status import SourceStatus
    from wakestream.config import Loaded


WATCH_INTERVAL = 2.0  # seconds
RATE_WINDOW = 1.0  # seconds over which the first look counts what goes through the hops
CLEAR = "\x1b[2J\x1b[H"


def apply(
    config: ConfigOption = options.DEFAULT_CONFIG,
    yes: YesOption = False,
    assume_database: planning.AssumeOption = False,
    allow: planning.AllowOption = None,
) -> None:
    """Make topics, publication, connector and ledger as the file says; what is so already stays."""
    from connectors import apply as attaching

    loaded = options.load(config)
    with attaching.planning(loaded, _say, planning.options_of(assume_database, allow)) as plan:
        planning.show_notes(plan)
        planning.show_steps(plan)
        if plan.steps or plan.refusals:
            if not plan.refusals:
                options.confirm("Do this?", yes)
            plan.carry_out(lambda what: _say(f"done: {what}"))
        else:
            _say("nothing to do: everything is as the file says")
    _ensure_local_operator(loaded)


def status(
    as_json: JsonOption = False,
    watch: Annotated[bool, typer.Option("--watch", help="Look again every two seconds, until Ctrl-C.")] = False,
    config: ConfigOption = options.DEFAULT_CONFIG,
) -> None:
    """Show connector, slot, lag, consumer, agent and what is wrong; exit 1 unless every check is well."""
    from connectors import hops
    from connectors import status as looking

    loaded, meter = options.load(config), hops.Meter()
    over_s = RATE_WINDOW
    while True:
        found = looking.status(loaded, meter, over_s=over_s)
        over_s = 0.0  # from the second look on, rates are told since the last one
        if watch and sys.stdout.isatty():
            print(CLEAR, end="")
        _print_status(found, as_json=as_json)
        if not watch:
            raise typer.Exit(0 if looking.healthy(found) else 1)
        time.sleep(WATCH_INTERVAL)


def guard(config: ConfigOption = options.DEFAULT_CONFIG) -> None:
    """Restart what failed for a passing reason, and start a broken initial snapshot over; until Ctrl-C."""
    from cli import serving
    from connectors import guard as guarding

    stop = serving.until_stopped()
    guarding.run(options.load(config), stop)


def detach(
    source: Annotated[str, typer.Argument(metavar="SOURCE", help="The source's name in the file.")],
    topics: Annotated[bool, typer.Option("--topics", help="Delete its topics too, with all events in them.")] = False,
    yes: YesOption = False,
    config: ConfigOption = options.DEFAULT_CONFIG,
) -> None:
    """Remove what `apply` made at a source: connector, offsets, slot, publication, secrets and the context store."""
    from connectors import detach as detaching

    loaded = options.load(config)
    also = " and delete its topics" if topics else ""
    options.confirm(f"Detach from {source}, forget its context store{also}?", yes)
    if not detaching.detach(loaded, source, with_topics=topics, report=_say):
        _say(f"nothing to do: {source} is not attached")


def _print_status(found: list[SourceStatus], *, as_json: bool) -> None:
    if as_json:
        import msgspec

        for source in found:
            print(msgspec.json.encode(source).decode(), flush=True)
        return
    from cli import output, spending

    for source in found:
        word = "well" if source.ok else "NOT WELL"
        width = max(len(check.name) for check in source.checks)
        checks = [
            f"{check.name.ljust(width)}  {'ok   ' if check.ok else 'WRONG'} {check.detail}" for check in source.checks
        ]
        output.section(f"{source.source}: {word}", checks)
        for hop in source.hops:
            print(f"  → {hop.to.ljust(10)}  {_hop(hop)}")
        if source.ledger and source.ledger.guard:
            note = source.ledger.guard
            print(f"  guard, {output.ago(note.at)}: {note.what}: {note.detail}")
    if found and found[0].spending is not None:
        spending.tell(found[0].spending)
    sys.stdout.flush()


def _hop(hop: Hop) -> str:
    from connectors.wal_watch import size

    behind = [
        "" if hop.behind_seconds is None else f"{hop.behind_seconds:.1f} s",
        "" if hop.behind_bytes is None else f"{size(hop.behind_bytes)} of WAL",
        "" if hop.behind_events is None else f"{hop.behind_events} events",
    ]
    told = ", ".join(each for each in behind if each)
    rate = "" if hop.events_per_second is None else f"; {hop.events_per_second:g} events/s"
    return f"{told or 'unknown'} behind{rate}"


def _ensure_local_operator(loaded: Loaded) -> None:
    """On the local stack's own ledger, the person at this machine may decide from the start."""
    from console import operators
    from localstack import Stack
    from localstack.home import default_home
    from wakestream.config import reveal

    stack = Stack(default_home())
    url = reveal(loaded.config.ledger.url)
    if stack.home.exists() and stack.env()["LEDGER_URL"] == url:
        operators.ensure_local_admin(url, stack.home.path / "token")


def _say(line: str) -> None:
    print(line)
    sys.stdout.flush()
