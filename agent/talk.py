"""What is said between us and a model until it has decided: questions that it asks, answers, and one repair.

It is worked out anew from the stored steps after a restart, so it knows nothing but what was stored.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from agent import answers, json_text, prompts, questions
from agent.answers import AnswerError, Decision, Offer
from agent.model_client import Request, ToolCall
from agent.questions import Ask
from wakestream.program_actions import CompiledLookup

Message = dict[str, Any]


class Said(msgspec.Struct, frozen=True):
    """What a model answered: words, or calls of the lookups that it was given as tools."""

    content: str
    calls: tuple[ToolCall, ...] = ()

    @property
    def stored(self) -> dict[str, Any]:
        """For a step's response."""
        return {"content": self.content, **({"calls": msgspec.to_builtins(self.calls)} if self.calls else {})}

    @classmethod
    def of(cls, response: Mapping[str, Any] | None) -> Said:
        """From a step's response."""
        found = response or {}
        return cls(str(found.get("content", "")), msgspec.convert(found.get("calls", []), tuple[ToolCall, ...]))


class Talk:
    """One conversation over one event."""

    def __init__(
        self,
        messages: list[Message],
        offered: Mapping[str, Offer],
        asks: Mapping[str, CompiledLookup],
        *,
        steps: int,
        native: bool,
    ) -> None:
        self._messages = list(messages)
        self._offered = offered
        self._asks = asks
        self._left = steps if asks else 1
        """Model calls that are left; a repair is none."""
        self._native = native
        self._repair: list[Message] = []
        self._request: Request | None = None
        self._last: tuple[Said, Decision | AnswerError] | None = None
        """What was read last, which is asked for twice: for what is stored of it, and for what follows."""
        self.new: list[Message] = []
        """What the next request holds that the one before did not."""

    @property
    def repairing(self) -> bool:
        """Whether the next request asks for the same once more."""
        return bool(self._repair)

    @property
    def request(self) -> Request:
        """What is asked next; in the last one the model can only decide."""
        self._request = self._request or self._next()
        return self._request

    def _next(self) -> Request:
        may_ask = self._left > 1
        schema = answers.schema(self._offered, self._asks if may_ask and not self._native else None)
        tools = questions.tools(self._asks) if may_ask and self._native else []
        return Request(self._messages + self._repair, schema, tools)

    def read(self, said: Said) -> Decision:
        """The decision, or what is asked before it. Raises `AnswerError` with everything that is wrong."""
        if self._last is None or self._last[0] is not said:
            self._last = said, self._outcome(said)
        if isinstance(self._last[1], AnswerError):
            raise self._last[1]
        return self._last[1]

    def _outcome(self, said: Said) -> Decision | AnswerError:
        request = self.request
        if said.calls and request.tools:
            return Decision("", [], [self._called(call) for call in said.calls])
        try:
            return answers.read(said.content, self._offered, request.answer_schema)
        except AnswerError as error:
            return error

    def refuse(self, said: Said, error: AnswerError) -> None:
        """It does not fit: say what is wrong, once; a second failure is forgotten and asked as if it were the first."""
        self._repair = [] if self._repair else prompts.repair(said.content, error.problems)
        self._request = None
        self.new = self._repair

    def answer(self, said: Said, asked: list[Ask], told: list[str]) -> None:
        """Tell what was asked."""
        if said.calls:
            calls = [
                {"id": c.id, "type": "function", "function": {"name": c.name, "arguments": c.arguments}}
                for c in said.calls
            ]
            self.new = [{"role": "assistant", "content": said.content, "tool_calls": calls}]
            self.new += [
                {"role": "tool", "tool_call_id": call.id, "content": text}
                for call, text in zip(said.calls, told, strict=True)
            ]
        else:
            self.new = [{"role": "assistant", "content": said.content}, prompts.told(asked, told, last=self._left == 2)]
        self._messages += self.new
        self._repair = []
        self._request = None
        self._left -= 1

    def _called(self, call: ToolCall) -> Ask:
        """A tool call as a question; one that does not fit is answered with what is wrong with it."""
        if call.name not in self._asks:
            return Ask(call.name, {}, f"there is no lookup `{call.name}`; there are: {', '.join(self._asks)}")
        try:
            arguments = json_text.load(call.arguments or "{}")
        except msgspec.DecodeError as error:
            return Ask(call.name, {}, f"the arguments are not JSON: {error}")
        problem = questions.misfit(self._asks[call.name], arguments)
        return Ask(call.name, {} if problem else arguments, problem)
