"""`wake consume`: change logs become context events."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from cli import options


def consume(
    config: options.Config = options.DEFAULT_CONFIG,
    source: Annotated[list[str] | None, typer.Option(help="Only this source; several times for several.")] = None,
) -> None:
    """Turn the change logs of the configured sources into context events, until it is stopped."""
    import signal
    import threading

    from cdc_consumer import service
    from wakestream import config as configuration

    loaded = configuration.load(Path(config))
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    service.run(loaded.config, source or list(loaded.config.sources), stop)
