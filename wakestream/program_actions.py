"""Actions and lookups, type-checked in the scope of the trigger that leads to them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import jsonschema_rs

from wakestream import condition_scope, program_sql, program_url
from wakestream.condition_scope import Document, ListOf, Node, Scalar, Scope
from wakestream.conditions import Condition, Expression, PathExpression
from wakestream.config.actions import BEFORE, Action, ActionSection, KafkaAction, SqlAction
from wakestream.config.document import KeyPath
from wakestream.config.loading import nearest
from wakestream.config.lookups import HttpLookup, Lookup, McpLookup, SqlLookup
from wakestream.program_problems import Problems

CHOICE_ROOTS = condition_scope.ACTION_ROOTS - {"bound", "chosen"}
FENCE_ROOTS = frozenset({"after"})
LOOKUP_ROOTS = frozenset({"after", "before", "key", "cause", "event", "run"})
CHECK_ROOTS = LOOKUP_ROOTS | {"action", "bound", "chosen"}


@dataclass(frozen=True, slots=True)
class CompiledChoice:
    """A list of what exists, of which the model picks one by its key."""

    source: Expression
    key: str


@dataclass(frozen=True, slots=True)
class CompiledAction:
    """An action as one trigger leads to it."""

    name: str
    settings: Action
    choose: dict[str, CompiledChoice]
    bind: dict[str, Expression]
    """In the order in which they are worked out: each may read those before it."""
    approval: Condition | Literal["always", "never"]
    arrays: frozenset[str] = frozenset()
    """Bound names whose column is an array, which SQL spells otherwise than JSON."""
    key: Expression | None = None
    """Of kind `kafka`: the record's key."""
    check: CompiledLookup | None = None
    """Tells whether it took effect."""
    fence: tuple[Expression, ...] = ()
    """What its decision rests on besides the condition, `bind`, `choose` and `approval`."""


@dataclass(frozen=True, slots=True)
class CompiledLookup:
    """A lookup as one trigger leads to it."""

    name: str
    settings: Lookup
    bind: dict[str, Expression]
    arrays: frozenset[str] = frozenset()


@dataclass(slots=True)
class TriggerScope:
    """In what an agent's actions and lookups are compiled for one trigger."""

    scope: Scope
    problems: Problems
    blind: str = ""
    """Why the previous image is not known here; empty if it is."""
    lookups: Mapping[str, Lookup] = field(default_factory=dict[str, Lookup])
    """Of the file, for checks."""

    def expression(
        self, path: KeyPath, text: str, scope: Scope, roots: frozenset[str], where: str
    ) -> Expression | None:
        """A compiled expression that reads nothing that cannot be known here."""
        made = self.problems.expression(path, text, scope, roots, where)
        return made if made is not None and self.sees(path, made.reads) else None

    def sees(self, path: KeyPath, reads: Iterable[str]) -> bool:
        """Whether everything read is known here; notes it where not."""
        hidden = [name for name in reads if name.partition(".")[0] in ("before", "changed")]
        if not self.blind or not hidden:
            return True
        self.problems.add(path, f"{sorted(hidden)[0]} is never known here: {self.blind}")
        return False


def check_action(name: str, settings: Action, problems: Problems) -> None:
    """What can be said of an action without a trigger: its placeholders and its parameters."""
    path: KeyPath = ("actions", name)
    _check_schemas(path, settings.parameters, problems)
    if isinstance(settings, SqlAction):
        given = {**dict.fromkeys(settings.bind, "bind"), **dict.fromkeys(settings.choose, "choose")}
        given |= dict.fromkeys(settings.parameters, "parameters")
        check_placeholders((*path, "statement"), settings.statement, given, path, problems)
        if settings.undo is not None:
            _check_undo((*path, "undo"), settings.undo, given, problems)


