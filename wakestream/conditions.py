"""Conditions and expressions in CEL: type-checked against a scope when loaded, evaluated over an event's images."""

from __future__ import annotations

import datetime
from collections.abc import Collection
from dataclasses import dataclass

from wakestream import (
    cel_engine,
    condition_names,
    condition_needs,
    condition_problems,
    condition_reading,
    condition_values,
)
from wakestream.cel_tree import Tree
from wakestream.condition_needs import Need
from wakestream.condition_problems import ConditionError
from wakestream.condition_reading import Found, Reading
from wakestream.condition_scope import Node, Scalar, Scope
from wakestream.condition_values import Images


@dataclass(frozen=True, slots=True)
class Matched:
    """The condition is true."""


@dataclass(frozen=True, slots=True)
class NotMatched:
    """The condition is false."""


@dataclass(frozen=True, slots=True)
class Null:
    """It could not be evaluated while something that it reads was null. No match; to be counted."""

    path: str


@dataclass(frozen=True, slots=True)
class Undecided:
    """It reads something that the event could not know. Suppressed, with this path as the reason."""

    path: str


@dataclass(frozen=True, slots=True)
class Failed:
    """It could not be evaluated and no null explains it. A dead letter."""

    message: str


@dataclass(frozen=True, slots=True)
class Given:
    """What an expression gives, as a JSON value; null included."""

    value: object


Outcome = Matched | NotMatched | Null | Undecided | Failed
Result = Given | Null | Undecided | Failed

_MATCHED = Matched()
_NOT_MATCHED = NotMatched()


class Condition:
    """A condition that type-checks. Make one with `compile_condition`."""

    def __init__(self, text: str, reading: Reading, needs: tuple[Need, ...] = ()) -> None:
        self.text = text
        self._needs = needs
        self._program = _Program(text, reading)
        self.reads = frozenset(self._program.values.names)
        """Dotted paths of all it reads: `after.status`, `after.alternatives`, `before`, `op`."""
        self.looked_at = self._program.values.looked_at
        """The same as steps, inside lists too: what its outcome rests on."""

    def may_hold(self, payload: bytes) -> bool:
        """False where it surely is false for both images of this event, from which nothing is missing."""
        for need in self._needs:  # noqa: SIM110 - once for every event; a generator would cost as much as the search
            if need.is_missed(payload):
                return False
        return True

    def evaluate(
        self, images: Images, *, missing: Collection[str] = (), now: datetime.datetime | None = None
    ) -> Outcome:
        """Evaluate over one event. Never raises on what the event holds, and never matches on an error.

        For `enter` and `leave` the caller evaluates twice, each image as `after`, with the paths of `missing`
        renamed accordingly. `now` is the event's time, with a zone.
        """
        if missing and (unknown := self._program.values.unknown(missing)):
            return Undecided(unknown)
        try:
            data = self._program.values.take(images, now)
        except condition_values.Absent as error:
            return Undecided(error.path)
        except condition_values.Unreadable as error:
            return Failed(str(error))
        try:
            result = self._program.run(data)
        except cel_engine.EvaluationError as error:
            return self._program.explain(str(error), data)
        if result is True:
            return _MATCHED
        if result is False:
            return _NOT_MATCHED
        return self._program.explain("the condition is neither true nor false", data)  # a boolean that is null


class Expression:
    """An expression that type-checks, of any type. Make one with `compile_expression`."""

    def __init__(self, text: str, reading: Reading) -> None:
        self.text = text
        self._program = _Program(text, reading)
        self.reads = frozenset(self._program.values.names)
        """Dotted paths of all it reads."""
        self.looked_at = self._program.values.looked_at
        """The same as steps, inside lists too."""

    @property
    def node(self) -> Node | None:
        """None: it is worked out, and no column says what it is."""
        return None

    @property
    def type(self) -> str | None:
        """The PostgreSQL base type of what it gives, where it is the path of a single column."""
        return self.node.base if isinstance(self.node, Scalar) and not self.node.array else None

    def evaluate(
        self, images: Images, *, missing: Collection[str] = (), now: datetime.datetime | None = None
    ) -> Result:
        """The value for one event."""
        if missing and (unknown := self._program.values.unknown(missing)):
            return Undecided(unknown)
        try:
            data = self._program.values.take(images, now)
        except condition_values.Unreadable as error:
            return Failed(str(error))
        try:
            return Given(condition_values.as_json(self._program.run(data)))
        except cel_engine.EvaluationError as error:
            return self._program.explain(str(error), data)


