"""`wake consume`: change logs become context events."""

from __future__ import annotations

from typing import Annotated

import typer

from cli import options


def consume(
    config: options.ConfigOption = options.DEFAULT_CONFIG,
    source: Annotated[list[str] | None, typer.Option(help="Only this source; several times for several.")] = None,
    share: Annotated[
        bool, typer.Option("--share", help="Share the sources with other consumers; each has some, and takes over.")
    ] = False,
) -> None:
    """Turn the change logs of the configured sources into context events, until it is stopped."""
    from cdc_consumer import service
    from cli import serving

    stop = serving.until_stopped()
    settings = options.load(config).config
    service.run(settings, source or list(settings.sources), stop, share=share)
