"""`wake consume`: change logs become context events."""

from __future__ import annotations

from typing import Annotated

import typer

from cli import options


def consume(
    config: options.ConfigOption = options.DEFAULT_CONFIG,
    source: Annotated[list[str] | None, typer.Option(help="Only this source; several times for several.")] = None,
) -> None:
    """Turn the change logs of the configured sources into context events, until it is stopped."""
    import signal
    import threading

    from cdc_consumer import service

    settings = options.load(config).config
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    service.run(settings, source or list(settings.sources), stop)
