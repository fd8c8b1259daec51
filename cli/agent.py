"""`wake agent`: from context events to effects."""

from __future__ import annotations

import enum
from typing import Annotated

import typer

from cli import options


class Start(enum.StrEnum):
    """Where a topic is read from for the first time."""

    end = "end"
    beginning = "beginning"


def agent(
    config: options.ConfigOption = options.DEFAULT_CONFIG,
    from_: Annotated[
        Start,
        typer.Option("--from", help="Where to begin with a context topic that no agent of this ledger has read."),
    ] = Start.end,
    workers: Annotated[int, typer.Option(min=1, max=256, help="How many runs and actions at once.")] = 4,
    model_url: Annotated[
        str | None,
        typer.Option(envvar="MODEL_URL", show_envvar=True, help="Where a model with `provider: local` is served."),
    ] = None,
    share: Annotated[
        bool, typer.Option("--share", help="Share the context topics with other agents; each has some, and takes over.")
    ] = False,
) -> None:
    """Evaluate triggers, run agents, execute their actions; until SIGTERM or Ctrl-C."""
    from agent import process
    from cli import serving

    stop = serving.until_stopped()
    loaded = options.load(config)
    process.run(loaded, stop, process.Options(workers=workers, start=from_.value, model_url=model_url, share=share))
