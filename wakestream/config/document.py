"""A YAML file whose every key and value knows its line and column, with `${VAR}` filled in."""

# ruamel.yaml's nodes carry no types.
# pyright: reportUnknownMemberType=false, reportUnknownArgumentType=false, reportUnknownVariableType=false
from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap, CommentedSeq
from ruamel.yaml.error import MarkedYAMLError

from wakestream.errors import ConfigurationError

_VARIABLE = re.compile(r"\$(\$)?\{([A-Za-z_][A-Za-z0-9_]*)(?::-([^}]*))?\}")

KeyPath = tuple[str | int, ...]


class Document:
    """A parsed file: plain data, and where each part of it stands."""

    def __init__(self, path: Path, data: dict[str, Any], places: dict[KeyPath, tuple[int, int]]) -> None:
        self.path = path
        self.data = data
        self._places = places

    def place(self, path: KeyPath) -> str:
        """`file:line:column` of the nearest part of the file that contains `path`, counted from one."""
        for length in range(len(path), -1, -1):
            place = self._places.get(path[:length])
            if place is not None:
                return f"{self.path}:{place[0] + 1}:{place[1] + 1}"
        return f"{self.path}:1:1"

    def value_place(self, path: KeyPath, *, line: int = 1, column: int = 1) -> str:
        """The place of a point inside a scalar's text, given by its line and column there."""
        place = self._places.get((*path, "="))
        if place is None or line > 1:
            return self.place(path)
        return f"{self.path}:{place[0] + 1}:{place[1] + column}"


def read(path: Path, environment: Mapping[str, str]) -> Document:
    """Read a YAML file and fill in its variables.

    Raises `ConfigurationError` for a file that is missing, no YAML, or names a variable that is not set.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise ConfigurationError(f"{path}: no such file; name the configuration with -c FILE") from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"{path}: cannot be read: {error}") from error
    try:
        yaml = YAML(typ="rt")
        yaml.preserve_quotes = True  # a quoted text starts one column later
        tree = yaml.load(text)
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f"{path}:{mark.line + 1}:{mark.column + 1}" if mark else str(path)
        raise ConfigurationError(f"{where}: not YAML: {error.problem or error.context}") from error
    if not isinstance(tree, CommentedMap):
        raise ConfigurationError(f"{path}:1:1: the file must be a mapping with `kafka`, `connect` …")
    reader = _Reader(path, environment)
    data = reader.convert(tree, ())
    if reader.problems:
        raise ConfigurationError(*reader.problems)
    return Document(path, data, reader.places)


class _Reader:
    def __init__(self, path: Path, environment: Mapping[str, str]) -> None:
        self.path = path
        self.environment = environment
        self.places: dict[KeyPath, tuple[int, int]] = {(): (0, 0)}
        self.problems: list[str] = []

    def convert(self, node: Any, path: KeyPath) -> Any:
        if isinstance(node, CommentedMap):
            return {str(key): self._item(node, key, (*path, str(key))) for key in node}
        if isinstance(node, CommentedSeq):
            return [self._element(node, index, (*path, index)) for index in range(len(node))]
        if isinstance(node, str):
            return self._fill(str(node), path)
        return node

    def _item(self, node: CommentedMap, key: Any, path: KeyPath) -> Any:
        line, column, value_line, value_column = node.lc.data[key]
        self.places[path] = (line, column)
        value = node[key]
        quoted = isinstance(value, str) and type(value).__name__ != "str" and "Quoted" in type(value).__name__
        self.places[(*path, "=")] = (value_line, value_column + int(quoted))
        return self.convert(value, path)

    def _element(self, node: CommentedSeq, index: int, path: KeyPath) -> Any:
        self.places[path] = tuple(node.lc.data[index][:2])
        return self.convert(node[index], path)

    def _fill(self, text: str, path: KeyPath) -> str:
        def replace(match: re.Match[str]) -> str:
            escaped, name, default = match.groups()
            if escaped:
                return match[0][1:]
            value = self.environment.get(name)
            if value:
                return value
            if default is not None:
                return default
            line, column = self.places.get(path, (0, 0))
            self.problems.append(
                f"{self.path}:{line + 1}:{column + 1}: the variable {name} is not set; "
                f"export {name}=… or write ${{{name}:-default}}"
            )
            return ""

        return _VARIABLE.sub(replace, text)
