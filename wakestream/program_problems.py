"""Collects what is wrong in a configuration, so that all of it is said at once."""

from __future__ import annotations

from collections.abc import Collection

from wakestream import conditions
from wakestream.condition_problems import ConditionError
from wakestream.condition_scope import Scope
from wakestream.conditions import Condition, Expression
from wakestream.config import Loaded
from wakestream.config.document import KeyPath
from wakestream.errors import ConfigurationError


class Problems:
    """The problems found so far, each once, in the order of finding."""

    def __init__(self, loaded: Loaded) -> None:
        self._document = loaded.document
        self._lines: dict[str, None] = {}

    def add(self, path: KeyPath, message: str) -> None:
        """One at a key of the file."""
        self.add_line(f"{self._document.place(path)}: {message}")

    def add_in(self, path: KeyPath, line: int, column: int, message: str) -> None:
        """One inside the text of a value."""
        self.add_line(f"{self._document.value_place(path, line=line, column=column)}: {message}")

    def add_line(self, line: str) -> None:
        """One with its place already before it."""
        self._lines[line] = None

    def condition(self, path: KeyPath, text: str, scope: Scope, roots: Collection[str], where: str) -> Condition | None:
        """The compiled condition, or None with its problems noted."""
        try:
            return conditions.compile_condition(text, scope, roots, where=where)
        except ConditionError as error:
            self._note(path, error)
            return None

    def expression(
        self, path: KeyPath, text: str, scope: Scope, roots: Collection[str], where: str
    ) -> Expression | None:
        """The compiled expression, or None with its problems noted."""
        try:
            return conditions.compile_expression(text, scope, roots, where=where)
        except ConditionError as error:
            self._note(path, error)
            return None

    @property
    def lines(self) -> list[str]:
        """All of them, in the order of finding."""
        return list(self._lines)

    def include(self, other: Problems) -> None:
        """Those of another collection, too."""
        self._lines |= other._lines

    def raise_any(self) -> None:
        """Raise `ConfigurationError` with everything that was noted."""
        if self._lines:
            raise ConfigurationError(*self._lines)

    def _note(self, path: KeyPath, error: ConditionError) -> None:
        for problem in error.found:
            self.add_in(path, problem.line, problem.column, problem.message)
