"""The program as the schema allows it: taken up anew with each revision, with what it no longer allows held.

While a trigger is held the file is followed too: whoever is told to correct it need not start the agent anew. Otherwise
a file that is being edited changes nothing in a running agent.
"""

from __future__ import annotations

import contextlib
import logging
import threading
from collections.abc import Callable

from agent.database import Connection, Ledger
from wakestream import capture, program_keeping
from wakestream.capture import Revision
from wakestream.config import Following, Loaded, handing
from wakestream.config.actions import WebhookAction
from wakestream.config.models import Config
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
    """Keep in the ledger the program and which triggers are held; `before` are those of the program that went."""
    program_keeping.keep(connection, program)
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
        self._file = Following(loaded)
        self._corrected: Loaded | None = None
        """A file that has changed and is not taken up yet."""
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
        changed = self._file.look() if self._program.held else None
        self._corrected = changed or self._corrected
        with self._ledger.transaction("looking for a new revision", durable=False) as connection:
            rows = connection.execute("select source, revision from wake.source_position").fetchall()
            newer = {source: number for source, number in rows if number > self._known.get(source, number)}
            if not newer and changed is None:
                return
            self._known |= newer
            found = {source: capture.load(connection, source, number) for source, number in self._known.items()}
            revisions = {source: each for source, each in found.items() if each is not None}
            program = self._compile_corrected(self._corrected, revisions) if self._corrected else None
            if program is None and newer:
                program = self._compile(self._loaded, revisions)
            if program is None:
                return
            write(connection, program, self._program.held)
        self._program = program
        self._take_up(program)
        told = f"a new revision: {newer}" if newer else f"a corrected {self._loaded.document.path}"
        logger.info("Took up %s", told, extra={"action": "revision_taken_up"})

    def _compile(self, loaded: Loaded, revisions: dict[str, Revision]) -> Program | None:
        try:
            return compile_program(loaded, revisions, hold=True)
        except ConfigurationError as error:  # a prompt that was spoilt meanwhile
            logger.warning("Goes on under the former revision: %s", error, extra={"action": "revision_not_taken_up"})
            return None

    def _compile_corrected(self, loaded: Loaded, revisions: dict[str, Revision]) -> Program | None:
        """The program of a file that was changed, unless it wants what only a start can give, or holds more."""
        path = loaded.document.path
        restart = [name for name, part in _fixed(loaded.config).items() if _fixed(self._loaded.config)[name] != part]
        if restart:
            logger.warning(
                "%s is taken up when the agent is started anew: %s changed",
                *(path, ", ".join(restart)),
                extra={"action": "file_refused"},
            )
            return None
        program = self._compile(loaded, revisions)
        spoilt = [] if program is None else sorted(program.held.keys() & self._program.triggers.keys())
        if spoilt:
            told = ", ".join(spoilt)
            logger.warning("%s is not taken up: it would hold %s", path, told, extra={"action": "file_refused"})
            return None
        if program is not None:
            self._loaded, self._corrected = loaded, None
        return program


def _fixed(config: Config) -> dict[str, object]:
    """What the agent's parts were opened with."""
    return {
        "kafka": config.kafka,
        "ledger": config.ledger,
        "sources": sorted(config.sources),
        "connections": config.connections,
        "models": (config.models, handing.models_used(config)),
        "mcp_servers": config.mcp_servers,
        "the secret of a webhook": {
            name: action.secret for name, action in config.actions.items() if isinstance(action, WebhookAction)
        },
        "metrics": config.metrics,
    }
