"""What is wrong with a condition, where, and what would be right: the engine's refusals in plain words."""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from wakestream import cel_engine, errors
from wakestream.cel_tree import Call, Constant, Listing, Loop, Name, Select, Tree

_PLAIN = re.compile(r"[A-Za-z_]\w*", re.ASCII)


@dataclass(frozen=True, slots=True)
class ConditionProblem:
    """One thing that is wrong, at a place inside the expression's text."""

    line: int
    """From 1, within the text."""
    column: int
    """From 1, in characters."""
    message: str
    """All of it, what to do included."""
    suggestion: str = ""
    """What to write instead, where that is known."""


class ConditionError(errors.ConfigurationError):
    """An expression that cannot be used; `found` has each problem with its place."""

    def __init__(self, *found: ConditionProblem) -> None:
        self.found = found
        super().__init__(*(f"{problem.line}:{problem.column}: {problem.message}" for problem in found))


def problem_at(text: str, offset: int, message: str, suggestion: str = "") -> ConditionProblem:
    """A problem at a character of the text."""
    before = text[:offset]
    return ConditionProblem(before.count("\n") + 1, offset - (before.rfind("\n") + 1) + 1, message, suggestion)


def nearest(name: str, known: Iterable[str]) -> str | None:
    """The name that was probably meant."""
    return next(iter(difflib.get_close_matches(name, list(known), n=1)), None)


def english(names: Iterable[str]) -> str:
    """`a, b and c`."""
    *most, last = names
    return f"{', '.join(most)} and {last}" if most else last


def written(name: str) -> str:
    """A column's name as a condition writes it."""
    return name if _PLAIN.fullmatch(name) and name not in ("in", "true", "false", "null") else f"`{name}`"


def spelling(tree: Tree) -> str | None:
    """A path or a literal as one writes it; None for anything larger."""
    match tree:
        case Name():
            return tree.name
        case Select(test_only=False):
            operand = spelling(tree.operand)
            return operand and f"{operand}.{written(tree.field)}"
        case Call(function="_[_]", args=(of, index)):
            return f"{spelling(of)}[{spelling(index)}]" if spelling(of) and spelling(index) else None
        case Constant(value=bytes()):
            return None
        case Constant():
            return json.dumps(tree.value, ensure_ascii=False)
        case _:
            return None


_WORDS = {
    "bool": "true or false",
    "int": "an integer",
    "uint": "an unsigned integer",
    "double": "a decimal number",
    "string": "text",
    "bytes": "bytes",
    "google.protobuf.Timestamp": "a timestamp",
    "google.protobuf.Duration": "a duration",
    "null_type": "null",
    "dyn": "a JSON value",
}
_RESULTS = {
    "BOOL": "bool",
    "INT": "int",
    "UINT": "uint",
    "DOUBLE": "double",
    "STRING": "string",
    "BYTES": "bytes",
    "TIMESTAMP": "google.protobuf.Timestamp",
    "DURATION": "google.protobuf.Duration",
    "NULL": "null_type",
    "DYN": "dyn",
}
_FUNCTIONS = (
    *("size", "contains", "startsWith", "endsWith", "matches", "timestamp", "duration", "int", "double", "string"),
    *("bool", "dyn", "type", "all", "exists", "exists_one", "filter", "map", "has", "getFullYear", "getMonth"),
    *("getDate", "getDayOfMonth", "getDayOfWeek", "getDayOfYear", "getHours", "getMinutes", "getSeconds"),
    "getMilliseconds",
)
_ARITHMETIC = {"_==_", "_!=_", "_<_", "_<=_", "_>_", "_>=_", "_+_", "_-_", "_*_", "_/_", "_%_"}
_FOREIGN = {"and": "&&", "or": "||", "not": "!", "is": "==", "=": "==", "<>": "!=", "AND": "&&", "OR": "||", "NOT": "!"}

