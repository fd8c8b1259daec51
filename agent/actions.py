"""Step 6 of the agent's cycle: one approved action, executed under its lease or settled after a crash."""

from __future__ import annotations

import logging
import threading
from collections.abc import Mapping
from typing import Any

from agent import action_store, backoff, measures, unexpected
from agent.action_store import Claimed
from agent.database import Ledger
from agent.effects.outcome import Effect, Failed, Outcome, Succeeded
from agent.keeping import keep
from agent.leases import LeaseLostError
from wakestream.errors import FatalError, TransientError
from wakestream.failpoint import reach

logger = logging.getLogger(__name__)


class Actions:
    """One worker's way through actions."""

    def __init__(self, ledger: Ledger, effects: Mapping[str, Effect], stop: threading.Event) -> None:
        self._ledger = ledger
        self._effects = effects
        self._stop = stop

    def execute(self, action: Claimed) -> None:
        """Bring a claimed action to its outcome, and its run with it."""
        if action.broken and not action.interrupted:
            with self._ledger.transaction("ending an action") as connection:
                action_store.turn_stale(connection, action, f"an action before it did not come about: {action.broken}")
            measures.ACTIONS.labels(action.pending.name, "stale").inc()
            return
        try:
            outcome = self._outcome(action)
        except TransientError as error:
            delay = backoff.of("ledger", action.attempts)  # soon: whoever waits for it knows nothing
            logger.warning("An action cannot be settled now: %s", error, extra=_extra("action_unsettled", action))
            with self._ledger.transaction("putting off an action") as connection:
                action_store.settle_later(connection, action, str(error), delay)
            return
        except (FatalError, LeaseLostError):
            raise
        except Exception as error:
            logger.exception("An action met a fault", extra=_extra("action_fault", action))
            with self._ledger.transaction("putting off an action") as connection:
                delay = backoff.of("unexpected", action.attempts)
                action_store.settle_or_give_up(connection, action, unexpected.told(error), delay)
            return
        reach("agent.6.before_result")
        self._finish(action, outcome)
        reach("agent.6.after_result")

    def _outcome(self, action: Claimed) -> Outcome:
        effect = self._effects.get(action.kind)
        if effect is None:
            return Failed(f"this version has no effect `{action.kind}`")
        if action.interrupted:
            return effect.settle(action.pending, lambda intent: self._record(action, intent))
        return effect.execute(action.pending, lambda intent: self._record(action, intent))

    def _record(self, action: Claimed, intent: dict[str, Any]) -> None:
        with self._ledger.transaction("recording an intent") as connection:
            action_store.record_intent(connection, action, intent)

    def _finish(self, action: Claimed, outcome: Outcome) -> None:
        delay = backoff.of("effect", action.attempts)
        states: list[str] = []

        def write() -> None:
            with self._ledger.transaction("writing an action's outcome") as connection:
                states.append(action_store.finish(connection, action, outcome, delay))

        keep(write, self._stop)
        measures.ACTIONS.labels(action.pending.name, states[-1]).inc()
        logger.log(
            logging.WARNING if states[-1] in ("failed", "unknown") else logging.INFO,
            "Action %s: %s%s",
            *(states[-1], action.pending.id, "" if isinstance(outcome, Succeeded) else f": {outcome.reason}"),
            extra=_extra(f"action_{states[-1]}", action),
        )


def _extra(deed: str, action: Claimed) -> dict[str, Any]:
    return {"action": deed, "effect": action.log_context()}
