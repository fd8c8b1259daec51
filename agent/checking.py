"""Actions whose outcome is unknown, settled by the lookup that their `check:` names."""

from __future__ import annotations

import logging
import threading
from collections.abc import Mapping
from typing import Any, NamedTuple

from agent import bound, json_text, run_store
from agent.database import Connection, Ledger
from agent.lookups import Lookups
from wakestream.errors import EventError, TransientError
from wakestream.events import ContextEvent
from wakestream.program import Program
from wakestream.program_actions import CompiledLookup

logger = logging.getLogger(__name__)

ROUND = 1.0  # seconds
LONGEST_PAUSE = 300  # seconds between two checks of an action


class _Doubtful(NamedTuple):
    """An action that is unknown, as this process is to check it."""

    id: str
    name: str
    run: str
    attempts: int
    bound: dict[str, Any]
    chosen: dict[str, Any]
    identity: dict[str, Any]
    """Of its run, as expressions see it."""
    event: ContextEvent


class Checks:
    """One thread's rounds: asks for one action at a time, each less often the longer nothing is found."""

    def __init__(self, program: Program, ledger: Ledger, lookups: Lookups) -> None:
        self._program = program
        self._ledger = ledger
        self._lookups = lookups

    def take_up(self, program: Program) -> None:
        """Work under another program from here on."""
        self._program = program

    def run(self, stop: threading.Event) -> None:
        """Check until told to stop; an outage of the ledger is waited for."""
        while not stop.wait(ROUND):
            try:
                while not stop.is_set() and self.check():
                    pass
            except TransientError as error:
                logger.info("Checks pause: %s", error, extra={"action": "checks_paused"})

    def close(self) -> None:
        """Close what it asks with."""
        self._lookups.close()
        self._ledger.close()

    def check(self) -> bool:
        """Ask about the action whose turn it is; False when there is none."""
        names = [name for name, action in self._program.config.actions.items() if action.check is not None]
        with self._ledger.transaction("looking for what is unknown", durable=False) as connection:
            doubtful = _next(connection, names) if names else None
        if doubtful is None:
            return False
        check = self._check_of(doubtful)
        if check is not None:
            self._settle(doubtful, check)
        return True

    def _check_of(self, doubtful: _Doubtful) -> CompiledLookup | None:
        trigger = self._program.triggers.get(doubtful.identity["trigger"])
        agent = trigger.agents.get(doubtful.identity["agent"]) if trigger else None
        action = agent.actions.get(doubtful.name) if agent else None
        return action.check if action else None

    def _settle(self, doubtful: _Doubtful, check: CompiledLookup) -> None:
        try:
            found = self._ask(doubtful, check)
        except (EventError, TransientError) as error:
            logger.info("Check %s of %s: %s", *(check.name, doubtful.id, error), extra={"action": "check_failed"})
            self._note(doubtful, check, str(error))
            return
        if not found:
            self._note(doubtful, check, "it found nothing")
            return
        with self._ledger.transaction("settling by a check") as connection:
            _happened(connection, doubtful, check)
        logger.info("Action succeeded: %s: check %s found it", *(doubtful.id, check.name), extra={"action": "checked"})

    def _ask(self, doubtful: _Doubtful, check: CompiledLookup) -> bool:
        event = doubtful.event
        values: dict[str, Any] = {
            **bound.event_values(event, doubtful.identity),
            "bound": doubtful.bound,
            "chosen": doubtful.chosen,
            "action": {"id": doubtful.id, "name": doubtful.name},
        }
        return bool(self._lookups.ask(check, event.data.position, values, event.data.missing)["rows"])

    def _note(self, doubtful: _Doubtful, check: CompiledLookup, what: str) -> None:
        said: Mapping[str, Any] = {"check": check.name, "last": what}
        with self._ledger.transaction("noting a check", durable=False) as connection:
            connection.execute(
                "update wake.action set result = coalesce(result, '{}') || jsonb_build_object('checked',"
                " %s::jsonb || jsonb_build_object('times', checks, 'at', clock_timestamp()))"
                " where id = %s and state = 'unknown' and attempts = %s",
                (json_text.storable(said), doubtful.id, doubtful.attempts),
            )


def _next(connection: Connection, names: list[str]) -> _Doubtful | None:
    """Take the action whose check is due; no other process checks it until its next turn."""
    row = connection.execute(
        "with found as (select id from wake.action where state = 'unknown' and name = any(%s)"
        " and coalesce(check_at, '-infinity') <= now() order by check_at nulls first limit 1 for update skip locked)"
        " update wake.action a set checks = a.checks + 1,"
        " check_at = now() + make_interval(secs => least(%s, power(2, least(a.checks, 20))))"
        " from found, wake.run r, wake.activation v"
        " where a.id = found.id and r.id = a.run and v.id = r.activation"
        " returning a.id, a.name, a.run, a.attempts, a.bound::text, a.chosen::text, r.activation, r.agent, r.trigger,"
        " v.depth, v.event::text",
        (names, LONGEST_PAUSE),
    ).fetchone()
    if row is None:
        return None
    action, name, run, attempts, bound_, chosen, activation, agent, trigger, depth, event = row
    identity = {"id": run, "activation": activation, "agent": agent, "trigger": trigger, "depth": depth}
    values = json_text.load(bound_), json_text.load(chosen)
    return _Doubtful(action, name, run, attempts, *values, identity, json_text.load_event(event))


def _happened(connection: Connection, doubtful: _Doubtful, check: CompiledLookup) -> None:
    settled = json_text.storable({"settled": f"by check {check.name}"})
    connection.execute(
        "update wake.action set state = 'succeeded', reason = %s, result = coalesce(result, '{}') || %s::jsonb,"
        " executed_at = coalesce(executed_at, clock_timestamp())"
        " where id = %s and state = 'unknown' and attempts = %s",
        (f"check {check.name} found its effect", settled, doubtful.id, doubtful.attempts),
    )
    run_store.settle(connection, doubtful.run)
    connection.execute("select pg_notify('wake_action', '')")
