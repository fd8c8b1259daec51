"""Whether a run may begin and ask its model now. What may not is put off, parked or dropped here, and told why."""

from __future__ import annotations

import contextlib
from collections.abc import Generator
from typing import assert_never

import msgspec

from agent import bound, budgets, model_limits, run_store
from agent.budgets import Held
from agent.database import Connection, Ledger
from agent.model_client import ModelBusyError
from agent.model_limits import Permit
from agent.run_store import Run, Step
from wakestream.config.budgets import Over
from wakestream.config.models import Model
from wakestream.errors import WakeError
from wakestream.program import CompiledTrigger


class HeldBackError(WakeError):
    """The run may not go on now; what becomes of it is written already."""

    def __init__(self, held: Held) -> None:
        self.over: Over = held.over
        super().__init__(held.reason)


class Gate:
    """One worker's way past budgets and limits."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger

    def admit(self, trigger: CompiledTrigger, run: Run, digest: str) -> Run:
        """The run with the budgets that count it, counted once in its life; raises `HeldBackError`."""
        run = msgspec.structs.replace(run, program=digest, charges=_charges(trigger, run))
        if run.admitted or not run.charges:
            return run
        with self._ledger.transaction("counting a run", durable=False) as connection:
            held = budgets.count(connection, run.charges, "runs", regardless=run.let_go)
            if held is None:
                run_store.admitted(connection, run)
            else:
                _hold(connection, run, held)
        if held is not None:
            raise HeldBackError(held)
        return run

    @contextlib.contextmanager
    def call(self, run: Run, name: str, settings: Model, first: Step | None = None) -> Generator[Permit]:
        """Ask the model within this, and store the answer with the permit; raises `HeldBackError`.

        `first` is a step that is stored before, in the same transaction: what is about to be asked.
        """
        answer = self._enter(run, name, settings, first)
        if isinstance(answer, Held):
            raise HeldBackError(answer)
        try:
            yield answer
        except ModelBusyError as error:
            with self._ledger.transaction("pausing a model") as connection:
                held = model_limits.pause(connection, name, error.after_s, str(error))
                run_store.give_place(connection, run, answer)
                _hold(connection, run, held)
            raise HeldBackError(held) from error
        except WakeError:
            with self._ledger.transaction("giving a call's place back", durable=False) as connection:
                run_store.give_place(connection, run, answer)
            raise

    def _enter(self, run: Run, name: str, settings: Model, first: Step | None) -> Permit | Held:
        """Whether the model may be asked now; a run that is held back is put off, parked or dropped by this."""
        charges = () if run.let_go else run.charges
        with self._ledger.transaction("asking whether a model may be asked", durable=False) as connection:
            stored = None if first is None else run_store.send_step(connection, run, first)
            paused = model_limits.ask(connection, name, settings)
            if charges or model_limits.is_limited(settings):
                if stored is not None:
                    run_store.require_held(run, stored)
                # Put off in the transaction that locks the limit: or whoever leaves a place meanwhile wakes nobody.
                held = budgets.spent(connection, charges) or model_limits.told(paused, name)
                answer = held or model_limits.enter(connection, run.id, run.lease, name, settings)
                if isinstance(answer, Held):
                    _hold(connection, run, answer)
                return answer
        # Where nothing counts the call, both answers have travelled with the commit.
        if stored is not None:
            run_store.require_held(run, stored)
        pause = model_limits.told(paused, name)
        if pause is None:
            return Permit()
        with self._ledger.transaction("holding a run back", durable=False) as connection:
            _hold(connection, run, pause)
        return pause


def _charges(trigger: CompiledTrigger, run: Run) -> tuple[budgets.Charge, ...]:
    counted = [each for each in trigger.budgets if each.agent in (None, run.agent)]
    if not counted:
        return ()
    identity = {"id": run.id, "activation": run.activation, "agent": run.agent}
    values = bound.event_values(run.event, {**identity, "trigger": run.trigger, "depth": run.depth})
    return budgets.charges(counted, values, run.event.data.missing, run.event.at)


def _hold(connection: Connection, run: Run, held: Held) -> None:
    match held.over:
        case "queue":
            run_store.put_off(connection, run, held.reason, until=held.until, waits_for=held.key)
            run_store.put_off_alike(connection, held.reason, until=held.until, waits_for=held.key)
        case "approve":
            told = f"{held.reason}; `wake runs retry` lets it go on all the same"
            run_store.park(connection, run, told, waits_for=held.key)
        case "drop":
            run_store.cancel(connection, run, held.reason)
        case _:
            assert_never(held.over)
