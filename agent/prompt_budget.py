"""Keeps a prompt within its agent's `prompt_tokens`: what is cut, and in which order.

Long texts are shortened first, then rows of lookups are left out from their end, then options from theirs, which can
then not be chosen either. Rules, instructions and actions are never cut: what does not fit even so fails the run.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple, cast

import msgspec

from agent import json_text
from agent.answers import Offer
from wakestream.errors import EventError
from wakestream.events import ContextEvent

BYTES_PER_TOKEN = 3
"""Tokenizers differ; English takes some 4 bytes a token, other languages and JSON fewer. This errs to the safe side."""
LONGEST_TEXT = 200
"""Characters of a text that is shortened."""

Messages = list[dict[str, Any]]


class Parts(NamedTuple):
    """What a prompt is made of besides what is never cut."""

    event: ContextEvent
    together: tuple[ContextEvent, ...]
    lookups: dict[str, list[dict[str, Any]]]
    offered: dict[str, Offer]


class Fitted(NamedTuple):
    """A prompt within its budget."""

    messages: Messages
    offered: dict[str, Offer]
    cut: list[str]
    """What was left out, in words."""


def tokens(messages: Sequence[Mapping[str, Any]]) -> int:
    """How many tokens these take, estimated."""
    return sum(-(-len(str(each.get("content") or "").encode()) // BYTES_PER_TOKEN) for each in messages)


def fit(limit: int | None, parts: Parts, write: Callable[[Parts], Messages]) -> Fitted:
    """The prompt of these parts, cut until it fits. Raises `EventError` where even that is too long."""
    messages = write(parts)
    if limit is None or tokens(messages) <= limit:
        return Fitted(messages, parts.offered, [])
    for cut, told in _cuts(parts):
        messages = write(cut)
        if tokens(messages) <= limit:
            return Fitted(messages, cut.offered, told)
    raise EventError(
        f"the prompt has about {tokens(messages)} tokens where `prompt_tokens` allows {limit}, although all was cut"
        " that may be: allow more, or shorten instructions, `fields` and descriptions"
    )


def fit_rows(limit: int | None, before: Sequence[Mapping[str, Any]], rows: list[Any]) -> tuple[str, int]:
    """The rows of an answer to the model as text, and how many are left out so that it fits behind what was said."""
    text = json_text.dump(rows)
    if limit is None:
        return text, 0
    room, shown = max(limit - tokens(before), 0) * BYTES_PER_TOKEN, len(rows)
    while shown and len(text.encode()) > room:
        shown //= 2
        text = json_text.dump(rows[:shown])
    return text, len(rows) - shown


def _cuts(parts: Parts) -> Iterator[tuple[Parts, list[str]]]:
    """Shorter and shorter, each with what is left out of it."""
    told = [f"texts are shortened to {LONGEST_TEXT} characters"]
    parts = parts._replace(
        event=_shortened_event(parts.event),
        together=tuple(_shortened_event(each) for each in parts.together),
        lookups={name: cast("list[Any]", _shortened(rows)) for name, rows in parts.lookups.items()},
    )
    yield parts, told
    longest = max((len(each) for each in parts.lookups.values()), default=0)
    for rows in _halves(longest, least=0):
        parts = parts._replace(lookups={name: each[:rows] for name, each in parts.lookups.items()})
        yield parts, [*told, f"lookups show {rows} rows at most"]
    if longest:
        told = [*told, "lookups show no rows"]
    most = max((len(each) for offer in parts.offered.values() for each in offer.choices.values()), default=0)
    for count in _halves(most, least=1):
        parts = parts._replace(offered={name: _fewer(offer, count) for name, offer in parts.offered.items()})
        yield parts, [*told, f"{count} options are offered at most"]


def _halves(count: int, *, least: int) -> Iterator[int]:
    """Half as many, a quarter, and so on."""
    while count > least:
        count //= 2
        yield count


def _fewer(offer: Offer, count: int) -> Offer:
    return Offer(offer.action, {name: elements[:count] for name, elements in offer.choices.items()})


def _shortened_event(event: ContextEvent) -> ContextEvent:
    data = msgspec.structs.replace(event.data, before=_shortened(event.data.before), after=_shortened(event.data.after))
    return msgspec.structs.replace(event, data=data)


def _shortened(value: Any) -> Any:
    match value:
        case str():
            return value if len(value) <= LONGEST_TEXT else f"{value[:LONGEST_TEXT]}…"
        case list():
            return [_shortened(each) for each in cast("list[Any]", value)]
        case dict():
            return {name: _shortened(each) for name, each in cast("dict[str, Any]", value).items()}
        case _:
            return value
