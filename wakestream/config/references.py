"""Names in the file that must be defined elsewhere in the file."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from wakestream import program_url, topics
from wakestream.config import adopting, handing, spending
from wakestream.config.actions import Action, KafkaAction, McpAction, RunAction, SqlAction
from wakestream.config.document import KeyPath
from wakestream.config.lookups import HttpLookup, Lookup, McpLookup, SqlLookup
from wakestream.config.models import Config

Problem = tuple[KeyPath, str]


def problems(config: Config) -> Iterator[Problem]:
    """Every name that points to nothing, with the nearest one that exists."""
    yield from _tables(config)
    yield from adopting.problems(config)
    yield from _triggers(config)
    yield from _agents(config)
    yield from _actions(config)
    yield from _models(config)
    yield from spending.problems(config)
    for name, lookup in config.lookups.items():
        yield from _lookup(config, ("lookups", name), lookup)


def _known(path: KeyPath, noun: str, name: str, valid: Iterable[str]) -> Iterator[Problem]:
    from wakestream.config.loading import nearest

    names = list(valid)
    if name not in names:
        yield path, f"no {noun} `{name}`{nearest(name, names)}"


def _tables(config: Config) -> Iterator[Problem]:
    for name, source in config.sources.items():
        for label, table in source.tables.items():
            path = ("sources", name, "tables", label)
            if label.count(".") != 1:
                yield path, f"`{label}` must be `schema.table`; names with a dot cannot be captured"
            for column in set(table.exclude) & set(table.include):
                yield path, f"`{column}` is both excluded and included; remove one of the two"
            for column in set(table.exclude) & (set(table.mask) | set(table.untrusted)):
                yield path, f"`{column}` is excluded, so it can be neither masked nor untrusted; remove one of the two"
    for name, entity in config.entities.items():
        yield from _qualified(config, ("entities", name, "root"), entity.root)


def _qualified(config: Config, path: KeyPath, reference: str) -> Iterator[Problem]:
    """A reference of the form `source.schema.table`."""
    source, _, label = reference.partition(".")
    if source not in config.sources or label not in config.sources[source].tables:
        valid = [f"{name}.{table}" for name, each in config.sources.items() for table in each.tables]
        yield from _known(path, "captured table", reference, valid)


def _triggers(config: Config) -> Iterator[Problem]:
    for name, trigger in config.triggers.items():
        path = ("triggers", name)
        yield from _known((*path, "agent"), "agent", trigger.agent, config.agents)
        if trigger.entity is not None:
            yield from _known((*path, "entity"), "entity", trigger.entity, config.entities)
        if trigger.table is not None:
            yield from _qualified(config, (*path, "table"), trigger.table)


def _agents(config: Config) -> Iterator[Problem]:
    for name, agent in config.agents.items():
        path = ("agents", name)
        yield from _known((*path, "model"), "model", agent.model, config.models)
        for index, lookup in enumerate(agent.lookups):
            yield from _known((*path, "lookups", index), "lookup", lookup, config.lookups)
            if lookup in config.lookups and config.lookups[lookup].parameters:
                message = f"`{lookup}` has `parameters`, which only a model that asks can write; name it in `ask`"
                yield (*path, "lookups", index), message
        for index, lookup in enumerate(agent.ask):
            yield from _known((*path, "ask", index), "lookup", lookup, config.lookups)
        for index, action in enumerate(agent.actions):
            yield from _known((*path, "actions", index), "action", action, config.actions)


def _actions(config: Config) -> Iterator[Problem]:
    for name, action in config.actions.items():
        path = ("actions", name)
        yield from _action(config, path, action)
        if action.check is not None:
            yield from _known((*path, "check"), "lookup", action.check, config.lookups)
            if action.check in config.lookups and config.lookups[action.check].parameters:
                yield (*path, "check"), f"`{action.check}` has `parameters`, which nobody writes for a check; bind them"
        seen: dict[str, str] = {}
        for part, names in (("bind", action.bind), ("choose", action.choose), ("parameters", action.parameters)):
            for argument in names:
                if argument in seen:
                    yield (*path, part, argument), f"`{argument}` is in `{seen[argument]}` already; give it one origin"
                seen[argument] = part


def _action(config: Config, path: KeyPath, action: Action) -> Iterator[Problem]:
    """What its kind names."""
    match action:
        case SqlAction():
            yield from _known((*path, "connection"), "connection", action.connection, config.connections)
        case KafkaAction():
            if action.topic in {topic for source in config.sources for topic in topics.of_source(source)}:
                yield (*path, "topic"), f"`{action.topic}` is a topic that only wakestream writes; name one of your own"
        case McpAction():
            yield from tool(config, path, action.server, action.tool)
        case RunAction():
            yield from _known((*path, "agent"), "agent", action.agent, config.agents)
        case _:
            pass


def tool(config: Config, path: KeyPath, server: str, name: str) -> Iterator[Problem]:
    """A tool of a server that may be called."""
    yield from _known((*path, "server"), "MCP server", server, config.mcp_servers)
    if server in config.mcp_servers and name not in config.mcp_servers[server].tools:
        yield (*path, "tool"), f"`{name}` is not among `mcp_servers.{server}.tools`; add it there if it may be called"


def _lookup(config: Config, path: KeyPath, lookup: Lookup) -> Iterator[Problem]:
    """What its kind names."""
    match lookup:
        case SqlLookup():
            yield from _known((*path, "source"), "source", lookup.source, config.sources)
            if config.ledger.lookups is None:
                message = "lookups need `ledger.lookups`, the URL of a role that may only read the context store"
                yield ("ledger",), message
        case McpLookup():
            yield from tool(config, path, lookup.server, lookup.tool)
        case HttpLookup():
            wrong = program_url.wrong(lookup.url)
            if wrong:
                yield (*path, "url"), wrong
    for argument in lookup.bind:
        if argument in lookup.parameters:
            yield (*path, "parameters", argument), f"`{argument}` is in `bind` already; give it one origin"


def _models(config: Config) -> Iterator[Problem]:
    for name, model in config.models.items():
        path = ("models", name, "fallback")
        if model.fallback is None:
            continue
        yield from _known(path, "model", model.fallback, config.models)
        if name in handing.behind(config, name):
            yield path, f"model `{name}` would fall back to itself; end the circle"
