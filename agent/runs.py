"""Step 5 of the agent's cycle: one run, from its lookups to its decision, never asking twice for what it was told."""

from __future__ import annotations

import dataclasses
import hashlib
import logging
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from agent import (
    answers,
    bound,
    concluding,
    deciding_again,
    governing,
    json_text,
    prompt_budget,
    prompts,
    questions,
    run_claim,
    run_store,
)
from agent.answers import AnswerError, Decision, Offer
from agent.database import Ledger
from agent.fallbacks import Asking
from agent.gate import Gate
from agent.keeping import keep
from agent.leases import Grip, LeaseLostError
from agent.lookups import Lookups
from agent.model_client import Answer, ModelClient
from agent.programs import Programs
from agent.prompt_budget import Parts
from agent.prompts import Untrusted
from agent.questions import Ask
from agent.run_store import Run, Step
from agent.talk import Said, Talk
from wakestream.errors import EventError, TransientError
from wakestream.failpoint import reach
from wakestream.program import CompiledAgent, CompiledTrigger, Program
from wakestream.program_actions import CompiledLookup

logger = logging.getLogger(__name__)

STEPS = 4
"""How often a model is called for one decision, where its agent says nothing."""

CRASHES = 20
"""How many more claims than attempts a run survives: each beyond its attempts was a worker that died over it."""


class DecidedAgainstError(EventError):
    """The run failed and is written as failed already."""


@dataclass(frozen=True, slots=True)
class _Question:
    """All that is settled before the model is asked."""

    messages: list[dict[str, str]]
    offered: dict[str, Offer]
    values: dict[str, Any]
    foreign: Untrusted
    unstored: Step | None = None
    """The prompt's step, which is stored right before the first question."""

    def talk(self, agent: CompiledAgent) -> Talk:
        """What is said about it, from its beginning."""
        settings = agent.settings
        native = settings.tools == "native"
        return Talk(self.messages, self.offered, agent.ask, steps=settings.steps or STEPS, native=native)


