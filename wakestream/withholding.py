"""Takes values that are not known out of a document, and says where they were."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence

import msgspec

from wakestream.capture import Member

_fields = msgspec.json.Decoder(dict[str, msgspec.Raw])
_elements = msgspec.json.Decoder(list[msgspec.Raw])

LOST_ROW = "**"
"""Stands among a row's unknown columns for: it is in the source and not in the mirror, since it cannot be read."""

Unknown = Callable[[str, Mapping[str, msgspec.Raw]], Collection[str]]
"""The columns of a row that are not known, given its table and all that is shown of it."""


def withhold(unknown: Unknown, label: str, members: Sequence[Member], image: bytes) -> tuple[bytes, frozenset[str]]:
    """A row with its members; returns its text and the paths that were taken out. What stays keeps its text."""
    if not image.startswith(b"{"):
        return image, frozenset()
    fields = _fields.decode(image)
    paths = {name for name in unknown(label, fields) if fields.pop(name, None) is not None}
    for member in members:
        if member.name not in fields:
            continue
        text, inner = _of_member(unknown, member, bytes(fields[member.name]))
        if inner:
            fields[member.name] = msgspec.Raw(text)
            paths |= {f"{member.name}.{name}" for name in inner}
    return (msgspec.json.encode(fields), frozenset(paths)) if paths else (image, frozenset())


def _of_member(unknown: Unknown, member: Member, image: bytes) -> tuple[bytes, frozenset[str]]:
    if not member.many or not image.startswith(b"["):
        return withhold(unknown, member.table, member.members, image)
    parts = [withhold(unknown, member.table, member.members, bytes(each)) for each in _elements.decode(image)]
    return b"[%s]" % b", ".join(part for part, _ in parts), frozenset(name for _, names in parts for name in names)