_OVERLOAD = re.compile(r"found no matching overload for '(.+?)' applied to '(.*)'$")
_UNDECLARED = re.compile(r"undeclared reference to '(.+?)'")
_SELECT = re.compile(r"expression of type '(.+)' cannot be the operand of a select operation")
_RANGE = re.compile(r"expression of type '(.+)' cannot be the range of a comprehension")
_TOKEN = re.compile(r"(?:mismatched|extraneous) input '(.+?)' expecting|token recognition error at: '(.+)'$")


def _unwrapped(type_: str) -> str:
    return type_[8:-1] if type_.startswith("wrapper(") else type_


def _words(type_: str) -> str:
    type_ = _unwrapped(type_)
    if type_.startswith(("list(", "LIST")):
        return "a list"
    return _WORDS.get(type_, "a map" if type_.startswith(("map(", "MAP")) else type_)


def result_words(result: str) -> str:
    """A result's type, as `check` names it, in words."""
    return _words(_RESULTS.get(result, result))


def syntax_problem(text: str, refusal: cel_engine.EngineRefusal) -> ConditionProblem:
    """The first syntax error; those behind it are mostly its echo."""
    if "recursion" in str(refusal):
        return problem_at(text, 0, "nested deeper than 32 levels: split it, or use a list with `in`")
    issue = refusal.issues[0]
    what = issue.message.removeprefix("Syntax error: ")
    found = _TOKEN.search(what)
    token = (found[1] or found[2]).strip() if found else ""
    written = text[issue.offset :].split(maxsplit=1)[0] if text[issue.offset :].strip() else ""
    for foreign in (token, written):
        if foreign in _FOREIGN:
            right = _FOREIGN[foreign]
            return problem_at(text, issue.offset, f"syntax: write {right} instead of {foreign}", right)
    if "<EOF>" in what and not written:
        missing = re.search(r"missing '(.)'", what)
        lacks = f"{missing[1]} is missing" if missing else "something is missing"
        return problem_at(text, issue.offset, f"syntax: the expression ends too early, {lacks}")
    if token.startswith(("'", '"')):
        return problem_at(text, issue.offset, "syntax: the text that begins here does not end")
    if found:
        return problem_at(text, issue.offset, f"syntax: unexpected {token}")
    if word := re.search(r"no viable alternative at input '\.(\w+)'", what):
        return problem_at(
            text, issue.offset, f"syntax: {word[1]} is a word of the language: write `{word[1]}`", f"`{word[1]}`"
        )
    return problem_at(text, issue.offset, f"syntax: {what.split(' expecting {')[0]}")


def type_problem(text: str, tree: Tree, offset: int, message: str) -> ConditionProblem:
    """What the type check refuses at a character of the text."""
    if found := _OVERLOAD.match(message):
        return _overload(text, _calls(tree, found[1], offset), offset, found)
    if found := _UNDECLARED.match(message):
        return _undeclared(text, offset, found[1])
    if found := _SELECT.match(message):
        return problem_at(text, offset, f"{_words(found[1])} has no fields")
    if found := _RANGE.match(message):
        return problem_at(
            text, offset, f"{_words(found[1])} cannot be gone through; all, exists and the like take lists"
        )
    return problem_at(text, offset, message)


def _undeclared(text: str, offset: int, name: str) -> ConditionProblem:
    if name in _FUNCTIONS:
        return problem_at(text, offset, f"{name} does not take these arguments: see the reference of conditions")
    if near := nearest(name, _FUNCTIONS):
        return problem_at(text, offset, f"{name}: no such function; did you mean {near}?", near)
    return problem_at(text, offset, f"{name}: no such function; see the reference of conditions")


def _calls(tree: Tree, function: str, offset: int) -> Call | None:
    return next(
        (node for node in walk(tree) if isinstance(node, Call) and node.function == function and node.offset == offset),
        None,
    )


def walk(tree: Tree) -> Iterator[Tree]:
    """A tree and everything below it."""
    yield tree
    match tree:
        case Select():
            below: tuple[Tree, ...] = (tree.operand,)
        case Call():
            below = tree.args
        case Listing():
            below = tree.elements
        case Loop():
            below = (tree.over, tree.initial, tree.condition, tree.step, tree.result)
        case Constant() | Name():
            below = ()
    for child in below:
        yield from walk(child)


