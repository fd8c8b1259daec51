"""Texts without which a condition cannot hold, so that most events need not be parsed to know that it does not.

`after.status == 'late' && after.delay > 15` is false for every event in whose JSON no `"late"` stands. That is looked
for in the event's bytes, and it is said only where nothing else could come of the condition than false: no null on the
way to the text's place, nothing that it reads is absent, and no value could be unreadable.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from wakestream.cel_tree import Call, Constant, Listing, Name, Select, Tree
from wakestream.condition_reading import Path, Reading
from wakestream.condition_scope import Node, Scalar

_PLAIN = re.compile(r"[ !#-\[\]-~]+")
"""What every encoder of JSON writes as it is."""
_SURE = frozenset({"bool", "int", "double", "json", "text"})
"""Kinds of values that can always be read; a timestamp may be one that Python has none for."""


@dataclass(frozen=True, slots=True)
class Need:
    """What must stand in an event's JSON."""

    texts: tuple[bytes, ...]
    """One of these."""
    nulls: tuple[bytes, ...]
    """Where one of these does, there is no saying."""

    def is_missed(self, payload: bytes) -> bool:
        """Whether it surely is not there."""
        return not any(text in payload for text in self.texts) and not any(null in payload for null in self.nulls)


@dataclass(frozen=True, slots=True)
class Needs:
    """What must all stand in an event's JSON."""

    each: tuple[Need, ...]
    names: tuple[bytes, ...]
    """Fields that must be there, or there is no saying."""

    def may_hold(self, payload: bytes) -> bool:
        """False where the condition is surely false for both images of an event from which nothing is missing."""
        if not any(need.is_missed(payload) for need in self.each):
            return True
        return any(name not in payload for name in self.names)


def of(tree: Tree, reading: Reading) -> Needs | None:
    """What a condition needs, if that can be told."""
    if not all(_is_sure(path, node) for path, node in reading.variables.items()):
        return None
    clauses = [clause for clause in _clauses(tree) if clause.paths <= reading.variables.keys()]
    names = {part for path in reading.variables for part in path[1:]}
    if not clauses:
        return None
    return Needs(tuple(map(_need, clauses)), tuple(sorted(f'"{name}":'.encode() for name in names)))


def _need(clause: _Clause) -> Need:
    parts = {part for path in clause.paths for part in path}
    return Need(
        tuple(sorted(f'"{text}"'.encode() for text in clause.texts)),
        tuple(sorted(f'"{part}":{gap}null'.encode() for part in parts for gap in ("", " "))),
    )


@dataclass(frozen=True, slots=True)
class _Clause:
    """One of the texts must be what one of the paths leads to."""

    texts: frozenset[str]
    paths: frozenset[Path]


def _clauses(tree: Tree) -> list[_Clause]:
    """What must all be so where the tree is true; nothing where that cannot be told."""
    match tree:
        case Call(function="_&&_", args=(left, right)):
            return _clauses(left) + _clauses(right)
        case Call(function="_||_", args=(left, right)):
            one, other = _clauses(left), _clauses(right)
            if not one or not other:
                return []
            return [_Clause(one[0].texts | other[0].texts, one[0].paths | other[0].paths)]
        case Call(function="_==_", args=(Constant(value=str(text)), operand) | (operand, Constant(value=str(text)))):
            return _clause(operand, [text])
        case Call(function="@in", args=(operand, Listing(elements=elements, map=False))):
            texts = [each.value for each in elements if isinstance(each, Constant) and isinstance(each.value, str)]
            return _clause(operand, texts) if texts and len(texts) == len(elements) else []
        case _:
            return []


def _clause(operand: Tree, texts: list[str]) -> list[_Clause]:
    path = _path(operand)
    if path is None or path[0] not in ("after", "before") or not all(_PLAIN.fullmatch(text) for text in texts):
        return []
    return [_Clause(frozenset(texts), frozenset({path}))]


def _path(tree: Tree) -> Path | None:
    match tree:
        case Name(name=name):
            return (name,)
        case Select(operand=operand, field=field, test_only=False):
            above = _path(operand)
            return None if above is None else (*above, field)
        case _:
            return None


def _is_sure(path: Path, node: Node) -> bool:
    """Whether a value can always be read, and its names be found as they are."""
    if path[0] not in ("after", "before"):
        return path[0] in ("op", "inserted", "updated", "deleted")
    return (
        isinstance(node, Scalar)
        and node.kind in _SURE
        and node.base != "money"
        and all(_PLAIN.fullmatch(part) for part in path)
    )
