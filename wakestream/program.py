"""The configuration made ready to run against a catalogue: every name resolved, every expression type-checked."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field

import jinja2
import msgspec

from wakestream import condition_scope, program_actions, program_scopes, program_template, program_timing
from wakestream.capture import CapturedTable, Entity, Revision
from wakestream.condition_scope import Scope
from wakestream.conditions import Condition
from wakestream.config import Config, Loaded, handing
from wakestream.config.document import KeyPath
from wakestream.config.models import Agent, Model, Trigger
from wakestream.config.timing import Breaker
from wakestream.program_actions import CompiledAction, CompiledLookup, TriggerScope
from wakestream.program_budgets import CompiledBudget, compile_budgets
from wakestream.program_fences import FencePlan, Rows
from wakestream.program_problems import Problems
from wakestream.program_timing import CompiledTiming

PARTS = frozenset({"triggers", "lookups", "agents", "actions", "models", "entities", "limits"})
"""What of the file a run depends on."""


@dataclass(frozen=True, slots=True)
class CompiledAgent:
    """An agent as one trigger wakes it."""

    name: str
    settings: Agent
    model: Model
    instructions: jinja2.Template
    lookups: dict[str, CompiledLookup]
    actions: dict[str, CompiledAction]
    ask: dict[str, CompiledLookup] = field(default_factory=dict[str, CompiledLookup])
    """Lookups that the model may ask itself."""


@dataclass(frozen=True, slots=True)
class CompiledTrigger:
    """A trigger ready to be evaluated."""

    name: str
    settings: Trigger
    source: str
    """The configured name of the source."""
    subject: str
    """What events it sees: `public.flight`, or an entity's name."""
    condition: Condition
    reads: frozenset[str]
    """Paths within the image that the condition reads: `status`, `flight.status`."""
    agents: dict[str, CompiledAgent]
    """Its own and those that may be handed over to, by name, each as this trigger wakes it."""
    timing: CompiledTiming = CompiledTiming()
    breaker: Breaker | None = None
    tables: frozenset[str] = frozenset()
    """The tables whose rows are in what it watches; a gap in one of them leaves its waits undecided."""
    root: str = ""
    """The table whose rows it watches, itself or as an entity's root."""
    budgets: tuple[CompiledBudget, ...] = ()
    """Its own and its agent's."""
    fences: dict[str, FencePlan] = field(default_factory=dict[str, FencePlan])
    """What the decision for each action rests on."""

    @property
    def agent(self) -> CompiledAgent:
        """The one that it wakes."""
        return self.agents[self.settings.agent]


@dataclass(frozen=True, slots=True)
class Program:
    """All triggers with the agents, lookups and actions they lead to."""

    config: Config
    triggers: dict[str, CompiledTrigger]
    untrusted: dict[str, frozenset[str]]
    """Per source, the columns whose text comes from outside."""
    digest: str
    """Changes when anything does that a run depends on."""
    held: dict[str, str] = field(default_factory=dict[str, str])
    """Triggers that the revisions do not allow, with the first reason."""
    prompts: dict[str, str] = field(default_factory=dict[str, str])
    """The agents' instructions, as text."""
    revisions: dict[str, int] = field(default_factory=dict[str, int])
    """By source, the one it was compiled against."""


@dataclass(frozen=True, slots=True)
class _Subject:
    """What a trigger watches, resolved."""

    source: str
    name: str
    scope: Scope
    blind: str
    root: str
    tables: frozenset[str]
    rows: Rows


