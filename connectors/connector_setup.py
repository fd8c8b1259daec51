"""The connector of a source: made, brought to what the file says, or started again."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping

from connectors import connector_config
from connectors.connect import Connect, ConnectorMissing, telling_line, types
from connectors.connector_config import COLUMNS, TABLES
from connectors.steps import Step
from wakestream import topics
from wakestream.errors import RefusedError

START_TIMEOUT = 90.0  # seconds until connector and task run

# Another value of these is another source: Connect keeps offsets by them, and the slot's position is of its name.
_IDENTITY = ("connector.class", "topic.prefix", "slot.name", "publication.name")
# What we set only where the file asks for it, so that its absence is ours too.
_OPTIONAL = (COLUMNS, "database.sslrootcert", "database.sslcert", "database.sslkey")
_HIDDEN = ("password", "secret", "jaas", "credential", "token", "database.user")
_HALTED = ("STOPPED", "PAUSED")
_RESTART = "changes arrive later by the seconds of a restart; the application notices nothing"
_SNAPSHOT = (
    "reads every captured table once in one long transaction without locks, which holds back VACUUM meanwhile;"
    " from then on the server keeps WAL until it is read"
)


def find(client: Connect, source: str) -> types.Config | None:
    """The configuration that the connector has; None where there is no connector."""
    try:
        return client.config(topics.connector(source))
    except ConnectorMissing:
        return None


def refuse_renamed(source: str, found: types.Config, wanted: types.Config) -> None:
    """Refuse to give a connector another identity.

    Raises `RefusedError` with what differs and what can be done.
    """
    differing = [key for key in _IDENTITY if found.get(key) != wanted.get(key)]
    if differing:
        listed = ", ".join(f"{key} is {found.get(key)} and must be {wanted.get(key)}" for key in differing)
        raise RefusedError(
            f"source {source}: {listed} in connector {topics.connector(source)}. Offsets, slot and topics go by these"
            f" names, so they cannot change: `wake detach {source}` and `wake apply`, which takes a new snapshot"
        )


def refuse_second(source: str, wanted: types.Config, found: Mapping[str, types.Config], sources: Iterable[str]) -> None:
    """Refuse a source that was attached under another name, which the file no longer has.

    `found` are the connectors that exist. Raises `RefusedError`.
    """
    ours = {topics.connector(name) for name in sources}
    place = [wanted.get(f"database.{part}") for part in ("hostname", "port", "dbname")]
    for name, config in found.items():
        former = name.removeprefix(topics.connector(""))
        if name in ours or name == former or config.get("slot.name") != topics.slot(former):
            continue
        if [config.get(f"database.{part}") for part in ("hostname", "port", "dbname")] == place:
            raise RefusedError(
                f"source {source}: its database is attached already, as `{former}`, which the file does not name."
                f" Topics, ids and offsets carry that name, so it cannot change: write `{former}` again, or with a file"
                f" that names it `wake detach {former}`, then `wake apply`"
            )


def changes_lists(found: types.Config | None, wanted: types.Config) -> bool:
    """Whether a connector that exists gets other tables or columns, for which it must be drained."""
    return found is not None and any(found.get(name) != wanted.get(name) for name in (TABLES, COLUMNS))


def foreign(found: types.Config, wanted: types.Config) -> list[str]:
    """Settings that somebody else has made and that we never make: they stay."""
    return sorted(key for key in found if key not in wanted and key not in (*_OPTIONAL, "name"))


def step(
    client: Connect, source: str, found: types.Config | None, wanted: types.Config, *, new_secrets: bool
) -> Step | None:
    """What has to be done so that the connector runs as the file says; None where it does."""
    name = topics.connector(source)
    if found is None:
        what = f"make connector {name}; it makes the replication slot {topics.slot(source)} and takes a snapshot"
        return _step(name, what, _shown("POST", "", wanted, name), lambda: create(client, source, wanted), _SNAPSHOT)
    kept = {key: found[key] for key in foreign(found, wanted)}
    target = {**kept, **wanted}
    if found != {**target, "name": name}:
        differing = sorted(key for key in {*found, *target} - {"name"} if found.get(key) != target.get(key))
        listed = "; ".join(f"{key}: {_value(key, found)} → {_value(key, target)}" for key in differing)
        return _step(
            name,
            f"configure connector {name} ({', '.join(differing)})",
            _shown("PUT", f"/{name}/config", target),
            lambda: _configure(client, name, target),
            f"{_RESTART}. The file wins: {listed}",
        )
    return _running(client, name, new_secrets=new_secrets)


def first_start(client: Connect, source: str) -> Step:
    """What starts a connector that was made and has never run."""
    name = topics.connector(source)
    what = f"start connector {name}; it makes the replication slot {topics.slot(source)} and takes a snapshot"
    return _step(name, what, f"PUT /connectors/{name}/resume", lambda: begin(client, source), _SNAPSHOT)


def _running(client: Connect, name: str, *, new_secrets: bool) -> Step | None:
    state = client.status(name)
    if state.connector.state in _HALTED:
        return _step(name, f"resume connector {name}", f"PUT /connectors/{name}/resume", lambda: resume(client, name))
    call = f"POST /connectors/{name}/restart?includeTasks=true&onlyFailed="
    if new_secrets:
        what = f"restart connector {name} with the new password"
        return _step(name, what, f"{call}false", lambda: _restart(client, name, only_failed=False))
    if state.failure is not None:
        part, trace = state.failure
        what, why = f"restart what failed of connector {name}", f"{part} failed: {telling_line(trace)}"
        return _step(name, what, f"{call}true", lambda: _restart(client, name, only_failed=True), why)
    return None


def _step(name: str, what: str, command: str, do: Callable[[], object], effect: str = _RESTART) -> Step:
    return Step(what, do, object=f"connector {name}", command=command, effect=effect)


def create(client: Connect, source: str, wanted: types.Config) -> None:
    """Make the connector and let it begin with a snapshot."""
    client.create(topics.connector(source), wanted, initial_state="STOPPED")
    begin(client, source)


def begin(client: Connect, source: str) -> None:
    """Let a stopped connector begin with a snapshot, whatever a former one of its name has left."""
    name = topics.connector(source)
    if client.offsets(name):
        client.delete_offsets(name)
    resume(client, name)


def resume(client: Connect, name: str) -> None:
    """Let it run, and wait until it does."""
    client.resume(name)
    client.wait_running(name, START_TIMEOUT)


def _configure(client: Connect, name: str, wanted: types.Config) -> None:
    """Set the whole configuration; one that was stopped for it runs again."""
    halted = client.status(name).connector.state in _HALTED
    client.put_config(name, wanted)
    if halted:
        # Connect starts it anew as STOPPED first; a resume that overtakes that leaves it FAILED.
        client.wait_steady(name)
        client.resume(name)
    client.wait_running(name, START_TIMEOUT)


def _restart(client: Connect, name: str, *, only_failed: bool) -> None:
    client.restart(name, only_failed=only_failed)
    client.wait_running(name, START_TIMEOUT)


def _shown(method: str, path: str, config: types.Config, name: str = "") -> str:
    """The call with its body, without what nobody needs to see."""
    body: dict[str, object] = {key: _value(key, config) if config[key] is not None else None for key in sorted(config)}
    if name:
        body = {"name": name, "config": body, "initial_state": "STOPPED"}
    return f"{method} /connectors{path} {json.dumps(body, ensure_ascii=False)}"


def _value(key: str, config: types.Config) -> str:
    value = config.get(key)
    if value is None:
        return "–"
    secret = any(part in key.lower() for part in _HIDDEN) and not value.startswith("${")
    return "(hidden)" if secret else value


def included(found: types.Config) -> set[str]:
    """The tables that a connector's configuration names."""
    return connector_config.names_of(found.get(TABLES) or "")
