"""Step 6 of the agent's cycle: one approved action, executed under its lease or settled after a crash."""

from __future__ import annotations

import dataclasses
import logging
import threading
from collections.abc import Mapping
from typing import Any

from agent import action_store, backoff, measures, own_changes, unexpected
from agent.action_store import Claimed
from agent.database import Ledger
from agent.effects.outcome import Effect, Failed, Outcome, Stale, Succeeded
from agent.keeping import keep
from agent.leases import Grip, LeaseLostError
from wakestream import fences
from wakestream.errors import FatalError, TransientError
from wakestream.failpoint import reach
from wakestream.fences import Present

logger = logging.getLogger(__name__)

COMPARES_ITSELF = {"sql"}
"""Kinds that compare the fence in their own transaction."""


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
        while True:
            known = self._knowing_own_changes(action)
            outcome = self._bring_about(effect, known)
            if not isinstance(outcome, Stale):
                return outcome
            if self._is_untold(known):
                raise TransientError("what an action before it in the same run has changed is not told yet")
            # It may have been told since we looked: only what is stale beside all of that is stale.
            if self._knowing_own_changes(action).pending.fence == known.pending.fence:
                return outcome

    def _bring_about(self, effect: Effect, action: Claimed) -> Outcome:
        grip = Grip(action.lease, lambda: self._extend(action))
        pending = dataclasses.replace(action.pending, compare=lambda: self._present(action), hold=grip.check)
        if action.interrupted:
            return effect.settle(pending, lambda intent: self._record(action, intent))
        if action.kind not in COMPARES_ITSELF and (differences := self._present(action).differences):
            return Stale(differences)
        return effect.execute(pending, lambda intent: self._record(action, intent))

    def _knowing_own_changes(self, action: Claimed) -> Claimed:
        if action.pending.fence is None:
            return action
        with self._ledger.transaction("reading the run's own changes", durable=False) as connection:
            fence = own_changes.accepted(connection, action.pending.id, action.pending.fence)
        return action._replace(pending=dataclasses.replace(action.pending, fence=fence))

    def _is_untold(self, action: Claimed) -> bool:
        with self._ledger.transaction("looking for the run's own changes", durable=False) as connection:
            return own_changes.untold(connection, action.pending.id)

    def _present(self, action: Claimed) -> Present:
        """What the context store says of the action's fence. Raises `TransientError` while it is behind."""
        fence = action.pending.fence
        if fence is None:
            return Present((), (), False, ())
        with self._ledger.transaction("comparing with the present state", durable=False) as connection:
            found = fences.compare_with_store(connection, fence)
        if found.behind:
            raise TransientError(
                f"the context store of {fence.source} has not reached {fence.log}/{fence.offset}, the place of the"
                " decision; is `wake consume` running?"
            )
        return found

    def _record(self, action: Claimed, intent: dict[str, Any]) -> None:
        with self._ledger.transaction("recording an intent") as connection:
            action_store.record_intent(connection, action, intent)

    def _extend(self, action: Claimed) -> None:
        with self._ledger.transaction("holding an action", durable=False) as connection:
            action_store.extend(connection, action)

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
            *(states[-1], action.pending.id, _told(outcome)),
            extra=_extra(f"action_{states[-1]}", action),
        )


def _told(outcome: Outcome) -> str:
    match outcome:
        case Succeeded():
            return ""
        case Stale(differences):
            return f": {'; '.join(differences)}"
        case _:
            return f": {outcome.reason}"


def _extra(deed: str, action: Claimed) -> dict[str, Any]:
    return {"action": deed, "effect": action.log_context()}
