"""Holds on to what was hard to get while the ledger is away."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

from agent.backoff import Backoff
from wakestream.errors import TransientError

logger = logging.getLogger(__name__)


def keep(write: Callable[[], None], stop: threading.Event) -> None:
    """Write an answer or a result, again and again while the ledger is away.

    Raises the last `TransientError` when the process is to end, and at once whatever else `write` raises.
    """
    backoff = Backoff(longest=2.0)
    while True:
        try:
            write()
        except TransientError as error:
            logger.warning("A result is kept until the ledger is back: %s", error, extra={"action": "result_kept"})
            if stop.wait(backoff.next()):
                raise
        else:
            return