class Runs:
    """One worker's way through runs."""

    def __init__(
        self,
        program: Program,
        ledger: Ledger,
        models: Mapping[str, ModelClient],
        lookups: Lookups | None,
        stop: threading.Event,
    ) -> None:
        self._programs = Programs(program, ledger, models)
        self._program, self._models = program, models
        """What the run at hand is worked on with."""
        self._ledger = ledger
        self._lookups = lookups
        self._stop = stop
        self._gate = Gate(ledger)

    def take_up(self, program: Program) -> None:
        """Work under another program from the next run on, except with those that began under a former one."""
        self._programs.take_up(program)

    def execute(self, run: Run) -> None:
        """Bring a claimed run to its decision.

        Raises `TransientError` when it is to be tried again, `EventError` when that is no use.
        """
        self._program, self._models = self._programs.of(run)
        trigger = self._program.triggers.get(run.trigger)
        if run.trigger in self._program.held:
            raise TransientError(f"trigger `{run.trigger}` is held: {self._program.held[run.trigger]}")
        if trigger is None:
            raise EventError(f"the configuration has no trigger `{run.trigger}` any more")
        if run.agent not in trigger.agents:
            raise EventError(f"trigger `{run.trigger}` leads to no agent `{run.agent}` any more")
        agent = trigger.agents[run.agent]
        if run.lease.attempt > agent.settings.attempts + CRASHES:
            raise TransientError(f"its worker ended {run.lease.attempt} times before the run did; see the agent's log")
        if run.batch is not None:
            run = self._together(run)
        run = self._gate.admit(trigger, run, self._program.digest)
        steps = self._steps(run) if run.begun else {}
        done: deciding_again.Done = ()
        if run.again is not None:
            run, done = deciding_again.take_up(self._ledger, trigger, run, steps)
        question = self._question(agent, run, steps, done)
        decision, answered = self._decide(agent, run, question, steps)
        self._propose(trigger, agent, run, question, decision, answered)

    def close(self) -> None:
        """Close what former programs opened."""
        self._programs.close()

    def _together(self, run: Run) -> Run:
        with self._ledger.transaction("reading a batch", durable=False) as connection:
            return run_claim.together(connection, run)

    def _steps(self, run: Run) -> dict[str, Step]:
        with self._ledger.transaction("reading a run's steps", durable=False) as connection:
            return run_store.steps(connection, run)

    def _question(self, agent: CompiledAgent, run: Run, steps: dict[str, Step], done: deciding_again.Done) -> _Question:
        event = run.event
        identity = {"id": run.id, "activation": run.activation, "agent": run.agent}
        values = bound.event_values(event, {**identity, "trigger": run.trigger, "depth": run.depth}, run.together)
        if run.handed is not None:
            governing.note(values, ["handed over"])
        if run.handed:
            governing.note(values, run.handed.get("untrusted", ()))
        found = {
            name: self._looked_up(run, f"lookup:{name}", Ask(name, {}), lookup, values, steps)["rows"]
            for name, lookup in agent.lookups.items()
        }
        offered = deciding_again.left(answers.offers(agent, values, event.data.missing), done)
        untrusted = self._program.untrusted.get(run.source, frozenset())

        def write(parts: Parts) -> list[dict[str, str]]:
            told = (parts.lookups, parts.offered, untrusted, parts.together, run.handed, run.again)
            return prompts.messages(agent, parts.event, *told)

        parts = Parts(event, run.together, found, offered)
        messages, offered, cut = prompt_budget.fit(agent.settings.prompt_tokens, parts, write)
        question = _Question(messages, offered, values, prompts.foreign(event, untrusted, run.together))
        if "prompt" not in steps:
            schema = question.talk(agent).request.answer_schema
            asked = {"messages": messages, "schema": schema, "model": agent.settings.model}
            left_out = {"cut": cut} if cut else {}
            step = Step("prompt", {**asked, "hashes": self._hashes(agent, asked), **left_out})
            question = dataclasses.replace(question, unstored=step)
        return question

    def _hashes(self, agent: CompiledAgent, asked: Mapping[str, Any]) -> dict[str, str]:
        """By which it can be said whether two decisions rested on the same prompt, configuration and model."""
        model = agent.model.model_dump(mode="json")  # with secrets masked
        return {
            "prompt": hashlib.sha256(json_text.dump(asked).encode()).hexdigest(),
            "configuration": self._program.digest,
            "model": hashlib.sha256(json_text.dump(model).encode()).hexdigest(),
        }

    def _looked_up(  # noqa: PLR0913
        self,
        run: Run,
        step: str,
        asked: Ask,
        lookup: CompiledLookup,
        values: Mapping[str, Any],
        steps: Mapping[str, Step],
    ) -> dict[str, Any]:
        """What a lookup answered, and with it that strangers may have written it."""
        response = self._response(run, step, asked, lookup, values, steps)
        governing.note_lookup(values, asked.lookup, lookup.settings, response["rows"], self._program.untrusted)
        return response

    def _response(  # noqa: PLR0913
        self,
        run: Run,
        step: str,
        asked: Ask,
        lookup: CompiledLookup,
        values: Mapping[str, Any],
        steps: Mapping[str, Step],
    ) -> dict[str, Any]:
        """What a lookup answered, stored before anything is made of it, and never asked for again."""
        stored = steps.get(step)
        if stored is not None and stored.response is not None:
            return stored.response
        if self._lookups is None:
            raise EventError("lookups need `ledger.lookups` in the configuration")
        position, missing = run.event.data.position, run.event.data.missing
        response = self._lookups.ask(lookup, position, values, missing, asked.arguments)
        reach("agent.5.after_lookup")
        self._store(run, Step(step, questions.told(asked, lookup), response, ms=response["ms"]))
        reach("agent.5.after_lookup_store")
        return response

    def _decide(
        self, agent: CompiledAgent, run: Run, question: _Question, steps: Mapping[str, Step]
    ) -> tuple[Decision, Step | None]:
        """The decision in the stored answers, or in new ones, with what the model asked on the way.

        Also the step of the answer that decides where that is new: it is stored with what comes of it.
        """
        talk, number = question.talk(agent), 0
        while True:
            number += 1
            stored = steps.get(f"model:{number}")
            prompt = question.unstored if number == 1 else None
            said, unstored = (
                self._ask(agent, run, talk, number, prompt) if stored is None else (Said.of(stored.response), None)
            )
            try:
                decision = talk.read(said)
            except AnswerError as error:
                talk.refuse(said, error)
                continue
            if not decision.ask:
                return decision, unstored
            told: list[str] = []
            for place, asked in enumerate(decision.ask, 1):
                before = [*talk.request.messages, *({"content": each} for each in told)]
                told.append(self._told(agent, run, question, steps, f"ask:{number}.{place}", asked, before))
            talk.answer(said, decision.ask, told)

    def _told(  # noqa: PLR0913
        self,
        agent: CompiledAgent,
        run: Run,
        question: _Question,
        steps: Mapping[str, Step],
        step: str,
        asked: Ask,
        before: Sequence[Mapping[str, Any]],
    ) -> str:
        """What a model is told when it asks: rows, or why there are none."""
        lookup = agent.ask.get(asked.lookup)
        if lookup is None or asked.problem:
            return prompts.no_answer(asked.problem or "there is no such lookup")
        try:
            response = self._looked_up(run, step, asked, lookup, question.values, steps)
        except EventError as error:
            refused: dict[str, Any] = {"rows": [], "error": str(error)}
            self._store(run, Step(step, questions.told(asked, lookup), refused, str(error)))
            response = refused
        if "error" in response:
            return prompts.no_answer(str(response["error"]))
        rows = prompts.shown(lookup, response["rows"], question.foreign)
        text, left_out = prompt_budget.fit_rows(agent.settings.prompt_tokens, before, rows)
        return f"{text} and {left_out} more, for which there is no room" if left_out else text

    def _ask(
        self, agent: CompiledAgent, run: Run, talk: Talk, number: int, prompt: Step | None
    ) -> tuple[Said, Step | None]:
        """One answer, stored before anything is made of it; one that decides comes back with its step, unstored."""
        request = talk.request
        answer, permit, failed = self._asking(run).ask(agent.settings.model, run, request, prompt)
        reach("agent.5.after_model")
        said = Said(answer.content, answer.calls)
        wrong = _what_is_wrong(talk, said, answer)
        step = Step(
            f"model:{number}",
            {"model": answer.model, "messages": talk.new, **({"failed": failed} if failed else {})},
            {**said.stored, "finish": answer.finish},
            wrong,
            *(answer.tokens_in, answer.tokens_out, answer.ms, answer.cost, answer.model, permit),
        )
        if wrong is None and not talk.read(said).ask:
            return said, step
        failure = f"the model's answer breaks the schema, repaired once: {wrong}" if wrong and talk.repairing else None
        self._store(run, step, failure)
        reach("agent.5.after_model_store")
        if failure:
            raise DecidedAgainstError(failure)
        return said, None

    def _asking(self, run: Run) -> Asking:
        grip = Grip(run.lease, lambda: self._extend(run))
        return Asking(self._gate, self._program.config.models, self._models, self._stop, grip)

    def _extend(self, run: Run) -> None:
        with self._ledger.transaction("holding a run", durable=False) as connection:
            run_store.extend(connection, run)

    def _store(self, run: Run, step: Step, failure: str | None = None) -> None:
        def write() -> None:
            with self._ledger.transaction("storing a step") as connection:
                run_store.store_step(connection, run, step)
                if failure:
                    run_store.fail(connection, run, failure)

        keep(write, self._stop)

    def _propose(
        self,
        trigger: CompiledTrigger,
        agent: CompiledAgent,
        run: Run,
        question: _Question,
        decision: Decision,
        answered: Step | None,
    ) -> None:
        try:
            actions = concluding.actions(trigger, agent, run, decision, question.offered, question.values)
            reach("agent.6.before_propose")
            concluding.write(self._ledger, self._stop, run, decision, actions, answered)
        except LeaseLostError:
            raise
        except BaseException:  # whatever ends this: an answer that is paid for is kept
            if answered is not None:
                self._store(run, answered)
            raise
        if answered is not None:
            reach("agent.5.after_model_store")
        reach("agent.6.after_propose")
        logger.info(
            "Run decided: %s: %s",
            *(run.id, ", ".join(f"{each.name} {each.state}" for each in actions) or "no action"),
            extra={"action": "run_decided", "run": run.log_context()},
        )


def _what_is_wrong(talk: Talk, said: Said, answer: Answer) -> str | None:
    try:
        talk.read(said)
    except AnswerError as error:
        return f"cut off at max_tokens; {error}" if answer.finish == "length" else str(error)
    return None
