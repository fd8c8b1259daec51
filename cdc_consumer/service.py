"""The consumers of several sources in one process, a thread each; one that must stop stops all."""

from __future__ import annotations

import gc
import logging
import threading
from collections.abc import Sequence

from cdc_consumer.process import SourceConsumer
from wakestream import allocator, ledger, membership, metrics, topics
from wakestream.config import Config, reveal
from wakestream.errors import ConfigurationError, TakenOverError, TransientError
from wakestream.ledger import settings
from wakestream.membership import Membership, Place

logger = logging.getLogger(__name__)

STOP_PATIENCE = 30.0  # seconds for a cycle that is under way


def run(config: Config, sources: Sequence[str], stop: threading.Event, *, share: bool = False) -> None:
    """Consume these sources until `stop` is set; with `share` those of them that a consumer group gives us.

    Raises `ConfigurationError` for an unknown source or a ledger of another version, `FatalError` when a consumer
    cannot go on.
    """
    unknown = [name for name in sources if name not in config.sources]
    if unknown:
        raise ConfigurationError(f"no source `{unknown[0]}`; there are: {', '.join(config.sources)}")
    _require_ledger(config, stop)
    allocator.use_one_arena()
    # Rows live for one cycle and hold no cycles of references: looking through them again and again is wasted.
    gc.set_threshold(100_000, 50, 100)
    consumers = _Consumers(config, stop, shared=share)
    with metrics.served(config.metrics.consume):
        if share:
            listed = [topics.changes(source) for source in sources]
            group = settings.group(reveal(config.ledger.url), "consume")
            Membership(config.kafka, group, listed, consumers.follow).run(stop)
        else:
            consumers.keep(sources)
            stop.wait()
        consumers.keep(())
    if consumers.failures:
        raise consumers.failures[0]


class _Consumers:
    """A thread for each source that is consumed here."""

    def __init__(self, config: Config, stop: threading.Event, *, shared: bool) -> None:
        self._config = config
        self._stop = stop
        self._shared = shared
        self._running: dict[str, tuple[threading.Thread, threading.Event]] = {}
        self.failures: list[BaseException] = []

    def follow(self, ours: frozenset[Place]) -> None:
        """Consume the sources whose change logs are ours."""
        own = {topic for topic, _ in ours}
        self.keep([source for source in self._config.sources if topics.changes(source) in own])

    def keep(self, sources: Sequence[str]) -> None:
        """Stop every other one, and start those that do not run."""
        ending = [self._running.pop(name) for name in list(self._running) if name not in sources]
        for _, told in ending:
            told.set()
        for thread, _ in ending:
            thread.join(STOP_PATIENCE)
        for name in sources:
            if name not in self._running:
                told = threading.Event()
                thread = threading.Thread(target=self._consume, args=(name, told), name=name, daemon=True)
                self._running[name] = thread, told
                thread.start()

    def _consume(self, source: str, told: threading.Event) -> None:
        try:
            while not told.is_set():
                try:
                    SourceConsumer(self._config, source, told).run()
                except TakenOverError as error:
                    if not self._shared:
                        raise
                    # Whoever took it over has it by the group's word, unless the group still gives it to us.
                    logger.warning("%s", error, extra={"action": "consumer_taken_over"})
                    told.wait(membership.CONFIRMED)
        except BaseException as error:  # noqa: BLE001 - handed to the main thread
            self.failures.append(error)
            self._stop.set()


def _require_ledger(config: Config, stop: threading.Event) -> None:
    """Wait for an absent ledger; refuse one of another version."""
    while not stop.is_set():
        try:
            return ledger.require_current(reveal(config.ledger.url))
        except TransientError:
            stop.wait(1.0)
    return None
