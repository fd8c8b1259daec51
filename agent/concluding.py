"""The end of a run's decision: what it leads to, written together with the answer that decided."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from typing import Any

from agent import action_store, fencing, governing, proposals, run_store
from agent.action_store import Proposed
from agent.answers import Decision, Offer
from agent.database import Ledger
from agent.keeping import keep
from agent.run_store import Run, Step
from wakestream.program import CompiledAgent, CompiledTrigger


def actions(
    trigger: CompiledTrigger,
    agent: CompiledAgent,
    run: Run,
    decision: Decision,
    offered: Mapping[str, Offer],
    values: Mapping[str, Any],
) -> list[Proposed]:
    """The actions of a decision, ruled upon and fenced. Raises `EventError` when one cannot be bound for this event."""
    event = run.event
    found = proposals.proposed(decision, offered, values, event)
    modes = (trigger.settings.mode, agent.settings.mode)
    found = governing.governed(found, modes, agent, values["event"]["untrusted"])
    return fencing.fenced(found, trigger.fences, agent, run.together or (event,))


def write(
    ledger: Ledger,
    stop: threading.Event,
    run: Run,
    decision: Decision,
    proposed: list[Proposed],
    answered: Step | None,
) -> None:
    """Write a decision with its actions and, where it is not stored yet, the answer in which it came: all or nothing.

    Raises `LeaseLostError` when the run is another's by now; then nothing is written.
    """
    said = {
        "reason": decision.reason,
        "actions": [{"action": each.action, "arguments": each.arguments} for each in decision.actions],
    }
    alone = not proposed and (answered is None or not run_store.spends(run, answered))

    def at_once() -> None:
        with ledger.transaction("proposing actions") as connection:
            held = run_store.decide(connection, run, said, answered, over=not proposed)
            if not alone:
                action_store.propose(connection, run, proposed)
                run_store.require_held(run, held)
                if answered is not None:
                    run_store.spend(connection, run, answered)
                if proposed:
                    run_store.settle(connection, run.id)
        if alone:  # one statement, which writes nothing where the claim is lost: its answer came with the commit
            run_store.require_held(run, held)

    keep(at_once, stop)
