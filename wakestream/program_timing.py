"""What a trigger waits for, type-checked: parts of its condition by name, what stays away, what comes together."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from wakestream import condition_scope
from wakestream.condition_scope import Scalar, Scope
from wakestream.conditions import Condition, Expression
from wakestream.config.document import KeyPath
from wakestream.config.models import Trigger
from wakestream.program_actions import TriggerScope

TOGETHER_ROOTS = condition_scope.CHANGE_ROOTS - {"now"}

_STRING_OR_NAME = re.compile(r'"(?:\\.|[^"\\])*"|\'(?:\\.|[^\'\\])*\'|(?<![\w.])[a-z_]\w*(?!\w)')


@dataclass(frozen=True, slots=True)
class CompiledTiming:
    """The parts of a trigger's timing that are expressions."""

    absent: Condition | None = None
    """What must not stay away."""
    together: Expression | None = None
    """By what events come together."""


def when(path: KeyPath, settings: Trigger, roots: frozenset[str], within: TriggerScope) -> Condition | None:
    """The trigger's condition with its named parts put in, or None with the problems noted."""
    named = {name: _part((*path, "conditions", name), name, text, settings, roots, within) for name, text in
             settings.conditions.items()}  # fmt: skip
    if not all(named.values()):
        return None
    where = f"fire: {settings.fire}"
    if not named:
        return within.problems.condition((*path, "when"), settings.when, within.scope, roots, where)
    # First as it is written, so that a problem has its place; then as it is evaluated.
    flags = {name: Scalar("bool") for name in settings.conditions}
    scope = Scope({**within.scope.roots, **flags})
    made = within.problems.condition((*path, "when"), settings.when, scope, roots | frozenset(flags), where)
    if made is None:
        return None
    for name in sorted(settings.conditions.keys() - {read.partition(".")[0] for read in made.reads}):
        within.problems.add((*path, "conditions", name), f"`{name}` is not used; write it in `when`, or remove it")
        return None
    text = expand(settings.when, settings.conditions)
    return within.problems.condition((*path, "when"), text, within.scope, roots, where)


def expand(text: str, named: Mapping[str, str]) -> str:
    """The text with each name replaced by what it stands for; inside of strings and after dots it is no name."""

    def put_in(match: re.Match[str]) -> str:
        found = match[0]
        return f"({named[found]})" if found in named else found

    return _STRING_OR_NAME.sub(put_in, text)


def _part(
    path: KeyPath, name: str, text: str, settings: Trigger, roots: frozenset[str], within: TriggerScope
) -> Condition | None:
    if name in within.scope.roots:
        within.problems.add(path, f"`{name}` means something already; give the condition another name")
        return None
    return within.problems.condition(path, text, within.scope, roots, f"fire: {settings.fire}")


def compile_timing(path: KeyPath, settings: Trigger, within: TriggerScope) -> CompiledTiming | None:
    """The timing in the trigger's scope, or None with its problems noted."""
    absent, together = None, None
    if settings.absent is not None:
        where = (*path, "absent", "event")
        roots = condition_scope.CHANGE_ROOTS
        absent = within.problems.condition(where, settings.absent.event, within.scope, roots, "absent")
        if absent is None or not within.sees(where, absent.reads):
            return None
    if settings.batch is not None:
        where = (*path, "batch", "by")
        together = within.expression(where, settings.batch.by, within.scope, TOGETHER_ROOTS, "batch")
        if together is None:
            return None
    return CompiledTiming(absent, together)
