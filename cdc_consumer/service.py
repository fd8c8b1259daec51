"""The consumers of several sources in one process, a thread each; one that must stop stops all."""

from __future__ import annotations

import gc
import threading
from collections.abc import Sequence

from cdc_consumer.process import SourceConsumer
from wakestream import ledger, metrics
from wakestream.config import Config, reveal
from wakestream.errors import ConfigurationError, TransientError

STOP_PATIENCE = 30.0  # seconds for a cycle that is under way


def run(config: Config, sources: Sequence[str], stop: threading.Event) -> None:
    """Consume these sources until `stop` is set.

    Raises `ConfigurationError` for an unknown source or a ledger of another version, `FatalError` when a consumer
    cannot go on.
    """
    unknown = [name for name in sources if name not in config.sources]
    if unknown:
        raise ConfigurationError(f"no source `{unknown[0]}`; there are: {', '.join(config.sources)}")
    _require_ledger(config, stop)
    # Rows live for one cycle and hold no cycles of references: looking through them again and again is wasted.
    gc.set_threshold(100_000, 50, 100)
    failures: list[BaseException] = []

    def consume(source: str) -> None:
        try:
            SourceConsumer(config, source, stop).run()
        except BaseException as error:  # noqa: BLE001 - handed to the main thread below
            failures.append(error)
            stop.set()

    threads = [threading.Thread(target=consume, args=(name,), name=name, daemon=True) for name in sources]
    with metrics.served(config.metrics.consume):
        for thread in threads:
            thread.start()
        stop.wait()
        for thread in threads:
            thread.join(STOP_PATIENCE)
    if failures:
        raise failures[0]


def _require_ledger(config: Config, stop: threading.Event) -> None:
    """Wait for an absent ledger; refuse one of another version."""
    while not stop.is_set():
        try:
            return ledger.require_current(reveal(config.ledger.url))
        except TransientError:
            stop.wait(1.0)
    return None
