"""A run ends under the program that it began with, wherever its next worker is and whatever the file says by then."""

from __future__ import annotations

import logging
from collections import OrderedDict
from collections.abc import Mapping
from typing import NamedTuple

from agent.database import Ledger
from agent.model_client import ModelClient
from agent.run_store import Run
from wakestream import program_keeping
from wakestream.errors import EventError
from wakestream.program import Program

logger = logging.getLogger(__name__)

KEPT = 4
"""How many former programs are held ready."""


class Footing(NamedTuple):
    """What a run is worked on with."""

    program: Program
    models: Mapping[str, ModelClient]


class Programs:
    """One worker's programs: the present one, and former ones made when they are met."""

    def __init__(self, present: Program, ledger: Ledger, models: Mapping[str, ModelClient]) -> None:
        self._present = Footing(present, models)
        self._ledger = ledger
        self._former: OrderedDict[str, Footing] = OrderedDict()

    def take_up(self, program: Program) -> None:
        """From now on this is the present one; secrets and addresses of former ones are read from it anew."""
        self._present = self._present._replace(program=program)
        self.close()

    def of(self, run: Run) -> Footing:
        """What the run began with; raises `EventError` when that cannot be had any more."""
        if not run.begun or run.program in (None, self._present.program.digest):
            return self._present
        if run.program not in self._former:
            self._former[run.program] = self._made(run.program)
            logger.info("A run goes on under program %s", run.program[:12], extra={"action": "program_former"})
        self._former.move_to_end(run.program)
        while len(self._former) > KEPT:
            self._let_go(self._former.popitem(last=False)[1])
        footing = self._former[run.program]
        trigger = footing.program.triggers.get(run.trigger)
        agent = trigger.agents.get(run.agent) if trigger is not None else None
        if agent is not None and agent.settings.model not in footing.models:
            raise EventError(f"the run began with model `{agent.settings.model}`, which no trigger asks any more")
        return footing

    def close(self) -> None:
        """Close what former programs opened."""
        for footing in self._former.values():
            self._let_go(footing)
        self._former.clear()

    def _made(self, digest: str) -> Footing:
        with self._ledger.transaction("reading a former program", durable=False) as connection:
            program = program_keeping.load(connection, digest, self._present.program.config)
        if program is None:  # from before programs were kept
            return self._present
        opened = self._present.models
        settings = program.config.models
        return Footing(program, {name: opened[name].under(settings[name]) for name in opened if name in settings})

    def _let_go(self, footing: Footing) -> None:
        for name, model in footing.models.items():
            if model is not self._present.models.get(name):
                model.close()