class PathExpression(Expression):
    """An expression that is one path: it gives the event's own JSON value, with every digit, at little cost."""

    def __init__(self, text: str, found: Found) -> None:
        self.text = text
        self._found = found
        self._unknowable = condition_values.Unknowable({found.path: found.node})
        self.reads = frozenset({".".join(found.path)})
        self.looked_at = frozenset({(*found.path, *found.steps)})

    @property
    def node(self) -> Node:
        """What the path leads to."""
        return self._found.node

    def evaluate(
        self, images: Images, *, missing: Collection[str] = (), now: datetime.datetime | None = None
    ) -> Result:
        """The value for one event; null below a null."""
        if missing and (unknown := self._unknowable.among(missing)):
            return Undecided(unknown)
        try:
            return Given(condition_values.follow(images, self._found, now))
        except condition_values.Unreadable as error:
            return Failed(str(error))


class _Program:
    """Runs one checked text. Timestamps refuse null: each pattern of nulls has its program, made when first met."""

    def __init__(self, text: str, reading: Reading) -> None:
        self.values = condition_values.Values(reading)
        self._text = text
        self._types = {name: condition_reading.type_of(node) for name, node in self.values.names.items()}
        self._json = [name for name, type_ in self._types.items() if "dyn" in type_]
        self._made: dict[tuple[bool, ...], cel_engine.Program] = {}
        self._usual = self._make((False,) * len(self.values.timestamps))

    def run(self, data: dict[str, object]) -> object:
        """The result, or `EvaluationError`."""
        program = self._usual
        if self.values.timestamps:
            nulls = tuple(data[name] is None for name in self.values.timestamps)
            program = self._made.get(nulls) or self._make(nulls)
        try:
            return program(data)
        except cel_engine.EvaluationError:
            if not self._json:
                raise
            # Numbers in JSON are handed over as they are; only now is it worth looking for those that are refused.
            return program(data | {name: condition_values.engine_json(data[name]) for name in self._json})

    def explain(self, message: str, data: dict[str, object]) -> Null | Failed:
        """What an error comes to."""
        path = self.values.null_among(data)
        return Null(path) if path else Failed(message)

    def _make(self, nulls: tuple[bool, ...]) -> cel_engine.Program:
        without_type = {name for name, null in zip(self.values.timestamps, nulls, strict=True) if null}
        types = {name: "dyn" if name in without_type else type_ for name, type_ in self._types.items()}
        self._made[nulls] = cel_engine.program(self._text, types)
        return self._made[nulls]


def compile_condition(text: str, scope: Scope, roots: Collection[str], *, where: str = "this condition") -> Condition:
    """Check a condition, which must give true or false; raises `ConditionError` with every problem and its place.

    `roots` are the names it may start from (`condition_scope.ENTER_LEAVE_ROOTS` …); `where` says for what, as in
    `fire: enter`.
    """
    tree = _parsed(text)
    reading = condition_names.read(tree, scope, roots, where, plain=False)
    result = _checked(text, tree, reading)
    if result != "BOOL":
        raise ConditionError(_not_true_or_false(text, tree, result))
    return Condition(text, reading, condition_needs.of(tree, reading))


def compile_expression(
    text: str, scope: Scope, roots: Collection[str], *, where: str = "this expression"
) -> Expression:
    """Check an expression of any type; raises `ConditionError` with every problem and its place."""
    tree = _parsed(text)
    reading = condition_names.read(tree, scope, roots, where, plain=True)
    if reading.plain:
        return PathExpression(text, reading.plain)
    _checked(text, tree, reading)
    return Expression(text, reading)


def _parsed(text: str) -> Tree:
    if not text.strip():
        raise ConditionError(condition_problems.problem_at(text, 0, "it is empty: write what must be true"))
    try:
        return cel_engine.plan(text)
    except cel_engine.EngineRefusal as refusal:
        raise ConditionError(condition_problems.syntax_problem(text, refusal)) from refusal


def _checked(text: str, tree: Tree, reading: Reading) -> str:
    """The type of the result."""
    if reading.problems:
        raise ConditionError(*condition_names.problems(text, reading))
    types = {".".join(path): condition_reading.type_of(node) for path, node in reading.variables.items()}
    try:
        return cel_engine.check(condition_reading.checked_text(text, reading), types | reading.aliases)
    except cel_engine.EngineRefusal as refusal:
        found = [(condition_reading.original_offset(reading, issue.offset), issue.message) for issue in refusal.issues]
        raise ConditionError(
            *(condition_problems.type_problem(text, tree, offset, message) for offset, message in found)
        ) from refusal


def _not_true_or_false(text: str, tree: Tree, result: str) -> condition_problems.ConditionProblem:
    path = condition_problems.spelling(tree)
    subject = path or "the condition"
    if result == "DYN" and path:
        right = f"{path} == true"
        message = f"{subject} is a JSON value, and a condition gives true or false: write {right}"
        return condition_problems.problem_at(text, 0, message, right)
    words = condition_problems.result_words(result)
    return condition_problems.problem_at(
        text, 0, f"{subject} is {words}, and a condition gives true or false: compare it"
    )
