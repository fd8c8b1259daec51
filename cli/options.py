"""Options that many commands share, and what they lead to: the loaded configuration, the ledger, the operator."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from console.insights import Insights
    from console.operations import Operations
    from wakestream.config import Loaded

DEFAULT_CONFIG = Path("wake.yaml")
DEFAULT_LIMIT = 50

ConfigOption = Annotated[
    Path,
    typer.Option("--config", "-c", envvar="WAKE_CONFIG", show_envvar=True, metavar="FILE", help="The configuration."),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON: lists as one line each, anything else as one.")]
LimitOption = Annotated[int, typer.Option("--limit", min=1, metavar="N", help="At most so many, newest first.")]
KeyOption = Annotated[
    str | None, typer.Option("--key", metavar="KEY", help="Only this key (`7`) or subject (`public.flight/7`).")
]
ReasonOption = Annotated[str | None, typer.Option("--reason", metavar="TEXT", help="Why; kept with your name.")]
YesOption = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]


def among(valid: Sequence[str]) -> Callable[[list[str] | None], list[str] | None]:
    """A check that every value of an option is one of these."""

    def check(values: list[str] | None) -> list[str] | None:
        for value in values or ():
            if value not in valid:
                raise typer.BadParameter(f"'{value}' is not one of {', '.join(valid)}")
        return values

    return check


def load(config: Path) -> Loaded:
    """The configuration as far as the file alone can be checked."""
    from wakestream.config import load

    return load(config)


def ledger_url(config: Path) -> str:
    """The ledger's URL in clear."""
    from wakestream.config import reveal

    return reveal(load(config).config.ledger.url)


def insights(config: Path) -> Insights:
    """What can be asked of the ledger; conditions are told from the configuration."""
    from console import sessions
    from console.insights import Insights
    from wakestream.config import reveal

    loaded = load(config)
    return Insights(sessions.open_ledger(reveal(loaded.config.ledger.url)), loaded.config)


def operations(config: Path) -> Operations:
    """What the person whose token is in WAKE_TOKEN may do."""
    from console import sessions
    from console.operations import Operations
    from wakestream.config import reveal

    loaded = load(config).config
    return Operations(sessions.open_ledger(reveal(loaded.ledger.url)), os.environ.get("WAKE_TOKEN"), loaded)


def confirm(question: str | Callable[[], str], yes: bool) -> None:
    """Ask where somebody can answer; a named verb on a named object goes ahead elsewhere."""
    if not yes and sys.stdin.isatty():
        typer.confirm(question if isinstance(question, str) else question(), abort=True)
