"""The program as the schema allows it: taken up anew with each revision, with what it no longer allows held."""

from __future__ import annotations

import contextlib
import logging
import threading
from collections.abc import Callable

from agent.database import Connection, Ledger
from wakestream import capture
from wakestream.capture import Revision
from wakestream.config import Loaded
from wakestream.errors import ConfigurationError, TransientError
from wakestream.program import Program, compile_program

logger = logging.getLogger(__name__)

ROUND = 1.0  # seconds


def first(connection: Connection, loaded: Loaded) -> tuple[Program, dict[str, int]]:
    """The program under the newest revisions, and their ids by source.

    Triggers that do not compile are held while others do. Raises `ConfigurationError` when none compiles.
    """
    found = {source: capture.load(connection, source) for source in loaded.config.sources}
    revisions = {source: revision for source, revision in found.items() if revision is not None}
    program = compile_program(loaded, revisions, hold=True)
    if program.held and not program.triggers:
        program = compile_program(loaded, revisions)
    write(connection, program, {})
    return program, {source: revision.id for source, revision in revisions.items()}


def write(connection: Connection, program: Program, before: dict[str, str]) -> None:
    """Keep in the ledger which triggers are held; `before` are those of the program that went."""
    connection.execute("delete from wake.held_trigger where not trigger = any(%s)", (list(program.held),))
    for trigger, reason in program.held.items():
        connection.execute(
            "insert into wake.held_trigger (trigger, reason) values (%s, %s)"
            " on conflict (trigger) do update set reason = excluded.reason",
            (trigger, reason),
        )
        if trigger not in before:
            logger.warning("Trigger held: %s: %s", trigger, reason, extra={"action": "trigger_held"})
    for trigger in sorted(before.keys() - program.held.keys()):
        logger.info("Trigger released: %s", trigger, extra={"action": "trigger_released"})


class Follower:
    """Takes up the revision under which the consumer works, when that is a newer one."""

    def __init__(
        self,
        loaded: Loaded,
        ledger: Ledger,
        program: Program,
        known: dict[str, int],
        take_up: Callable[[Program], None],
    ) -> None:
        self._loaded = loaded
        self._ledger = ledger
        self._program = program
        self._known = known
        self._take_up = take_up

    def run(self, stop: threading.Event) -> None:
        """Look until told to stop; an outage of the ledger is waited for."""
        while not stop.wait(ROUND):
            with contextlib.suppress(TransientError):
                self.look()

    def look(self) -> None:
        """Take up what is new, if anything is."""
        with self._ledger.transaction("looking for a new revision", durable=False) as connection:
            rows = connection.execute("select source, revision from wake.source_position").fetchall()
            newer = {source: number for source, number in rows if number > self._known.get(source, number)}
            if not newer:
                return
            self._known |= newer
            found = {source: capture.load(connection, source, number) for source, number in self._known.items()}
            program = self._compile({source: each for source, each in found.items() if each is not None})
            if program is None:
                return
            write(connection, program, self._program.held)
        self._program = program
        self._take_up(program)
        logger.info("Took up a new revision: %s", newer, extra={"action": "revision_taken_up"})

    def _compile(self, revisions: dict[str, Revision]) -> Program | None:
        try:
            return compile_program(self._loaded, revisions, hold=True)
        except ConfigurationError as error:  # a prompt that was spoilt meanwhile
            logger.warning("Goes on under the former revision: %s", error, extra={"action": "revision_not_taken_up"})
            return None
