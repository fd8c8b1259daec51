"""The connector of a source: made, brought to what the file says, or started again."""

from __future__ import annotations

from connectors.connect import Connect, ConnectorMissing, types
from connectors.connector_config import COLUMNS, TABLES
from connectors.steps import Step
from wakestream import topics
from wakestream.capture import Capture, Revision
from wakestream.catalogue import Catalogue
from wakestream.errors import RefusedError

START_TIMEOUT = 90.0  # seconds until connector and task run


def find(client: Connect, source: str) -> types.Config | None:
    """The configuration that the connector has; None where there is no connector."""
    try:
        return client.config(topics.connector(source))
    except ConnectorMissing:
        return None


def step(
    client: Connect, source: str, found: types.Config | None, wanted: types.Config, *, new_secrets: bool
) -> Step | None:
    """What has to be done so that the connector runs as the file says; None where it does."""
    name = topics.connector(source)
    if found is None:
        what = f"make connector {name}; it makes the replication slot {topics.slot(source)} and takes a snapshot"
        return Step(what, lambda: _create(client, name, wanted))
    if found != {**wanted, "name": name}:
        differing = sorted(key for key in {*found, *wanted} - {"name"} if found.get(key) != wanted.get(key))
        return Step(f"configure connector {name} ({', '.join(differing)})", lambda: _configure(client, name, wanted))
    state = client.status(name)
    if state.connector.state in ("STOPPED", "PAUSED"):
        return Step(f"resume connector {name}", lambda: _resume(client, name))
    if new_secrets:
        return Step(
            f"restart connector {name} with the new password", lambda: _restart(client, name, only_failed=False)
        )
    if state.failure is not None:
        return Step(f"restart what failed of connector {name}", lambda: _restart(client, name, only_failed=True))
    return None


def _create(client: Connect, name: str, wanted: types.Config) -> None:
    # Offsets of a former connector of this name would have it skip the snapshot, so they go before it starts.
    client.create(name, wanted, initial_state="STOPPED")
    if client.offsets(name):
        client.delete_offsets(name)
    _resume(client, name)


def _configure(client: Connect, name: str, wanted: types.Config) -> None:
    client.put_config(name, wanted)
    client.wait_running(name, START_TIMEOUT)


def _resume(client: Connect, name: str) -> None:
    client.resume(name)
    client.wait_running(name, START_TIMEOUT)


def _restart(client: Connect, name: str, *, only_failed: bool) -> None:
    client.restart(name, only_failed=only_failed)
    client.wait_running(name, START_TIMEOUT)


def refuse_changed_tables(
    source: str,
    found: types.Config,
    wanted: types.Config,
    previous: Revision | None,
    catalogue: Catalogue,
    new: Capture,
) -> None:
    """Refuse what would change the captured tables of a connector that has begun to read them.

    Raises `RefusedError` with what differs and what can be done.
    """
    differing = [_listed(name, found, wanted) for name in (TABLES, COLUMNS) if found.get(name) != wanted.get(name)]
    if not differing and previous is not None:
        differing = [
            f"{label} is shown differently (columns, mask or mirror)"
            for label in sorted(new.tables)
            if _shape(previous.catalogue, previous.capture, label) != _shape(catalogue, new, label)
        ]
    if differing:
        raise RefusedError(
            f"source {source}: {'; '.join(differing)}. This version cannot change the tables of a running source:"
            f" undo the change, or `wake detach {source}` and `wake apply`, which takes a new snapshot"
        )


def _listed(name: str, found: types.Config, wanted: types.Config) -> str:
    before, after = (set((each.get(name) or "").replace("\\", "").split(",")) - {""} for each in (found, wanted))
    noun = "tables" if name == TABLES else "excluded columns"
    parts = [
        f"{verb} {', '.join(sorted(them))}"
        for verb, them in (("adds", after - before), ("drops", before - after))
        if them
    ]
    return f"the file {' and '.join(parts)} ({noun})"


def _shape(catalogue: Catalogue, capture: Capture, label: str) -> object:
    """What a mirror is made from."""
    table, settings = catalogue.table(label), capture.tables.get(label)
    if table is None or settings is None:
        return None
    columns = [(c.name, c.type, c.base, c.array, c.generated) for c in table.columns if c.name not in settings.exclude]
    return table.key, columns, settings.mask, settings.mirror
