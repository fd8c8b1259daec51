"""The syntax tree of a CEL expression, out of the engine's protobuf bytes (`cel.expr.ParsedExpr`)."""

from __future__ import annotations

import struct
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Constant:
    """A literal; `null` is None."""

    offset: int
    value: bool | int | float | str | bytes | None


@dataclass(frozen=True, slots=True)
class Name:
    """A single name: a root or a loop variable. What a macro made begins with `@`."""

    offset: int
    name: str


@dataclass(frozen=True, slots=True)
class Select:
    """`operand.field`, or `has(operand.field)` where `test_only`."""

    offset: int
    operand: Tree
    field: str
    test_only: bool


@dataclass(frozen=True, slots=True)
class Call:
    """An operator, a function, or a method with its target as the first argument."""

    offset: int
    function: str
    args: tuple[Tree, ...]
    method: bool


@dataclass(frozen=True, slots=True)
class Listing:
    """`[a, b]`; also the keys and values of `{a: b}`."""

    offset: int
    elements: tuple[Tree, ...]
    map: bool


@dataclass(frozen=True, slots=True)
class Loop:
    """What `all`, `exists`, `exists_one`, `filter` and `map` expand to."""

    offset: int
    variable: str
    over: Tree
    accumulator: str
    initial: Tree
    condition: Tree
    step: Tree
    result: Tree


Tree = Constant | Name | Select | Call | Listing | Loop


class _Message:
    """The fields of one protobuf message, by number."""

    def __init__(self, data: bytes) -> None:
        self._fields: defaultdict[int, list[int | bytes]] = defaultdict(list)
        for number, value in _fields(data):
            self._fields[number].append(value)

    def __contains__(self, number: int) -> bool:
        return number in self._fields

    def integer(self, number: int) -> int:
        value = self._fields[number][-1] if number in self._fields else 0
        assert isinstance(value, int)  # noqa: S101 - a narrowing: the schema says varint here
        return value

    def raw(self, number: int) -> bytes:
        value = self._fields[number][-1] if number in self._fields else b""
        assert isinstance(value, bytes)  # noqa: S101 - a narrowing: the schema says bytes here
        return value

    def text(self, number: int) -> str:
        return self.raw(number).decode()

    def message(self, number: int) -> _Message:
        return _Message(self.raw(number))

    def messages(self, number: int) -> Iterator[_Message]:
        return (_Message(value) for value in self._fields.get(number, ()) if isinstance(value, bytes))


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
        shift += 7


def _fields(data: bytes) -> Iterator[tuple[int, int | bytes]]:
    at = 0
    while at < len(data):
        tag, at = _varint(data, at)
        wire = tag & 7
        if wire == 0:
            value, at = _varint(data, at)
            yield tag >> 3, value
            continue
        size, at = _varint(data, at) if wire == 2 else ({1: 8, 5: 4}[wire], at)
        yield tag >> 3, data[at : at + size]
        at += size


def _signed(value: int) -> int:
    return value - (1 << 64) if value >= 1 << 63 else value


_CONSTANTS: dict[int, Callable[[_Message], bool | int | float | str | bytes | None]] = {
    1: lambda _: None,
    2: lambda constant: bool(constant.integer(2)),
    3: lambda constant: _signed(constant.integer(3)),
    4: lambda constant: constant.integer(4),
    5: lambda constant: float(struct.unpack("<d", constant.raw(5))[0]),
    6: lambda constant: constant.text(6),
    7: lambda constant: constant.raw(7),
}


class _Reader:
    """Builds the tree; the numbers are those of `cel/expr/syntax.proto`."""

    def __init__(self, source_info: _Message) -> None:
        self._offsets = {entry.integer(1): entry.integer(2) for entry in source_info.messages(4)}
        self._shapes: dict[int, Callable[[int, _Message], Tree]] = {
            3: self._constant,
            4: lambda offset, part: Name(offset, part.text(1)),
            5: lambda offset, part: Select(offset, self.tree(part.message(1)), part.text(2), bool(part.integer(3))),
            6: self._call,
            7: lambda offset, part: Listing(offset, self._trees(part, 1), map=False),
            8: self._struct,
            9: self._loop,
        }

    def tree(self, expr: _Message) -> Tree:
        number = next(number for number in self._shapes if number in expr)
        return self._shapes[number](self._offsets.get(expr.integer(2), 0), expr.message(number))

    def _trees(self, part: _Message, number: int) -> tuple[Tree, ...]:
        return tuple(self.tree(expr) for expr in part.messages(number))

    @staticmethod
    def _constant(offset: int, part: _Message) -> Constant:
        return Constant(offset, next(read(part) for number, read in _CONSTANTS.items() if number in part))

    def _call(self, offset: int, part: _Message) -> Call:
        return Call(offset, part.text(2), self._trees(part, 1) + self._trees(part, 3), method=1 in part)

    def _struct(self, offset: int, part: _Message) -> Listing:
        entries = [tree for entry in part.messages(2) for tree in self._trees(entry, 3) + self._trees(entry, 4)]
        return Listing(offset, tuple(entries), map=True)

    def _loop(self, offset: int, part: _Message) -> Loop:
        over, initial, condition, step, result = (self.tree(part.message(number)) for number in (2, 4, 5, 6, 7))
        return Loop(offset, part.text(1), over, part.text(3), initial, condition, step, result)


def from_parsed(data: bytes) -> Tree:
    """The tree in an `Any` that holds a `ParsedExpr`; offsets count characters of the expression's text."""
    parsed = _Message(data).message(2)
    return _Reader(parsed.message(3)).tree(parsed.message(2))
