"""Finds what in the configuration reads a table or one of its columns.

Conditions, `bind`, `choose` and `approval` are known exactly, by what they read when compiled against the revision. Of
SQL and prompts the words are looked at, which may name too much and hardly too little.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from wakestream.capture import Entity, Revision
from wakestream.config import Loaded, handing
from wakestream.config.actions import SqlAction
from wakestream.config.lookups import SqlLookup
from wakestream.errors import ConfigurationError
from wakestream.program import CompiledTrigger, compile_program

_IMAGES = ("after", "before")


def affected(loaded: Loaded, revision: Revision, table: str, column: str = "") -> list[str]:
    """What reads `schema.table`, or this column of it, by name.

    As in ``trigger `late` (when)``, ``action `rebook` (bind to)``, ``entity `booking` (flight)``, ``prompt p.md``.
    `revision` is one under which the configuration still compiles; what does not compile is passed over.
    """
    looking = _Looking(loaded, revision, table, column)
    found = [*looking.settings(), *looking.entities(), *looking.programs(), *looking.texts()]
    return list(dict.fromkeys(found))


class _Looking:
    def __init__(self, loaded: Loaded, revision: Revision, table: str, column: str) -> None:
        self._loaded = loaded
        self._config = loaded.config
        self._revision = revision
        self._source = revision.source
        self._table = table
        self._column = column

    def settings(self) -> Iterator[str]:
        """Where the table's own settings name the column."""
        settings = self._config.sources[self._source].tables.get(self._table)
        if settings is None or not self._column:
            return
        parts = (
            ("exclude", settings.exclude),
            ("include", settings.include),
            ("mask", settings.mask),
            ("untrusted", settings.untrusted),
        )
        for part, names in parts:
            if self._column in names:
                yield f"`{part}` of {self._table}"

    def entities(self) -> Iterator[str]:
        """Entities whose joins or SQL read it."""
        for name, entity in self._revision.capture.entities.items():
            where = [*self._joins(entity), *self._entity_sql(entity)]
            if not self._column and self._table in entity.tables:
                where = ["table"]
            for part in where:
                yield f"entity `{name}` ({part})"

    def _joins(self, entity: Entity) -> Iterator[str]:
        for chain in entity.chains():
            member, parent = chain[-1], chain[-2].table if len(chain) > 1 else entity.root
            above = parent == self._table and self._column in member.columns
            own = member.table == self._table and self._column in (*member.references, *(member.fields or ()))
            if above or own:
                yield ".".join(each.name for each in chain)
        if entity.root == self._table and self._column in (entity.fields or ()):
            yield "fields"

    def _entity_sql(self, entity: Entity) -> Iterator[str]:
        if self._table not in entity.tables or not self._column:
            return
        for chain in entity.chains():
            if self._names(f"{chain[-1].where or ''} {chain[-1].order or ''}"):
                yield ".".join(each.name for each in chain)
        for computed in entity.computed:
            if self._names(computed.sql):
                yield computed.name

    def programs(self) -> Iterator[str]:
        """Triggers, lookups and actions whose expressions read it."""
        try:
            program = compile_program(self._loaded, {self._source: self._revision}, hold=True)
        except ConfigurationError:
            return
        for trigger in program.triggers.values():
            for what, reads in _expressions(trigger):
                if self._reads(trigger, reads):
                    yield what

    def _reads(self, trigger: CompiledTrigger, reads: Iterable[str]) -> bool:
        entity = self._revision.capture.entities.get(trigger.subject) if trigger.settings.entity else None
        root = entity.root if entity else trigger.subject
        for read in reads:
            first, *rest = read.split(".")
            if first != "key" and first not in _IMAGES:
                continue
            table = root
            if first != "key" and entity is not None:
                table, rest = _reached(entity, rest)
            if table == self._table and (not self._column or (rest and rest[0] == self._column)):
                return True
        return False

    def texts(self) -> Iterator[str]:
        """Lookups, statements and prompts in which its name stands."""
        if not self._column:
            return
        name = self._table.partition(".")[2]
        for lookup, settings in self._config.lookups.items():
            if not isinstance(settings, SqlLookup) or settings.source != self._source:
                continue
            if self._names(settings.sql) and _has_word(settings.sql, name):
                yield f"lookup `{lookup}` (sql)"
        for action, settings in self._config.actions.items():
            if isinstance(settings, SqlAction):
                statement = settings.statement
                if self._names(statement) and _has_word(statement, name):
                    yield f"action `{action}` (statement)"
        for agent in sorted(self._agents()):
            instructions = self._config.agents[agent].instructions
            if self._names(self._read(instructions)):
                yield f"prompt {instructions}"

    def _agents(self) -> set[str]:
        """Agents that triggers over the table wake."""
        found: set[str] = set()
        for trigger in self._config.triggers.values():
            entity = self._revision.capture.entities.get(trigger.entity or "")
            tables = entity.tables if entity else frozenset[str]()
            if trigger.table == f"{self._source}.{self._table}" or self._table in tables:
                found |= set(handing.reachable(self._config, trigger.agent))
        return found

    def _read(self, instructions: str) -> str:
        try:
            text = (self._loaded.directory / instructions).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError):
            return ""
        return " ".join(re.findall(r"\{[{%].*?[%}]\}", text, re.DOTALL))

    def _names(self, text: str) -> bool:
        return _has_word(text, self._column)


def _expressions(trigger: CompiledTrigger) -> Iterator[tuple[str, set[str]]]:
    """Every expression of a trigger and what follows it, with the paths that it reads."""
    yield f"trigger `{trigger.name}` (when)", set(trigger.condition.reads)
    lookups = {name: each for a in trigger.agents.values() for name, each in {**a.lookups, **a.ask}.items()}
    actions = {name: each for agent in trigger.agents.values() for name, each in agent.actions.items()}
    for name, lookup in lookups.items():
        for argument, bind in lookup.bind.items():
            yield f"lookup `{name}` (bind {argument})", set(bind.reads)
    for name, action in actions.items():
        lists = {choice: sorted(made.source.reads)[0] for choice, made in action.choose.items() if made.source.reads}
        for choice, made in action.choose.items():
            yield f"action `{name}` (choose {choice})", {*made.source.reads, f"{lists.get(choice, '')}.{made.key}"}
        for argument, bind in action.bind.items():
            yield f"action `{name}` (bind {argument})", set(_unchosen(bind.reads, lists))
        if action.key is not None:
            yield f"action `{name}` (key)", set(_unchosen(action.key.reads, lists))
        if not isinstance(action.approval, str):
            yield f"action `{name}` (approval)", set(_unchosen(action.approval.reads, lists))


def _reached(entity: Entity, path: list[str]) -> tuple[str, list[str]]:
    """The table to whose row a path of a document leads, and what is left of the path."""
    table, members = entity.root, entity.members
    while path and (member := next((each for each in members if each.name == path[0]), None)) is not None:
        table, members, path = member.table, member.members, path[1:]
    return table, path


def _unchosen(reads: Iterable[str], lists: dict[str, str]) -> Iterator[str]:
    """What is read of an element that was chosen is read of its list."""
    for read in reads:
        parts = read.split(".")
        if parts[0] == "chosen" and len(parts) > 1 and parts[1] in lists:
            yield ".".join([lists[parts[1]], *parts[2:]])
        else:
            yield read


def _has_word(text: str, word: str) -> bool:
    return re.search(rf"(?<![\w$]){re.escape(word)}(?![\w$])", text, re.IGNORECASE) is not None
