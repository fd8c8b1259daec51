"""Instructions: Jinja templates in a sandbox, which see an event and the lookups, and nothing else."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator
from decimal import Decimal
from typing import Any, NamedTuple

import jinja2
from jinja2 import meta, nodes
from jinja2.sandbox import ImmutableSandboxedEnvironment

from wakestream import exact_json
from wakestream.config.loading import nearest

VARIABLES = frozenset({"event", "key", "before", "after", "changed", "handed", "lookups", "events", "again"})


class TemplateProblem(NamedTuple):
    """One thing that is wrong in a template, at a line of its file."""

    line: int
    message: str


class TemplateError(ValueError):
    """A template that cannot be used."""

    def __init__(self, *found: TemplateProblem) -> None:
        self.found = found
        super().__init__("; ".join(f"line {problem.line}: {problem.message}" for problem in found))


def compile_template(text: str, lookups: Collection[str]) -> jinja2.Template:
    """The template of an agent that may use these lookups; raises `TemplateError` with every problem."""
    environment = _environment()
    try:
        tree = environment.parse(text)
        template = environment.from_string(text)
    except jinja2.TemplateSyntaxError as error:
        raise TemplateError(TemplateProblem(error.lineno, error.message or "not a template")) from error
    problems = list(_problems(environment, tree, lookups))
    if problems:
        raise TemplateError(*problems)
    return template


def _environment() -> ImmutableSandboxedEnvironment:
    environment = ImmutableSandboxedEnvironment(
        undefined=jinja2.StrictUndefined,
        autoescape=False,  # noqa: S701 - it becomes a prompt, not HTML
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["tojson"] = _to_json  # Jinja's own writes HTML entities and refuses decimals
    environment.globals.clear()
    environment.globals["range"] = range
    return environment


def _to_json(value: Any, indent: int | None = None) -> str:
    if indent is None:
        return exact_json.dump(value)
    return json.dumps(value, indent=indent, default=_number, ensure_ascii=False)


def _number(value: object) -> object:
    if isinstance(value, Decimal):
        return float(value)
    raise TypeError(f"{type(value).__name__} is no JSON")


def _problems(
    environment: jinja2.Environment, tree: nodes.Template, lookups: Collection[str]
) -> Iterator[TemplateProblem]:
    unknown = meta.find_undeclared_variables(tree) - VARIABLES - set(environment.globals)
    for name in tree.find_all(nodes.Name):
        if name.name in unknown:
            unknown.discard(name.name)
            yield TemplateProblem(name.lineno, f"`{name.name}` is not available here{nearest(name.name, VARIABLES)}")
    for part in tree.find_all((nodes.Include, nodes.Import, nodes.FromImport, nodes.Extends)):
        yield TemplateProblem(part.lineno, "a template stands alone: write out what it would include")
    for attribute in tree.find_all(nodes.Getattr):
        if (
            isinstance(attribute.node, nodes.Name)
            and attribute.node.name == "lookups"
            and attribute.attr not in lookups
        ):
            known = nearest(attribute.attr, lookups) if lookups else ""
            message = f"`lookups.{attribute.attr}`: the agent has no such lookup{known or '; name it in its `lookups`'}"
            yield TemplateProblem(attribute.lineno, message)
