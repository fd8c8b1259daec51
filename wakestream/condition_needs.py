"""Texts without which a condition cannot hold, so that most events need not be parsed to know that it does not.

`after.status == 'late' && after.delay > 15` is false for every event in whose JSON no `"late"` stands behind a
`"status":`. That is looked for in the event's bytes, and it is said only where nothing else could come of the condition
than false: no null on the way to the text's place, nothing that it reads is absent, and no value could be unreadable.
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

    fields: tuple[tuple[bytes, tuple[bytes, ...]], ...]
    """Names as they stand in front of a value, each with how a value begins with which there is no saying."""
    others: tuple[bytes, ...]
    """Names that must be there too, or there is no saying."""

    def is_missed(self, payload: bytes) -> bool:
        """Whether the condition is surely false for both images of an event from which nothing is missing."""
        for name, beginnings in self.fields:
            at = payload.find(name)
            if at < 0:
                return False
            while at >= 0:
                at += len(name)
                if payload.startswith(beginnings, at):
                    return False
                at = payload.find(name, at)
        return all(name in payload for name in self.others)


def of(tree: Tree, reading: Reading) -> tuple[Need, ...]:
    """What a condition needs, each of them; nothing where that cannot be told."""
    if not all(_is_sure(path, node) for path, node in reading.variables.items()):
        return ()
    clauses = [clause for clause in _clauses(tree) if clause.paths <= reading.variables.keys()]
    names = {part for path in reading.variables for part in path[1:]}
    return tuple(_need(clause, names) for clause in clauses)


def _need(clause: _Clause, names: set[str]) -> Need:
    leaves = {path[-1] for path in clause.paths}
    above = {part for path in clause.paths for part in path[:-1]} - leaves
    nulls = _beginnings(["null"])
    values = nulls + _beginnings([f'"{text}"' for text in sorted(clause.texts)])
    fields = [(_named(name), values) for name in sorted(leaves)] + [(_named(name), nulls) for name in sorted(above)]
    return Need(tuple(fields), tuple(_named(name) for name in sorted(names - leaves - above)))


def _named(name: str) -> bytes:
    return f'"{name}":'.encode()


def _beginnings(values: list[str]) -> tuple[bytes, ...]:
    """With and without the space that PostgreSQL puts in front of a value."""
    return tuple(f"{gap}{value}".encode() for value in values for gap in ("", " "))


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
