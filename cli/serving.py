"""What every command that runs on has in common: it logs, and it ends cleanly when told to."""

from __future__ import annotations

import signal
import threading

from wakestream import telemetry


def until_stopped() -> threading.Event:
    """Set up logging, and give the event that SIGTERM and Ctrl-C set."""
    telemetry.configure()
    stop = threading.Event()

    def end(*_: object) -> None:
        # In a thread of its own: the handler may interrupt the very wait whose lock `set` needs.
        threading.Thread(target=stop.set).start()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, end)
    return stop
