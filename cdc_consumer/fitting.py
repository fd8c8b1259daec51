"""Events that are larger than a message may be: told without an image, which is named as missing, never held back.

A row that Debezium could send may not fit with its old image beside it, and may be longer as PostgreSQL prints it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import msgspec

from cdc_consumer.render import Message

ENVELOPE = 1024  # bytes that the broker's batch takes around a message, and more
_BYTES = 4  # at most, of one character
_MANY = 64 * 1024  # bytes of an entity event's `rows` that are its size's own fault

_fields = msgspec.json.Decoder(dict[str, msgspec.Raw])
_paths = msgspec.json.Decoder(list[str])
_NULL = msgspec.Raw(b"null")


class Unshown(NamedTuple):
    """An event that had to be told without the image that it is about."""

    offset: int
    """Its place in the change log."""
    subject: str
    size: int
    most: int
    """How many bytes it might have had."""


def fitted(message: Message, most: int, note: Callable[[Unshown], None]) -> Message:
    """The message, or one without `before`, or without both images, that has no more bytes than `most`.

    `note` is told of one that lacks its `after`.
    """
    if len(message.value) * _BYTES <= most or (size := _size(message)) <= most:
        return message
    event = _fields.decode(message.value)
    data = _fields.decode(event["data"])
    told = bytes(data.get("after", _NULL)) != b"null"
    parts = ("rows", "before", "after") if len(bytes(data.get("rows", b""))) > _MANY else ("before", "after", "rows")
    found = message
    for part in parts:
        data = _without(data, part)
        event["data"] = msgspec.Raw(msgspec.json.encode(data))
        found = Message(message.subject, msgspec.json.encode(event).decode(), message.partition)
        if _size(found) <= most:
            break
    if told and bytes(data["after"]) == b"null":
        offset = msgspec.json.decode(data["position"], type=dict[str, int | None])["offset"]
        note(Unshown(offset or 0, message.subject, size, most))
    return found


def _size(message: Message) -> int:
    return len(message.value.encode()) + len(message.subject.encode()) + ENVELOPE


def _without(data: dict[str, msgspec.Raw], part: str) -> dict[str, msgspec.Raw]:
    """The data of an event without a part that it may have; what is missing of it is the whole of it."""
    if bytes(data.get(part, _NULL)) == b"null":
        return data
    missing = [path for path in _paths.decode(data["missing"]) if path.partition(".")[0] != part]
    named = {"missing": msgspec.Raw(msgspec.json.encode([*missing, part]))}
    return data | named | ({"rows": msgspec.Raw(b"[]")} if part == "rows" else {part: _NULL, "changed": _NULL})
