"""The steps of one source, in an order that may be broken off anywhere and begun again.

1 topics, 2 the publication with everything old and new, 3 the connector stopped between two transactions where its
tables or columns change, 4 the revision, and its record in the log where it must have a place there, 5 the password
for Connect, 6 the connector, which runs again, 7 the publication without what is no longer needed, 8 the signal for a
snapshot.

Whatever Debezium sends under the new lists stands behind the revision's record, and everything before it was sent under
the old ones; docs/decisions/0009 tells why no change is lost or doubled by that.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import psycopg

from connectors import (
    connector_config,
    connector_setup,
    databases,
    drain,
    identity,
    publication,
    revisions,
    secrets_setup,
    slot,
    snapshot_log,
    snapshots,
    topics_setup,
)
from connectors.connect import Connect, types
from connectors.publication import Published
from connectors.steps import Step
from wakestream import kafka, reshaping, topics
from wakestream.capture import Capture, Revision
from wakestream.catalogue import Catalogue
from wakestream.config import Loaded

SNAPSHOT_EFFECT = "reads the table by its key in parts of 1024 rows, beside the application and beside the changes"


@dataclass(frozen=True)
class Attached:
    """One source as it is, and as it should be."""

    name: str
    reader: databases.Connection
    catalogue: Catalogue
    capture: Capture
    previous: Revision | None
    connector: types.Config | None
    published: Published | None


@dataclass
class SourcePlan:
    """Compares one source with the file. `steps` is to be called once; then the rest is known."""

    loaded: Loaded
    ledger: psycopg.Connection
    client: Connect
    source: Attached
    admin: databases.Connection | None
    """None where the database's part is somebody else's."""
    may_make_full: bool
    notes: list[str] = field(default_factory=list[str])
    before: list[Step] = field(default_factory=list[Step])
    """The database's part that everything else needs; without `admin` a DBA has to do it first."""
    after: list[Step] = field(default_factory=list[Step])
    """The database's part when everything else is done; without `admin` a DBA may do it."""
    _read_again: set[str] = field(default_factory=set[str])
    """Tables that a snapshot has to read because of this plan."""
    _kept: set[str] = field(default_factory=set[str])
    """Those of them whose mirror keeps its rows and only gets new columns."""

    def steps(self) -> Iterator[Step]:
        """Everything that is not yet so, in order."""
        name, config = self.source.name, self.loaded.config
        full = self._full()
        where = databases.address(self.loaded, name)
        wanted = connector_config.build(config, name, self.source.capture, where)
        found = self.source.connector
        if found is not None:
            connector_setup.refuse_renamed(name, found, wanted)
            self.notes += [
                f"connector {topics.connector(name)} has {key}, which wakestream does not set: it stays"
                for key in connector_setup.foreign(found, wanted)
            ]
        catalogue = identity.made_full(self.source.catalogue, full)
        yield from topics_setup.steps(kafka.admin(config.kafka), name, config.kafka.topics)
        yield from self._missed(found)
        drained = connector_setup.changes_lists(found, wanted)
        wide, narrow = self._publications(catalogue, drained=drained)
        # First: once it is published, a table without key and without whole old rows refuses the application's updates.
        for label in full:
            yield from self._in_database(identity.step(self.admin, label), self.before)
        yield from self._in_database(wide, self.before)
        if drained:
            yield self._drain()
        yield from self._revision(catalogue)
        yield from self._secrets_and_connector(wanted, where)
        yield from self._in_database(narrow, self.after)
        yield from self._snapshot()

    def _full(self) -> list[str]:
        """Tables that become full by this plan; the others that should are told."""
        labels = identity.wanted(self.loaded.config.sources[self.source.name], self.source.catalogue)
        if self.may_make_full:
            return labels
        self.notes += [identity.request(label) for label in labels]
        return []

    def _missed(self, found: types.Config | None) -> Iterator[Step]:
        """Tables that the connector reads and the publication does not have: their changes were not sent."""
        name, published = self.source.name, self.source.published
        if found is None or slot.find(self.source.reader, name) is None:
            return
        had = set(published.tables) if published is not None and published.ours else set[str]()
        missed = sorted(connector_setup.included(found) & set(self.source.capture.tables) - had)
        if not missed:
            return

        def declare() -> None:
            revisions.remember_due(self.ledger, name, missed)
            reason = f"publication {topics.slot(name)} did not have the tables"
            snapshots.declare_gap(self.loaded.config.kafka, name, missed, reason)

        self._read_again.update(missed)
        yield Step(
            f"declare that changes of {', '.join(missed)} may be missing: the publication did not have them",
            declare,
            object=f"topic {topics.changes(name)}",
            effect="a gap, which the snapshot of these tables closes",
        )

    def _publications(self, catalogue: Catalogue, *, drained: bool) -> tuple[Step | None, Step | None]:
        """What widens the publication before the connector changes, and what narrows it afterwards."""
        name, found = self.source.name, self.source.published
        tables = publication.wanted(catalogue, self.source.capture)
        if not drained or found is None:
            return publication.step(self.admin, name, found, tables), None
        wide = publication.widened(found.tables, tables)
        narrow = publication.step(self.admin, name, Published(wide), tables)
        return publication.step(self.admin, name, found, wide), narrow

    def _in_database(self, step: Step | None, part: list[Step]) -> Iterator[Step]:
        if step is None:
            return
        part.append(step)
        if self.admin is not None:
            yield step

    def _drain(self) -> Step:
        name, config = self.source.name, self.loaded.config.kafka
        drain.require_idle(name, self.client.offsets(topics.connector(name)))
        return Step(
            f"stop connector {topics.connector(name)} between two transactions",
            lambda: drain.drain(self.client, self.source.reader, config, name),
            object=f"connector {topics.connector(name)}",
            command=f"PUT /connectors/{topics.connector(name)}/stop",
            effect="changes arrive later by the seconds until it runs again; the server keeps their WAL",
        )

    def _revision(self, catalogue: Catalogue) -> Iterator[Step]:
        name, captured = self.source.name, self.source.capture
        # A new connector begins with a snapshot of its own, whatever was captured of the source before.
        anew, previous = self.source.connector is None, self.source.previous
        base = None if anew else previous
        waits = anew and previous is not None and bool(previous.capture.placed)
        if revisions.is_same(self.ledger, previous, catalogue, captured) and not waits:
            waiting = revisions.unannounced(self.ledger, base)
            if waiting is not None:
                yield self._announcement(waiting)
            return
        fates = reshaping.compare(base, catalogue, captured)
        self._kept = {label for label, fate in fates.items() if fate == "wider"} - self._read_again
        self._read_again |= reshaping.read_again(fates)
        name_in_log = revisions.new_name() if revisions.needs_place(self.ledger, base, catalogue, captured) else ""
        yield Step(
            f"store what is captured of {name} ({len(captured.tables)} tables) as a revision",
            lambda: revisions.store(self.ledger, base, catalogue, captured, placed=name_in_log),
            object=f"revision of {name}",
            effect="in force from its record in the change log on" if name_in_log else "in force at once",
        )
        if name_in_log:
            yield self._announcement(name_in_log)

    def _announcement(self, placed: str) -> Step:
        name, config = self.source.name, self.loaded.config.kafka
        return Step(
            f"put the revision's record into {topics.changes(name)}",
            lambda: revisions.announce(config, self.ledger, name, placed),
            object=f"topic {topics.changes(name)}",
            command=f'Produce {topics.changes(name)}[0] {{"wake":"revision"}} {{"revision":"{placed}"}}',
            effect="the consumer works under the revision from this record on",
        )

    def _secrets_and_connector(self, wanted: types.Config, where: databases.Address) -> Iterator[Step]:
        name, found = self.source.name, self.source.connector
        path = Path(self.loaded.config.connect.secrets)
        secrets = secrets_setup.step(path, name, where)
        if secrets is not None:
            yield secrets
        step = connector_setup.step(self.client, name, found, wanted, new_secrets=secrets is not None)
        if step is None:
            return
        if not secrets_setup.is_ours(path):
            self.notes.append(secrets_setup.request(path, name, where))
        if found is None:
            step = step.after(self._begin_snapshot)
        elif self._has_never_run():
            step = connector_setup.first_start(self.client, name).after(self._begin_snapshot)
        yield step

    def _has_never_run(self) -> bool:
        """Whether an `apply` ended between making the connector and starting it."""
        name = self.source.name
        if slot.find(self.source.reader, name) is not None:
            return False
        return snapshot_log.SnapshotLog(self.loaded.config.kafka, name).progress(self.ledger) == "waiting"

    def _begin_snapshot(self) -> None:
        name = self.source.name
        snapshot_log.begin(self.ledger, name, snapshot_log.end_of_log(self.loaded.config.kafka, name))

    def _snapshot(self) -> Iterator[Step]:
        name, config = self.source.name, self.loaded.config.kafka
        known = revisions.due(self.ledger, name) if self.source.previous is not None else []
        labels = sorted((self._read_again | set(known)) & self._mirrored())
        if not labels:
            return
        snapshots.require_readable(labels)

        def ask() -> None:
            whole = [label for label in labels if label not in self._kept]
            if whole:
                snapshots.signal(config, name, whole)
            for label in sorted(self._kept.intersection(labels)):  # as the guard does: decision 11
                snapshots.signal(config, name, [label], where="true")
            revisions.signalled(self.ledger, name, labels)

        yield Step(
            f"read {', '.join(labels)} by an incremental snapshot",
            ask,
            object=f"topic {topics.signal(name)}",
            command=f"Produce {topics.signal(name)}[0] execute-snapshot INCREMENTAL {', '.join(labels)}",
            effect=SNAPSHOT_EFFECT,
        )

    def _mirrored(self) -> set[str]:
        return {label for label, settings in self.source.capture.tables.items() if settings.mirror}
