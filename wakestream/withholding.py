"""Takes values that are not known out of a document, and says where they were."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence

import msgspec

from wakestream.capture import Entity, Member

_fields = msgspec.json.Decoder(dict[str, msgspec.Raw])
_elements = msgspec.json.Decoder(list[msgspec.Raw])

LOST_ROW = "**"
"""Stands among a row's unknown columns for: it is in the source and not in the mirror, since it cannot be read."""

Unknown = Callable[[str, Mapping[str, msgspec.Raw]], Collection[str]]
"""The columns of a row that are not known, given its table and all that is shown of it."""


Lost = Callable[[str, Mapping[str, msgspec.Raw] | None], bool]
"""Whether a row of a table is lost: the one with this key, or any where none is given."""


def lost_members(lost: Lost, members: Sequence[Member], fields: Mapping[str, msgspec.Raw]) -> Iterator[str]:
    """Paths at which a lost row would stand, or may: which rows it belongs to cannot be read."""
    for member in members:
        image = bytes(fields.get(member.name, b"null"))
        if (member.many or image == b"null") and _may_be_lost(lost, member, fields):
            yield member.name
            continue
        rows = _elements.decode(image) if image.startswith(b"[") else [image] if image.startswith(b"{") else []
        inner = {path for row in rows for path in lost_members(lost, member.members, _fields.decode(row))}
        for path in sorted(inner):
            yield f"{member.name}.{path}"


def _may_be_lost(lost: Lost, member: Member, fields: Mapping[str, msgspec.Raw]) -> bool:
    """Surely not where the member is found by its key, and that is another one."""
    if not lost(member.table, None):
        return False
    if member.many or set(member.references) != set(member.key) or not set(member.columns) <= fields.keys():
        return True
    values = {own: fields[column] for own, column in zip(member.references, member.columns, strict=True)}
    return lost(member.table, {name: values[name] for name in member.key})


def computed_from(entity: Entity, paths: Collection[str]) -> list[str]:
    """Computed fields whose SQL speaks of what is not known: of a column by its name, of a row by an alias."""
    columns = {path.rpartition(".")[2] for path in paths}
    aliases = tuple(path.replace(".", "__") for path in paths)
    below = tuple(f"{alias}__" for alias in aliases)
    known = columns.union(aliases)
    return [
        computed.name
        for computed in entity.computed
        if any(word in known or word.startswith(below) for word in re.findall(r"\w+", computed.sql))
    ]


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
