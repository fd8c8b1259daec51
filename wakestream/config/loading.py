"""From a file to a `Config`: every problem at once, each with its place and the fix."""

from __future__ import annotations

import difflib
import os
import types
import typing
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel, SecretStr, ValidationError
from pydantic_core import ErrorDetails

from wakestream.config import document, references
from wakestream.config.document import Document, KeyPath
from wakestream.config.models import Config
from wakestream.errors import ConfigurationError


class Loaded:
    """A configuration together with the file it came from, so that later checks can name places."""

    def __init__(self, config: Config, source: Document, environment: Mapping[str, str] | None = None) -> None:
        self.config = config
        self.document = source
        self.environment = environment
        """Where variables came from; None for the process' own."""

    @property
    def directory(self) -> Path:
        """Where relative paths of the file start."""
        return self.document.path.resolve().parent


def load(path: Path | str, environment: Mapping[str, str] | None = None) -> Loaded:
    """Load and check a configuration as far as the file alone allows.

    Raises `ConfigurationError` with one line for each problem.
    """
    source = document.read(Path(path), os.environ if environment is None else environment)
    try:
        config = Config.model_validate(source.data)
    except ValidationError as error:
        details = _without_echoes(error.errors())
        raise ConfigurationError(*(_describe(source, detail) for detail in details)) from None
    problems = [f"{source.place(where)}: {text}" for where, text in references.problems(config)]
    if problems:
        raise ConfigurationError(*problems)
    return Loaded(config, source, environment)


def nearest(name: str, valid: Iterable[str]) -> str:
    """`; did you mean …?` for a name close to a valid one, else the valid ones, else nothing."""
    names = sorted(valid)
    close = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
    if close:
        return f"; did you mean `{close[0]}`?"
    return f"; there are: {', '.join(f'`{n}`' for n in names)}" if names and len(names) <= 20 else ""


def _without_echoes(details: list[ErrorDetails]) -> list[ErrorDetails]:
    """A misspelt key that was required is one problem, not two."""
    misspelt = {
        (*detail["loc"][:-1], close[0])
        for detail in details
        if detail["type"] == "extra_forbidden"
        and (
            close := difflib.get_close_matches(str(detail["loc"][-1]), _fields_at(detail["loc"][:-1]), n=1, cutoff=0.5)
        )
    }
    return [detail for detail in details if detail["type"] != "missing" or detail["loc"] not in misspelt]


def _describe(source: Document, detail: ErrorDetails) -> str:
    path = _path_in_file(source.data, detail["loc"])
    place = source.place(path)
    where = ".".join(str(part) for part in path) or "the file"
    kind = detail["type"]
    if kind == "extra_forbidden":
        valid = _fields_at(detail["loc"][:-1])
        return f"{place}: unknown key `{path[-1]}`{nearest(str(path[-1]), valid)}"
    if kind == "missing":
        return f"{place}: `{detail['loc'][-1]}` is missing in {where}"
    if kind == "union_tag_invalid":
        return f"{place}: {where}: `kind` must be one of {detail.get('ctx', {}).get('expected_tags')}"
    if kind == "union_tag_not_found":
        kinds = " or ".join(f"`{tag}`" for tag in _tags_at(detail["loc"]))
        return f"{place}: {where}: `kind` is missing; it is {kinds}"
    if kind == "string_pattern_mismatch":
        return f"{place}: the name `{detail['input']}` must be lower case letters, digits and `_`, letter first"
    message = detail["msg"].removeprefix("Value error, ")
    return f"{place}: {where}: {message[0].lower() + message[1:]}"


def _path_in_file(data: Any, loc: tuple[str | int, ...]) -> KeyPath:
    """The location without pydantic's own parts (a union's tag, `[key]`)."""
    path: list[str | int] = []
    node = data
    for part in loc:
        if isinstance(node, dict) and part in node:
            path.append(part)
            node = typing.cast("dict[Any, Any]", node)[part]
        elif isinstance(node, list) and isinstance(part, int) and part < len(typing.cast("list[Any]", node)):
            path.append(part)
            node = typing.cast("list[Any]", node)[part]
    return tuple(path)


def _fields_at(loc: tuple[str | int, ...]) -> list[str]:
    """The keys that the model at this location knows."""
    annotation: Any = Config
    for part in loc:
        annotation = _step(annotation, str(part))
    model = _model_in(annotation)
    if model is None:
        return []
    return [field.alias or name for name, field in model.model_fields.items()]


def _tags_at(loc: tuple[str | int, ...]) -> list[str]:
    """The kinds among which a section of this place is chosen."""
    annotation: Any = Config
    for part in loc:
        annotation = _step(annotation, str(part))
    sections = [getattr(each, "model_fields", {}) for each in _unions(annotation)]
    return [tag for fields in sections if "kind" in fields for tag in typing.get_args(fields["kind"].annotation)]


def _unions(annotation: Any) -> tuple[Any, ...]:
    """The members of a union, with or without annotations around it."""
    arguments = typing.get_args(annotation)
    return _unions(arguments[0]) if typing.get_origin(annotation) is typing.Annotated else arguments


def _step(annotation: Any, part: str) -> Any:
    model = _model_in(annotation)
    if model is not None:
        field = model.model_fields.get(part)
        return field.annotation if field else annotation
    arguments = typing.get_args(annotation)
    for argument in arguments:
        tag = getattr(argument, "model_fields", {}).get("kind")
        if tag is not None and part in typing.get_args(tag.annotation):
            return argument
    return arguments[-1] if arguments else annotation


def _model_in(annotation: Any) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    if typing.get_origin(annotation) in (types.UnionType, typing.Union):
        models = [m for m in map(_model_in, typing.get_args(annotation)) if m is not None]
        return models[0] if len(models) == 1 else None
    return None


def reveal(secret: SecretStr) -> str:
    """The clear text, for the one place that opens the connection."""
    return secret.get_secret_value()