def compile_program(
    loaded: Loaded,
    revisions: Mapping[str, Revision],
    *,
    hold: bool = False,
    texts: Mapping[str, str] | None = None,
) -> Program:
    """Compile everything that triggers lead to, against the newest revision of each source.

    With `hold` a trigger that does not compile is held with the reason, and the others go on. `texts` are the agents'
    instructions where they are not to be read from their files.
    Raises `ConfigurationError` with every problem, each with its place and the fix.
    """
    config, problems = loaded.config, Problems(loaded)
    for name, action in config.actions.items():
        program_actions.check_action(name, action, problems)
    for name, lookup in config.lookups.items():
        program_actions.check_lookup(name, lookup, problems)
    read = texts or {name: _read_template(loaded, name, problems) for name in config.agents}
    prompts = {name: text for name, text in read.items() if text is not None}
    templates = {name: _template(loaded, name, text, problems) for name, text in prompts.items()}
    triggers: dict[str, CompiledTrigger | None] = {}
    held: dict[str, str] = {}
    for name in config.triggers:
        own = Problems(loaded)
        triggers[name] = _trigger(name, config, templates, revisions, own)
        if hold and own.lines:
            triggers[name], held[name] = None, own.lines[0]
        else:
            problems.include(own)
    problems.raise_any()
    return Program(
        config=config,
        triggers={name: trigger for name, trigger in triggers.items() if trigger},
        untrusted={source: _untrusted(revision) for source, revision in revisions.items()},
        digest=_digest(config, prompts, revisions),
        held=held,
        prompts=prompts,
        revisions={source: revision.id for source, revision in revisions.items()},
    )


def _read_template(loaded: Loaded, agent: str, problems: Problems) -> str | None:
    path = loaded.directory / loaded.config.agents[agent].instructions
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        problems.add(("agents", agent, "instructions"), f"no such file: {path}")
    except (OSError, UnicodeDecodeError) as error:
        problems.add(("agents", agent, "instructions"), f"{path} cannot be read: {error}")
    return None


def _template(loaded: Loaded, agent: str, text: str, problems: Problems) -> jinja2.Template | None:
    settings = loaded.config.agents[agent]
    try:
        return program_template.compile_template(text, settings.lookups)
    except program_template.TemplateError as error:
        for problem in error.found:
            problems.add_line(f"{loaded.directory / settings.instructions}:{problem.line}:1: {problem.message}")
        return None


def _trigger(
    name: str,
    config: Config,
    templates: Mapping[str, jinja2.Template | None],
    revisions: Mapping[str, Revision],
    problems: Problems,
) -> CompiledTrigger | None:
    settings = config.triggers[name]
    path: KeyPath = ("triggers", name)
    subject = _subject(name, config, revisions, problems)
    if subject is None:
        return None
    within = TriggerScope(subject.scope, problems, subject.blind, config.lookups)
    if subject.blind and settings.fire != "change":
        problems.add((*path, "fire"), f"fire: {settings.fire} needs the previous row, and {subject.blind}")
        within.blind = ""
    roots = condition_scope.CHANGE_ROOTS if settings.fire == "change" else condition_scope.ENTER_LEAVE_ROOTS
    condition = program_timing.when(path, settings, roots, within)
    timing = program_timing.compile_timing(path, settings, within)
    if settings.batch is not None:
        within.scope = condition_scope.together_scope(within.scope)
    names = handing.reachable(config, settings.agent)
    made = {each: _agent(each, config, templates, within) for each in names}
    agents = {each: agent for each, agent in made.items() if agent is not None}
    if condition is None or timing is None or len(agents) < len(made):
        return None
    if not within.sees((*path, "when"), condition.reads):
        return None
    reads = frozenset(read.partition(".")[2] for read in condition.reads if read.partition(".")[0] == "after")
    fences = {
        each: _fence(subject.rows, condition, action)
        for agent in agents.values()
        for each, action in agent.actions.items()
    }
    return CompiledTrigger(
        *(name, settings, subject.source, subject.name, condition, reads, agents, timing),
        breaker=_breaker(settings, config),
        tables=subject.tables,
        root=subject.root,
        budgets=compile_budgets(config, name, within),
        fences=fences,
    )


def _breaker(settings: Trigger, config: Config) -> Breaker | None:
    chosen = config.limits.breaker if settings.breaker is None else settings.breaker
    return None if chosen == "off" else chosen


