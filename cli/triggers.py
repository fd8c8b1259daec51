from __future__ import annotations

import enum
import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cli import options
from cli.options import ConfigOption, JsonOption, KeyOption, ReasonOption, YesOption

if TYPE_CHECKING:
    from cli import output
    from console import views
    from console.triggers import Triggers

app = typer.Typer(help="Triggers: what waits, what is held; pause, resume, release.", no_args_is_help=True)

Name = Annotated[str, typer.Argument(metavar="TRIGGER", help="Its name in the configuration.")]


class Way(enum.StrEnum):
    """What becomes of what a breaker held."""

    run = "run"
    drop = "drop"


@app.command("list")
def list_triggers(as_json: JsonOption = False, config: ConfigOption = options.DEFAULT_CONFIG) -> None:
    """List the triggers with what waits, what is held, and when each last fired."""
    from cli import output

    output.rows(_triggers(config).list(), _columns(), as_json=as_json, empty="the configuration has no triggers")


@app.command()
def pause(
    trigger: Name,
    reason: ReasonOption = None,
    yes: YesOption = False,
    as_json: JsonOption = False,
    config: ConfigOption = options.DEFAULT_CONFIG,
) -> None:
    """Suppress what meets it from now on, and begin none of its runs; takes a reason."""
    from cli import output

    triggers = _triggers(config)
    options.confirm(f"Pause {trigger}?", yes)
    output.decided(triggers.pause(trigger, reason), as_json=as_json)


@app.command()
def resume(
    trigger: Name,
    reason: ReasonOption = None,
    yes: YesOption = False,
    as_json: JsonOption = False,
    config: ConfigOption = options.DEFAULT_CONFIG,
) -> None:
    """Let a paused trigger go on; what was suppressed meanwhile stays so."""
    from cli import output

    triggers = _triggers(config)
    options.confirm(f"Resume {trigger}?", yes)
    output.decided(triggers.resume(trigger, reason), as_json=as_json)


@app.command()
def release(
    trigger: Name,
    way: Annotated[Way, typer.Option("--with", help="A run of each key's newest event, or none: run or drop.")],
    key: KeyOption = None,
    reason: ReasonOption = None,
    yes: YesOption = False,
    as_json: JsonOption = False,
    config: ConfigOption = options.DEFAULT_CONFIG,
) -> None:
    """Close its open breakers and decide on the activations that they held."""
    from cli import output

    triggers = _triggers(config)
    options.confirm(f"Release {trigger}{f' for {key}' if key else ''}?", yes)
    output.decided(triggers.release(trigger, key, way.value, reason), as_json=as_json)


def _triggers(config: Path) -> Triggers:
    from console import sessions
    from console.triggers import Triggers
    from wakestream.config import reveal

    loaded = options.load(config).config
    return Triggers(sessions.open_ledger(reveal(loaded.ledger.url)), loaded, os.environ.get("WAKE_TOKEN"))


def _columns() -> output.Columns[views.TriggerRow]:
    return {
        "STATE": lambda each: each.state,
        "TRIGGER": lambda each: each.name,
        "WATCHES": lambda each: each.watches,
        "AGENT": lambda each: each.agent,
        "WAITING": lambda each: each.waiting,
        "BATCHED": lambda each: each.batched,
        "HELD": lambda each: each.held_by_breaker,
        "RUNS": lambda each: each.runs,
        "LAST": lambda each: each.last_opened_at,
        "REASON": lambda each: each.reason,
    }
