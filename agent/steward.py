"""What goes on beside the work: heartbeats, receipts that settle what was unknown, letters to be tried again."""

from __future__ import annotations

import logging
import threading
import time

from agent import action_store, alarms, budgets, expiry, leases, letters, measures, notices, overtaken
from agent.database import Ledger
from agent.leases import Holdings
from wakestream.errors import TransientError
from wakestream.program import Program

logger = logging.getLogger(__name__)

ROUND = 1.0  # seconds


class Steward:
    """One thread's rounds."""

    def __init__(self, program: Program, ledger: Ledger, holdings: Holdings) -> None:
        self._program = program
        self._ledger = ledger
        self._holdings = holdings
        self._compared = ""
        """The last proposal that was compared with what is there now."""

    def take_up(self, program: Program) -> None:
        """Work under another program from here on."""
        self._program = program

    def run(self, stop: threading.Event) -> None:
        """Make rounds until told to stop; an outage of the ledger is waited for."""
        beat = time.monotonic()
        while not stop.wait(ROUND):
            due = time.monotonic() - beat >= leases.HEARTBEAT
            try:
                self.round(heartbeat=due)
            except TransientError as error:
                logger.info("The heartbeat pauses: %s", error, extra={"action": "steward_paused"})
                continue
            if due:
                beat = time.monotonic()

    def round(self, *, heartbeat: bool) -> None:
        """One round."""
        held = self._holdings.held()
        if heartbeat and held:
            with self._ledger.transaction("extending leases", durable=False) as connection:
                leases.extend(connection, held)
        with self._ledger.transaction("settling by receipts") as connection:
            for action in action_store.settle_by_receipts(connection):
                logger.info("Action succeeded: %s: its mark was seen", action, extra={"action": "action_settled"})
        with self._ledger.transaction("ending what nobody decided") as connection:
            for action, what in expiry.expire(connection):
                logger.warning("Nobody decided in time: %s: %s", action, what, extra={"action": f"expiry_{what}"})
        with self._ledger.transaction("looking for what is overtaken") as connection:
            self._compared, stale = overtaken.look(connection, self._compared)
        for action, follows in stale:
            logger.info("Action stale: %s: %s", action, follows, extra={"action": "action_stale"})
        with self._ledger.transaction("trying letters again") as connection:
            letters.retry(connection, self._program)
        if heartbeat:
            with self._ledger.transaction("looking for effects", durable=False) as connection:
                alarms.look(connection, self._program.config)
            with self._ledger.transaction("counting what is open", durable=False) as connection:
                measures.look(connection)
            with self._ledger.transaction("forgetting what was spent long ago", durable=False) as connection:
                budgets.forget(connection)
                notices.forget(connection)