def _overload(text: str, call: Call | None, offset: int, found: re.Match[str]) -> ConditionProblem:
    function, types = found[1], _split(found[2])
    args: list[Tree | None] = [*call.args] if call and len(call.args) == len(types) else [None] * len(types)
    said = [
        f"{(arg and spelling(arg)) or _place(at)} is {_words(type_)}"
        for at, (arg, type_) in enumerate(zip(args, types, strict=True))
    ]
    if function in ("_&&_", "_||_", "!_", "_?_:_"):
        return problem_at(text, offset, _logic(function, said, types))
    if function == "@in":
        return problem_at(text, offset, f"{said[0]}, {said[1]}: `in` takes a list of the same type on its right")
    if function not in _ARITHMETIC or len(types) != 2:
        applied = english(_words(type_) for type_ in types)
        return problem_at(text, offset, f"{function.strip('_@')} cannot be applied to {applied}")
    advice, suggestion = _advice(args, [_unwrapped(type_) for type_ in types])
    return problem_at(text, offset, f"{said[0]}, {said[1]}: {advice}", suggestion)


def _place(at: int) -> str:
    return ("the left side", "the right side", "the third part")[min(at, 2)]


def _logic(function: str, said: list[str], types: list[str]) -> str:
    operator = {"_&&_": "&&", "_||_": "||", "!_": "!"}.get(function, "? :")
    if function == "_?_:_":
        if _unwrapped(types[0]) != "bool":
            return f"{said[0].replace('the left side', 'what stands before ?')}, but ? : needs true or false there"
        return "both results of ? : must be of one type"
    wrong = english(part for part, type_ in zip(said, types, strict=True) if _unwrapped(type_) != "bool")
    return f"{wrong}, but {operator} takes true or false: compare it with something"


def _split(types: str) -> list[str]:
    """`(a, list(b))` or a method's `a.(b)` as its parts."""
    target, _, rest = types.rpartition(".(") if not types.startswith("(") else ("", "", types[1:])
    parts, depth, start = [target] if target else [], 0, 0
    inner = rest.removesuffix(")")
    for at, character in enumerate(inner):
        depth += (character == "(") - (character == ")")
        if character == "," and depth == 0:
            parts.append(inner[start:at].strip())
            start = at + 1
    return [*parts, inner[start:].strip()] if inner else parts


def _advice(args: list[Tree | None], types: list[str]) -> tuple[str, str]:
    """What to write instead of a literal of the wrong type, or around a column of it."""
    for literal, wanted in ((1, types[0]), (0, types[1])):
        arg = args[literal]
        if isinstance(arg, Constant) and (right := _literal(arg.value, wanted)):
            verb = "write" if wanted in ("double", "int") and isinstance(arg.value, int | float) else "compare with"
            return f"{verb} {right}", right
    if set(types) == {"int", "double"} and (integer := args[types.index("int")]):
        right = f"double({spelling(integer) or '…'})"
        return f"write {right}", right
    if "null_type" in types:
        return "a value that was worked out is never null", ""
    return "both sides must be of one type", ""


def _literal(value: object, wanted: str) -> str | None:
    """A literal in the type that is wanted, if that is possible."""
    match wanted, value:
        case "int", str() if re.fullmatch(r"-?\d+", value):
            return value
        case "int", float() if value.is_integer():
            return str(int(value))
        case "double", str() if re.fullmatch(r"-?\d+(\.\d+)?", value):
            return value if "." in value else f"{value}.0"
        case "double", int() if not isinstance(value, bool):
            return f"{value}.0"
        case "string", bool() | int() | float():
            return json.dumps(json.dumps(value))
        case "bool", str() if value.lower() in ("true", "false"):
            return value.lower()
        case "bool", 0 | 1:
            return "true" if value else "false"
        case "google.protobuf.Timestamp", str():
            return f'timestamp("{value}")' if "T" in value else 'timestamp("2026-01-31T00:00:00Z")'
        case "google.protobuf.Duration", str() | int() | float():
            return 'duration("3h")'
        case _:
            return None