def _fence(rows: Rows, condition: Condition, action: CompiledAction) -> FencePlan:
    """All that a decision for the action rests on."""
    worked_out = [condition, *action.bind.values(), *([] if isinstance(action.approval, str) else [action.approval])]
    return rows.plan(
        read=[steps for each in worked_out for steps in each.looked_at],
        whole=[steps for each in action.fence for steps in each.looked_at],
        choices={name: next(iter(choice.source.looked_at)) for name, choice in action.choose.items()},
    )


def _subject(trigger: str, config: Config, revisions: Mapping[str, Revision], problems: Problems) -> _Subject | None:
    settings = config.triggers[trigger]
    reference = settings.table or config.entities[settings.entity or ""].root
    source, _, label = reference.partition(".")
    path: KeyPath = ("triggers", trigger, "table" if settings.table else "entity")
    revision = revisions.get(source)
    if revision is None:
        problems.add(path, f"nothing is known of source `{source}` yet; run `wake apply`")
        return None
    if revision.catalogue.table(label) is None:
        problems.add(path, f"the catalogue of `{source}` has no table {label} yet; run `wake apply`")
        return None
    if settings.table:
        scope = program_scopes.table_scope(revision.catalogue, revision.capture, label)
        return _Subject(
            source, label, scope, _blind(revision, label), label, frozenset({label}), Rows(revision, label, None)
        )
    entity = revision.capture.entities.get(settings.entity or "")
    suspended = revision.capture.suspended.get(settings.entity or "")
    if suspended is not None:
        problems.add(path, f"entity `{settings.entity}` is suspended: {suspended}")
        return None
    if entity is None or not _complete(revision, entity):
        problems.add(path, f"the catalogue of `{source}` has no entity `{settings.entity}` yet; run `wake apply`")
        return None
    scope = program_scopes.entity_scope(revision.catalogue, revision.capture, entity)
    tables = frozenset(entity.tables)
    return _Subject(source, entity.name, scope, "", entity.root, tables, Rows(revision, entity.root, entity))


def _complete(revision: Revision, entity: Entity) -> bool:
    tables = entity.tables
    return all(revision.catalogue.table(table) is not None for table in tables)


def _blind(revision: Revision, label: str) -> str:
    """Why the row before is never known; empty where it is: by the mirror, or without a key by the change itself."""
    table = revision.catalogue.table(label)
    keyless = table is not None and not table.key
    if not keyless and not revision.capture.tables.get(label, CapturedTable()).mirror:
        return f"{label} has `mirror: false`; remove that"
    return ""


def _agent(
    name: str, config: Config, templates: Mapping[str, jinja2.Template | None], within: TriggerScope
) -> CompiledAgent | None:
    settings = config.agents[name]
    lookups = {each: program_actions.compile_lookup(each, config.lookups[each], within) for each in settings.lookups}
    asked = {each: program_actions.compile_lookup(each, config.lookups[each], within) for each in settings.ask}
    actions = {each: program_actions.compile_action(each, config.actions[each], within) for each in settings.actions}
    template = templates.get(name)
    if template is None or not all((*lookups.values(), *asked.values(), *actions.values())):
        return None
    return CompiledAgent(
        name=name,
        settings=settings,
        model=config.models[settings.model],
        instructions=template,
        lookups={each: lookup for each, lookup in lookups.items() if lookup},
        actions={each: action for each, action in actions.items() if action},
        ask={each: lookup for each, lookup in asked.items() if lookup},
    )


def _untrusted(revision: Revision) -> frozenset[str]:
    return frozenset(column for table in revision.capture.tables.values() for column in table.untrusted)


def _digest(config: Config, texts: Mapping[str, str], revisions: Mapping[str, Revision]) -> str:
    content = (
        config.model_dump(mode="json", include=set(PARTS), by_alias=True),
        dict(texts),
        {name: (revision.catalogue, revision.capture) for name, revision in revisions.items()},
    )
    return hashlib.sha256(msgspec.json.encode(content, order="sorted")).hexdigest()
