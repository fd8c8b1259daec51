"""The one place that knows the CEL engine: `plan` reads a text, `check` types it, `program` makes it ready to run."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from cel_expr_python import cel

from wakestream import cel_tree

Types = Mapping[str, str]
"""Variables and their types: `bool`, `int`, `double`, `text`, `timestamp`, `dyn`, and `list<…>` of these."""
Program = Callable[[dict[str, object]], object]
"""Takes the variables' values and gives the result; raises `EvaluationError`."""

_ISSUE = re.compile(
    r"^(?:INVALID_ARGUMENT: )?ERROR: <input>:(\d+):(\d+): (.*?)(?: \[INVALID_ARGUMENT\])?$", re.MULTILINE
)
_CODE = re.compile(r"^[A-Z_]+: ")

# Wrapper types compare with null while they are checked, and refuse a null when run: hence DYN there.
_CHECKED = {
    "bool": cel.Type("google.protobuf.BoolValue"),
    "int": cel.Type("google.protobuf.Int64Value"),
    "double": cel.Type("google.protobuf.DoubleValue"),
    "text": cel.Type("google.protobuf.StringValue"),
    "timestamp": cel.Type.TIMESTAMP,
    "dyn": cel.Type.DYN,
}


@dataclass(frozen=True, slots=True)
class Issue:
    """Something the engine refuses, in its own words."""

    offset: int
    message: str


class EngineRefusal(Exception):
    """The text is not an expression, or its types do not fit."""

    def __init__(self, *issues: Issue) -> None:
        self.issues = issues
        super().__init__("\n".join(issue.message for issue in issues))


class EvaluationError(Exception):
    """An evaluation ended in an error, as on a null under `>` or a division by zero."""


def plan(text: str) -> cel_tree.Tree:
    """The syntax tree of a text, from which what it reads can be told."""
    return cel_tree.from_parsed(_compile(text, {}, unchecked=True).serialize())


def check(text: str, types: Types) -> str:
    """Type-check a text and return its result's type, as in `BOOL`, `DYN` or `LIST<STRING>`."""
    return _compile(text, {name: _checked(type_) for name, type_ in types.items()}).return_type().name()


def program(text: str, types: Types) -> Program:
    """Make a checked text ready to run. Only timestamps keep their type, and take no null."""
    variables = {name: cel.Type.TIMESTAMP if type_ == "timestamp" else cel.Type.DYN for name, type_ in types.items()}
    evaluate = _compile(text, variables).eval

    def run(values: dict[str, object]) -> object:
        value = evaluate(data=values)
        result = value.plain_value()
        # An error is a value of its own type that holds a string, which Python takes for true.
        if isinstance(result, str) and value.type() == cel.Type.ERROR:
            raise EvaluationError(_CODE.sub("", result))
        return result

    return run


def _checked(type_: str) -> cel.Type:
    if type_.startswith("list<"):
        return cel.Type.List(_CHECKED[type_[5:-1]])
    return _CHECKED[type_]


def _compile(text: str, variables: Mapping[str, cel.Type], *, unchecked: bool = False) -> cel.Expression:
    try:
        return cel.NewEnv(variables=variables).compile(text, unchecked)
    except RuntimeError as refusal:  # the engine knows no other exception
        raise EngineRefusal(*_issues(text, str(refusal))) from refusal


def _issues(text: str, refusal: str) -> list[Issue]:
    found = [Issue(_offset(text, int(line), int(column)), what) for line, column, what in _ISSUE.findall(refusal)]
    return found or [Issue(0, refusal)]


def _offset(text: str, line: int, column: int) -> int:
    lines = text.split("\n")
    if line > len(lines):  # the engine's way to say that it knows no place
        return 0
    return sum(len(before) + 1 for before in lines[: line - 1]) + max(column - 1, 0)
