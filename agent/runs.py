"""Step 5 of the agent's cycle: one run, from its lookups to its decision, never asking twice for what it was told."""

from __future__ import annotations

import logging
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from agent import action_store, answers, bound, fencing, measures, prompts, proposals, run_store
from agent.answers import AnswerError, Decision, Offer
from agent.database import Ledger
from agent.gate import Gate
from agent.keeping import keep
from agent.lookups import Lookups
from agent.model_client import Answer, ModelClient, Request
from agent.programs import Programs
from agent.run_store import Run, Step
from wakestream.errors import EventError, TransientError
from wakestream.failpoint import reach
from wakestream.program import CompiledAgent, CompiledTrigger, Program

logger = logging.getLogger(__name__)

CRASHES = 20
"""How many more claims than attempts a run survives: each beyond its attempts was a worker that died over it."""


class DecidedAgainstError(EventError):
    """The run failed and is written as failed already."""


@dataclass(frozen=True, slots=True)
class _Question:
    """All that is settled before the model is asked."""

    messages: list[dict[str, str]]
    answer_schema: dict[str, Any]
    offered: dict[str, Offer]
    values: dict[str, Any]


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
            raise EventError(f"its worker ended {run.lease.attempt} times before the run did; see the agent's log")
        run = self._gate.admit(trigger, run, self._program.digest)
        steps = self._steps(run) if run.begun else {}
        question = self._question(agent, run, steps)
        decision = self._decide(agent, run, question, steps)
        self._propose(trigger, agent, run, question, decision)

    def close(self) -> None:
        """Close what former programs opened."""
        self._programs.close()

    def _steps(self, run: Run) -> dict[str, Step]:
        with self._ledger.transaction("reading a run's steps", durable=False) as connection:
            return run_store.steps(connection, run)

    def _question(self, agent: CompiledAgent, run: Run, steps: dict[str, Step]) -> _Question:
        event = run.event
        identity = {"id": run.id, "activation": run.activation, "agent": run.agent}
        values = bound.event_values(event, {**identity, "trigger": run.trigger, "depth": run.depth}, run.together)
        found = {name: self._lookup(agent, run, name, values, steps) for name in agent.lookups}
        offered = answers.offers(agent, values, event.data.missing)
        untrusted = self._program.untrusted.get(run.source, frozenset())
        messages = prompts.messages(agent, event, found, offered, untrusted, run.together, run.handed)
        schema = answers.schema(offered)
        if "prompt" not in steps:
            step = Step("prompt", {"messages": messages, "schema": schema, "model": agent.settings.model})
            with self._ledger.transaction("storing a prompt", durable=False) as connection:
                run_store.store_step(connection, run, step)
        return _Question(messages, schema, offered, values)

    def _lookup(
        self, agent: CompiledAgent, run: Run, name: str, values: Mapping[str, Any], steps: dict[str, Step]
    ) -> list[dict[str, Any]]:
        stored = steps.get(f"lookup:{name}")
        if stored is not None and stored.response is not None:
            return stored.response["rows"]
        if self._lookups is None:
            raise EventError("lookups need `ledger.lookups` in the configuration")
        position, missing = run.event.data.position, run.event.data.missing
        response = self._lookups.ask(agent.lookups[name], position, values, missing)
        reach("agent.5.after_lookup")
        step = Step(f"lookup:{name}", {"sql": agent.lookups[name].settings.sql}, response, ms=response["ms"])
        self._store(run, step)
        reach("agent.5.after_lookup_store")
        return response["rows"]

    def _decide(self, agent: CompiledAgent, run: Run, question: _Question, steps: Mapping[str, Step]) -> Decision:
        """The decision in the last stored answer, or in a new one; every second answer is a repair of the one before.

        After a failed repair the run has failed; a person who retries it begins another pair.
        """
        number = sum(name.startswith("model:") for name in steps)
        content = _content(steps[f"model:{number}"]) if number else ""
        problems: tuple[str, ...] = ()
        while True:
            if number:
                try:
                    return answers.read(content, question.offered, question.answer_schema)
                except AnswerError as error:
                    problems = error.problems
            number += 1
            repairing = number % 2 == 0
            messages = question.messages + (prompts.repair(content, problems) if repairing else [])
            content = self._ask(agent, run, Request(messages, question.answer_schema), number, question.offered)

    def _ask(self, agent: CompiledAgent, run: Run, request: Request, number: int, offered: Mapping[str, Offer]) -> str:
        """One answer, stored before anything is made of it."""
        name = agent.settings.model
        with self._gate.call(run, name, agent.model) as permit:
            reach("agent.5.before_model")
            answer = self._models[name].ask(request, self._stop)
        measures.answered(name, answer.ms / 1000, answer.tokens_in, answer.tokens_out)
        reach("agent.5.after_model")
        wrong = _what_is_wrong(answer, offered, request.answer_schema)
        last = number % 2 == 0
        told = request.messages[-2:] if last else []
        step = Step(
            f"model:{number}",
            {"model": answer.model, "messages": told},
            {"content": answer.content, "finish": answer.finish},
            wrong,
            *(answer.tokens_in, answer.tokens_out, answer.ms, answer.cost, answer.model, permit),
        )
        failure = f"the model's answer breaks the schema, repaired once: {wrong}" if wrong and last else None
        self._store(run, step, failure)
        reach("agent.5.after_model_store")
        if failure:
            raise DecidedAgainstError(failure)
        return answer.content

    def _store(self, run: Run, step: Step, failure: str | None = None) -> None:
        def write() -> None:
            with self._ledger.transaction("storing a step") as connection:
                run_store.store_step(connection, run, step)
                if failure:
                    run_store.fail(connection, run, failure)

        keep(write, self._stop)

    def _propose(
        self, trigger: CompiledTrigger, agent: CompiledAgent, run: Run, question: _Question, decision: Decision
    ) -> None:
        event = run.event
        actions = proposals.proposed(decision, question.offered, question.values, event)
        actions = fencing.fenced(actions, trigger.fences, agent, run.together or (event,))
        reach("agent.6.before_propose")
        said = {
            "reason": decision.reason,
            "actions": [{"action": each.action, "arguments": each.arguments} for each in decision.actions],
        }

        def write() -> None:
            with self._ledger.transaction("proposing actions") as connection:
                run_store.decide(connection, run, said, self._program.digest)
                action_store.propose(connection, run, actions)
                run_store.settle(connection, run.id)

        keep(write, self._stop)
        reach("agent.6.after_propose")
        logger.info(
            "Run decided: %s: %s",
            *(run.id, ", ".join(f"{each.name} {each.state}" for each in actions) or "no action"),
            extra={"action": "run_decided", "run": run.log_context()},
        )


def _content(step: Step) -> str:
    return str((step.response or {}).get("content", ""))


def _what_is_wrong(answer: Answer, offered: Mapping[str, Offer], schema: dict[str, Any]) -> str | None:
    try:
        answers.read(answer.content, offered, schema)
    except AnswerError as error:
        return f"cut off at max_tokens; {error}" if answer.finish == "length" else str(error)
    return None