def _check_undo(path: KeyPath, statement: str, given: Mapping[str, str], problems: Problems) -> None:
    """It may use what the statement is given, and what columns were; it need not use any of it."""
    for name, offset in program_sql.placeholders(statement).items():
        if name not in given and not name.startswith(BEFORE):
            line, column = program_sql.place_in(statement, offset)
            right = f"`:{BEFORE}COLUMN` for what a column was"
            problems.add_in(path, line, column, f"`:{name}` is given no value{nearest(name, given)}; {right}")


def check_lookup(name: str, settings: Lookup, problems: Problems) -> None:
    """What can be said of a lookup without a trigger: its placeholders and its parameters."""
    path: KeyPath = ("lookups", name)
    _check_schemas(path, settings.parameters, problems)
    given = {**dict.fromkeys(settings.bind, "bind"), **dict.fromkeys(settings.parameters, "parameters")}
    match settings:
        case SqlLookup():
            check_placeholders((*path, "sql"), settings.sql, given, path, problems)
        case HttpLookup():
            found = program_url.placeholders(settings.url)
            check_placeholders((*path, "url"), settings.url, given, path, problems, found=found, form="{{{}}}")
        case McpLookup():
            pass  # whatever it is given is an argument of the tool


def _check_schemas(path: KeyPath, parameters: Mapping[str, dict[str, Any]], problems: Problems) -> None:
    for parameter, schema in parameters.items():
        try:
            jsonschema_rs.validator_for(schema)
        except (jsonschema_rs.ValidationError, jsonschema_rs.ReferencingError, ValueError) as error:
            reason = str(error).partition("\n")[0]
            problems.add((*path, "parameters", parameter), f"`{parameter}` is not a JSON Schema: {reason}")


def check_placeholders(  # noqa: PLR0913
    path: KeyPath,
    statement: str,
    given: dict[str, str],
    owner: KeyPath,
    problems: Problems,
    *,
    found: dict[str, int] | None = None,
    form: str = ":{}",
) -> None:
    """Every `:name` of the statement is given a value, and every value has its `:name`."""
    place = "statement" if found is None else str(path[-1])
    found = program_sql.placeholders(statement) if found is None else found
    unknown = {name: offset for name, offset in found.items() if name not in given}
    for name, offset in unknown.items():
        line, column = program_sql.place_in(statement, offset)
        known = nearest(name, given) if given else "; add it to `bind`"
        problems.add_in(path, line, column, f"`{form.format(name)}` is given no value{known}")
    if unknown:  # one misspelt name is not worth two complaints
        return
    for name, part in given.items():
        if name not in found:
            problems.add(
                (*owner, part, name),
                f"`{name}` is not used; remove it, or write `{form.format(name)}` in the {place}",
            )


def compile_action(name: str, settings: Action, within: TriggerScope) -> CompiledAction | None:
    """An action in a trigger's scope, or None with its problems noted."""
    path: KeyPath = ("actions", name)
    choose = {choice: _choice(path, choice, settings, within) for choice in settings.choose}
    chosen = {choice: made[1] for choice, made in choose.items() if made}
    if len(chosen) < len(settings.choose):  # what reads a choice that is wrong itself would only echo it
        return None
    bind: dict[str, Expression] = {}
    bound: dict[str, Node] = {}
    roots = _roots(settings)
    for argument, text in settings.bind.items():
        scope = condition_scope.action_scope(within.scope, bound=bound, chosen=chosen)
        made = within.expression((*path, "bind", argument), text, scope, roots, "bind")
        bound[argument] = (made and made.node) or Scalar("jsonb")
        if made is not None:
            bind[argument] = made
    scope = condition_scope.action_scope(within.scope, bound=bound, chosen=chosen)
    approval = _approval(path, settings, scope, within)
    wanted = settings.key if isinstance(settings, KafkaAction) else None
    key = within.expression((*path, "key"), wanted, scope, roots, "key") if wanted else None
    fence = _fence(path, settings, within)
    if len(fence) < len(settings.fenced):
        return None
    if approval is None or len(bind) < len(settings.bind) or (wanted and key is None):
        return None
    check = _check(settings, within, scope)
    if settings.check is not None and check is None:
        return None
    choices = {choice: made[0] for choice, made in choose.items() if made}
    return CompiledAction(name, settings, choices, bind, approval, _arrays(bind), key, check, fence)


