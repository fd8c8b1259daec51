"""The form that a model's answer must have for one event, and whether one has it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, assert_never, cast

import jsonschema_rs
import msgspec

from agent import json_text, questions
from agent.questions import Ask
from wakestream.conditions import Failed, Given, Null, Undecided
from wakestream.program import CompiledAgent
from wakestream.program_actions import CompiledAction, CompiledChoice, CompiledLookup

REASON_LENGTH = 300  # characters
ERRORS_TOLD = 5
MESSAGE_LENGTH = 160  # characters


@dataclass(frozen=True, slots=True)
class Offer:
    """One action that the model may propose for this event, with what there is to choose from."""

    action: CompiledAction
    choices: dict[str, list[dict[str, Any]]]
    """Per choice, the elements that exist, in the event's order."""

    def element(self, choice: str, key: Any) -> dict[str, Any]:
        """The element that a key names: out of the event, never out of the model's words."""
        name = self.action.choose[choice].key
        return next(element for element in self.choices[choice] if element[name] == key)

    @property
    def times(self) -> int:
        """How often it may be proposed: once, or once for each element of a batch that it chooses from."""
        return max([len(self.keys(choice)) for choice in self._of_batch], default=1)

    def identity(self, arguments: Mapping[str, Any]) -> str:
        """What two proposals of it may not share."""
        return json_text.dump([arguments[choice] for choice in self._of_batch])

    def without(self, done: Sequence[Mapping[str, Any]]) -> Offer | None:
        """What is left of it when it was done with these choices; None where nothing is."""
        if not done:
            return self
        of_batch = self._of_batch
        if not of_batch:
            return None
        choices = dict(self.choices)
        for choice in of_batch:
            name = self.action.choose[choice].key
            taken = [each[choice][name] for each in done if choice in each]
            choices[choice] = [element for element in choices[choice] if element[name] not in taken]
        return Offer(self.action, choices) if all(choices[choice] for choice in of_batch) else None

    @property
    def _of_batch(self) -> list[str]:
        return [choice for choice, each in self.action.choose.items() if each.source.text == "batch"]

    def keys(self, choice: str) -> list[Any]:
        """The keys that exist."""
        name = self.action.choose[choice].key
        return list(dict.fromkeys(element[name] for element in self.choices[choice]))


class Proposal(msgspec.Struct, frozen=True):
    """One action as the model wrote it, after the schema was checked."""

    action: str
    arguments: dict[str, Any]


class Decision(msgspec.Struct, frozen=True):
    """An answer that fits."""

    reason: str
    actions: list[Proposal]
    ask: list[Ask] = []
    """What it asks first; as long as it asks, nothing else that it says counts."""


class AnswerError(Exception):
    """The answer does not fit; each problem in words that the model can act on."""

    def __init__(self, *problems: str) -> None:
        self.problems = problems
        super().__init__("; ".join(problems))


def offers(agent: CompiledAgent, images: Mapping[str, Any], missing: tuple[str, ...]) -> dict[str, Offer]:
    """The actions that this event allows; one whose list is empty or not known is not offered."""
    found: dict[str, Offer] = {}
    for name, action in agent.actions.items():
        choices = {choice: _elements(each, images, missing) for choice, each in action.choose.items()}
        if all(choices.values()):
            found[name] = Offer(action, choices)
    return found


def _elements(choice: CompiledChoice, images: Mapping[str, Any], missing: tuple[str, ...]) -> list[dict[str, Any]]:
    result = choice.source.evaluate(images, missing=missing)
    match result:
        case Given(value):
            rows = cast("list[dict[str, Any]]", value) if isinstance(value, list) else []
            return [row for row in rows if row.get(choice.key) is not None]
        case Null() | Undecided() | Failed():
            return []
        case _:
            assert_never(result)


def schema(offered: Mapping[str, Offer], asks: Mapping[str, CompiledLookup] | None = None) -> dict[str, Any]:
    """The JSON Schema of the answer: what can be said, and asked before, is only what exists."""
    items = [action_schema(name, offer) for name, offer in offered.items()]
    actions: dict[str, Any] = {"type": "array", "maxItems": sum(offer.times for offer in offered.values())}
    actions["items"] = {"anyOf": items} if items else {"type": "object"}
    reason = {"type": "string", "maxLength": REASON_LENGTH}
    asking = {"ask": questions.schema(asks)} if asks else {}
    return _object({"reason": reason, **asking, "actions": actions})


def action_schema(name: str, offer: Offer) -> dict[str, Any]:
    """The JSON Schema of one proposal."""
    arguments: dict[str, Any] = {choice: {"enum": [_plain(k) for k in offer.keys(choice)]} for choice in offer.choices}
    arguments |= offer.action.settings.parameters
    return _object({"action": {"const": name}, "arguments": _object(arguments)})


def _plain(key: Any) -> Any:
    """A key as the SDK can send it."""
    return float(key) if isinstance(key, Decimal) else key


def _object(properties: dict[str, Any]) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }


def read(content: str, offered: Mapping[str, Offer], answer_schema: dict[str, Any]) -> Decision:
    """The decision in an answer. Raises `AnswerError` with everything that is wrong with it."""
    try:
        value = json_text.load(content)
    except msgspec.DecodeError as error:
        raise AnswerError(f"the answer is not one JSON object: {error}") from error
    if isinstance(value, dict) and "ask" in answer_schema["properties"]:
        value = {"ask": list[Any](), **cast("dict[str, Any]", value)}  # who asks nothing need not say so
    errors = list(jsonschema_rs.validator_for(answer_schema).iter_errors(value))
    if errors:
        raise AnswerError(*(_describe(error, value, offered) for error in errors[:ERRORS_TOLD]))
    decision = msgspec.convert(value, Decision)
    proposed = [(each.action, offered[each.action].identity(each.arguments)) for each in decision.actions]
    twice = sorted({name for name, same in proposed if proposed.count((name, same)) > 1})
    if twice:
        raise AnswerError(*(f"action {name} is proposed twice; propose it once" for name in twice))
    return decision


def _describe(error: jsonschema_rs.ValidationError, value: Any, offered: Mapping[str, Offer]) -> str:
    path = list(error.instance_path)
    if path[:1] == ["actions"] and len(path) >= 2:
        return _describe_action(value["actions"][path[1]], offered)
    where = ".".join(str(part) for part in path) or "the answer"
    return f"{where}: {_short(error)}"


def _describe_action(proposed: Any, offered: Mapping[str, Offer]) -> str:
    """What `anyOf` leaves unsaid: how a proposal breaks the one form that it wanted to have."""
    proposal = cast("dict[str, Any]", proposed) if isinstance(proposed, dict) else {}
    name = proposal.get("action")
    if not isinstance(name, str) or name not in offered:
        return f"there is no action {json_text.dump(name)}; there are: {', '.join(offered) or 'none'}"
    validator = jsonschema_rs.validator_for(action_schema(name, offered[name]))
    errors = [f"{'.'.join(map(str, each.instance_path))}: {_short(each)}" for each in validator.iter_errors(proposal)]
    return f"action {name}: {'; '.join(errors[:ERRORS_TOLD])}"


def _short(error: jsonschema_rs.ValidationError) -> str:
    """The message without the value at its front where that is long."""
    message = error.message
    return message if len(message) <= MESSAGE_LENGTH else f"… {message[-MESSAGE_LENGTH // 2 :]}"
