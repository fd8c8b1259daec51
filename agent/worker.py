"""Steps 4 to 6 of the agent's cycle: claims actions and runs and works on one at a time."""

from __future__ import annotations

import logging
import threading

from agent import action_store, backoff, measures, run_store
from agent.action_store import Claimed
from agent.actions import Actions
from agent.backoff import Backoff
from agent.bell import Bell
from agent.database import Ledger
from agent.deciding_again import OvertakenError
from agent.gate import HeldBackError
from agent.leases import Holdings, LeaseLostError
from agent.run_claim import Turn
from agent.run_store import Run
from agent.runs import DecidedAgainstError, Runs
from agent.unexpected import UnexpectedError
from wakestream.config.budgets import Over
from wakestream.errors import EventError, FatalError, TransientError
from wakestream.failpoint import reach
from wakestream.program import Program

logger = logging.getLogger(__name__)

POLL = 1.0  # seconds; what the bell does not tell, the clock does

HELD_BACK: dict[Over, str] = {"queue": "put off", "approve": "parked", "drop": "dropped"}


class Worker:
    """One thread's loop."""

    def __init__(
        self,
        program: Program,
        ledger: Ledger,
        holdings: Holdings,
        bell: Bell,
        runs: Runs,
        actions: Actions,
        turn: Turn | None = None,
    ) -> None:
        """`turn` is what the workers of a process share."""
        self._program = program
        self._ledger = ledger
        self._holdings = holdings
        self._bell = bell
        self._turn = turn or Turn(bell)
        self._runs = runs
        self._actions = actions

    def take_up(self, program: Program) -> None:
        """Work under another program from the next run on."""
        self._program = program
        self._runs.take_up(program)

    def run(self, stop: threading.Event) -> None:
        """Work until told to stop; an outage of the ledger is waited for."""
        trouble = Backoff()
        while not stop.is_set():
            heard = self._bell.heard()
            try:
                worked = self.work(stop)
                trouble.reset()
            except TransientError as error:
                logger.warning("A worker pauses: %s", error, extra={"action": "worker_paused"})
                stop.wait(trouble.next())
                continue
            if not worked:
                self._bell.wait(heard, POLL)

    def work(self, stop: threading.Event) -> bool:
        """Do one action or one run; False when there is none. What was begun is finished first."""
        by = self._holdings.new()
        try:
            return self._work(by, stop)
        except LeaseLostError as error:
            logger.warning("Work was taken over: %s", error, extra={"action": "lease_lost"})
            return True
        finally:
            if not stop.is_set():  # at the end, what is still held is given back by name
                self._holdings.drop(by)

    def _work(self, by: str, stop: threading.Event) -> bool:
        claimed = self._claim(by)
        match claimed:
            case None:
                self._holdings.drop(by)
                return False
            case Run():
                reach("agent.4.after_claim")
                self._run(claimed, stop)
            case Claimed():
                self._bell.ring()
                reach("agent.6.after_claim")
                self._actions.execute(claimed)
        self._holdings.drop(by)
        return True

    def _claim(self, by: str) -> Claimed | Run | None:
        while True:
            # A claim that a crash of the ledger takes back is made again: it need not be durable.
            with self._ledger.transaction("claiming work", durable=False) as connection:
                actions, runs = action_store.claim(connection, by), self._turn.claim(connection, by)
            found = action_store.claimed(actions) or self._turn.claimed(runs)
            if found is not None or runs.from_beginning:
                return found

    def _run(self, run: Run, stop: threading.Event) -> None:
        try:
            self._runs.execute(run)
            measures.RUNS.labels(run.trigger, "decided").inc()
        except HeldBackError as error:
            measures.RUNS.labels(run.trigger, HELD_BACK[error.over]).inc()
            extra = {"action": "run_held_back", "run": run.log_context()}
            logger.info("Run %s is %s: %s", run.id, HELD_BACK[error.over], error, extra=extra)
        except DecidedAgainstError as error:
            self._log_failed(run, error)
        except OvertakenError as error:
            with self._ledger.transaction("ending what is overtaken") as connection:
                run_store.cancel(connection, run, str(error))
            measures.RUNS.labels(run.trigger, "overtaken").inc()
            logger.info("Run %s: %s", run.id, error, extra={"action": "run_overtaken", "run": run.log_context()})
        except EventError as error:
            with self._ledger.transaction("ending a run") as connection:
                run_store.fail(connection, run, str(error))
            self._log_failed(run, error)
        except TransientError as error:
            if stop.is_set():
                raise
            self._again(run, error)
        except (FatalError, LeaseLostError):
            raise
        except Exception as error:
            logger.exception("A run met a fault", extra={"action": "run_fault", "run": run.log_context()})
            self._again(run, UnexpectedError(error))

    def _again(self, run: Run, error: TransientError) -> None:
        trigger = self._program.triggers.get(run.trigger)
        agent = trigger.agents.get(run.agent) if trigger else None
        allowed = agent.settings.attempts if agent else 1
        parked = run.lease.attempt >= allowed
        delay = error.retry_after_s or backoff.of(error.family, run.lease.attempt)
        with self._ledger.transaction("putting off a run") as connection:
            if parked:
                run_store.park(connection, run, str(error))
            else:
                run_store.retry_later(connection, run, str(error), delay)
        deed, what = ("run_parked", "is parked") if parked else ("run_retried", f"is tried again in {delay:.0f} s")
        measures.RUNS.labels(run.trigger, "parked" if parked else "retried").inc()
        logger.warning("Run %s %s: %s", run.id, what, error, extra={"action": deed, "run": run.log_context()})

    def _log_failed(self, run: Run, error: EventError) -> None:
        measures.RUNS.labels(run.trigger, "failed").inc()
        extra = {"action": "run_failed", "run": run.log_context()}
        logger.warning("Run failed: %s: %s", run.id, error, extra=extra)