def compile_lookup(name: str, settings: Lookup, within: TriggerScope) -> CompiledLookup | None:
    """A lookup in a trigger's scope, or None with its problems noted."""
    scope = condition_scope.action_scope(within.scope, bound={}, chosen={})
    return _lookup(name, settings, within, scope, LOOKUP_ROOTS)


def _check(settings: Action, within: TriggerScope, scope: Scope) -> CompiledLookup | None:
    """An action's check, which may read what the action is about, too."""
    if settings.check is None:
        return None
    return _lookup(settings.check, within.lookups[settings.check], within, scope, CHECK_ROOTS)


def _lookup(
    name: str, settings: Lookup, within: TriggerScope, scope: Scope, roots: frozenset[str]
) -> CompiledLookup | None:
    path: KeyPath = ("lookups", name)
    bind: dict[str, Expression] = {}
    for argument, text in settings.bind.items():
        made = within.expression((*path, "bind", argument), text, scope, roots, "a lookup's bind")
        if made is not None:
            bind[argument] = made
    return CompiledLookup(name, settings, bind, _arrays(bind)) if len(bind) == len(settings.bind) else None


def _roots(settings: ActionSection) -> frozenset[str]:
    return condition_scope.TRUSTING_ACTION_ROOTS if settings.trust_model_arguments else condition_scope.ACTION_ROOTS


def _arrays(bind: dict[str, Expression]) -> frozenset[str]:
    return frozenset(name for name, each in bind.items() if isinstance(each.node, Scalar) and each.node.array)


def _choice(
    path: KeyPath, name: str, settings: ActionSection, within: TriggerScope
) -> tuple[CompiledChoice, Document] | None:
    choice = settings.choose[name]
    where = (*path, "choose", name, "from")
    scope = condition_scope.action_scope(within.scope, bound={}, chosen={})
    source = within.expression(where, choice.from_, scope, CHOICE_ROOTS, "choose")
    if source is None:
        return None
    if not isinstance(source.node, ListOf):
        message = f"{choice.from_} is not a list of rows: name a member with `many: true`, as in after.alternatives"
        within.problems.add_in(where, 1, 1, message)
        return None
    element = source.node.element
    key = element.fields.get(choice.key)
    if isinstance(key, Scalar) and not key.array:
        return CompiledChoice(source, choice.key), element
    within.problems.add((*path, "choose", name, "key"), _bad_key(choice.from_, choice.key, element))
    return None


def _bad_key(source: str, key: str, element: Document) -> str:
    if key in element.withheld:
        return f"`{key}` is excluded or masked in {element.label}, so it cannot be the key of a choice"
    if key in element.fields:
        return f"`{key}` is not a single value: choose by a column that identifies an element of {source}"
    return f"the elements of {source} have no column `{key}`{nearest(key, element.fields)}"


def _fence(path: KeyPath, settings: ActionSection, within: TriggerScope) -> tuple[Expression, ...]:
    """The further paths of `fence`; what is no path of the document is a problem."""
    found: list[Expression] = []
    for number, text in enumerate(settings.fenced):
        where = (*path, "fence", number)
        made = within.expression(where, text, within.scope, FENCE_ROOTS, "fence")
        if made is None:
            continue
        if isinstance(made, PathExpression):
            found.append(made)
        else:
            message = f"{text} is worked out: name a column, as in after.status, or a row, as in after.flight"
            within.problems.add_in(where, 1, 1, message)
    return tuple(found)


def _approval(
    path: KeyPath, settings: ActionSection, scope: Scope, within: TriggerScope
) -> Condition | Literal["always", "never"] | None:
    match settings.approval:
        case "always" | "never":
            return settings.approval
        case text:
            where = (*path, "approval")
            made = within.problems.condition(where, text, scope, _roots(settings), "approval")
            return made if made is not None and within.sees(where, made.reads) else None
