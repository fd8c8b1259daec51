"""Asks a model, and the one behind it when it fails, within what limits and budgets allow."""

from __future__ import annotations

import logging
import threading
from collections.abc import Mapping
from typing import NamedTuple

from agent import measures
from agent.gate import Gate
from agent.leases import Grip
from agent.model_client import Answer, ModelClient, ModelRefusedError, Request
from agent.model_limits import Permit
from agent.run_store import Run, Step
from wakestream.config.models import Model
from wakestream.errors import TransientError
from wakestream.failpoint import reach

logger = logging.getLogger(__name__)


class Answered(NamedTuple):
    """The answer of the first model that gave one."""

    answer: Answer
    permit: Permit
    """What its call held."""
    failed: dict[str, str]
    """By name, why those before it gave none."""


class Asking(NamedTuple):
    """Whom a run may ask, and past what."""

    gate: Gate
    settings: Mapping[str, Model]
    models: Mapping[str, ModelClient]
    stop: threading.Event
    grip: Grip
    """Lets go of a question that is somebody else's by now."""

    def ask(self, name: str, run: Run, request: Request, prompt: Step | None) -> Answered:
        """Raises what the last one raised where none answers. `prompt` is the run's step where it is not stored yet."""
        failed = dict[str, str]()
        while True:
            settings = self.settings[name]
            try:
                with self.gate.call(run, name, settings, None if failed else prompt) as permit:
                    reach("agent.5.before_model")
                    answer = self.models[name].ask(request, self.stop, self.grip.check)
            except (TransientError, ModelRefusedError) as error:
                # A former program may name one that the present file no longer leads to.
                following = settings.fallback
                if following is None or following not in self.models or self.stop.is_set():
                    raise
                failed[name] = str(error)
                extra = {"action": "model_fallback", "run": run.log_context()}
                logger.warning("Model %s failed, %s is asked: %s", name, following, error, extra=extra)
                name = following
                continue
            measures.answered(name, answer.ms / 1000, answer.tokens_in, answer.tokens_out)
            return Answered(answer, permit, failed)
