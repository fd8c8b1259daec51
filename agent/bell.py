"""Wakes workers: rung here after a commit, and by the ledger's notifications for what others committed."""

from __future__ import annotations

import contextlib
import logging
import threading
from collections.abc import Callable

import psycopg
from psycopg import Notify

from agent.backoff import Backoff
from wakestream import ledger
from wakestream.errors import TransientError

logger = logging.getLogger(__name__)

CHANNELS = ("wake_run", "wake_action", "wake_letter")
LISTEN = 0.5  # seconds between two looks at whether to stop


class Bell:
    """Each ring wakes one who waits; whoever looked for work before it does not begin to wait."""

    def __init__(self) -> None:
        self._rings = 0
        self.news = 0
        """How often it was said that there are new runs, or some to be taken up again."""
        self._changed = threading.Condition()

    def ring(self, *, many: int = 1, news: bool = False) -> None:
        """There may be work for so many; `news`: it may be runs that nobody could have claimed before."""
        with self._changed:
            self._rings += 1
            self.news += news
            self._changed.notify(many)

    def heard(self) -> int:
        """What to give to `wait`: take it before looking for work, so that no ring falls between."""
        with self._changed:
            return self._rings

    def wait(self, heard: int, timeout: float) -> None:
        """Return when woken by a ring, at once if one came since `heard`, and at the latest after `timeout` seconds."""
        with self._changed:
            if self._rings == heard:
                self._changed.wait(timeout)


def listen(url: str, bell: Bell, stop: threading.Event, is_known: Callable[[Notify], bool] = lambda _: False) -> None:
    """Ring for each notification until told to stop; while the ledger is away, polling has to do.

    `is_known` tells what somebody here has rung for already, or takes up next: nobody is woken for it.
    """
    backoff = Backoff()
    while not stop.is_set():
        try:
            with contextlib.closing(ledger.connect(url, name="agent listener", autocommit=True)) as connection:
                for channel in CHANNELS:
                    connection.execute(f"listen {channel}")
                backoff.reset()
                while not stop.is_set():
                    for each in connection.notifies(timeout=LISTEN, stop_after=1):
                        if not is_known(each):
                            bell.ring(news=each.channel == "wake_run")
        except (TransientError, psycopg.OperationalError) as error:
            logger.info("Listening to the ledger pauses: %s", error, extra={"action": "listen_paused"})
            stop.wait(backoff.next())
