"""Follows a source's schema: what its revisions can follow becomes a new one, the rest is shown with what to do.

A new revision is in force from a control record in the change log on, as those of `apply` are (docs/decisions/0009,
0011). Debezium is not touched: it sends new columns by itself.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec
import psycopg

from connectors import (
    connector_config,
    connector_setup,
    databases,
    drift_notes,
    ledger_setup,
    publication,
    revisions,
    snapshots,
)
from connectors.connect import Clock, Connect
from connectors.databases import Connection
from connectors.drift_notes import Note
from wakestream import capture, drifting, inspection, resolving_entities, resolving_tables
from wakestream.affected import affected
from wakestream.capture import Capture, CapturedTable, Entity, Revision
from wakestream.catalogue import Catalogue, Table
from wakestream.config import Following, Loaded, models
from wakestream.drifting import Difference
from wakestream.program_problems import Problems

INTERVAL = 15.0  # seconds between two looks at the catalogue
AGAIN = 1.0  # seconds, while a snapshot waits to be signalled

_NEW = ("column added", "enum value added")  # which nothing can have read

Ledger = psycopg.Connection[Any]


class DriftGuard:
    """One source's schema under guard; `look` is called again and again."""

    def __init__(self, loaded: Loaded, source: str, *, clock: Clock = time, interval_s: float = INTERVAL) -> None:
        self._loaded = loaded
        self._file = Following(loaded)
        self._shown = loaded
        """The file as it is now, which tells what still reads a column; what may be shown is `wake apply`'s to say."""
        self._source = source
        self._clock = clock
        self._interval = interval_s
        self._not_before = float("-inf")
        self._until: int | None = None
        self._asked: set[str] = set()
        """The tables whose snapshot was asked for, and has not been seen to begin."""

    def note_begun(self, ledger: Ledger) -> None:
        """See which snapshots have begun; to be called before one that has begun can be settled."""
        if self._asked:
            self._asked -= snapshots.read_now(ledger, self._source)

    def ask_anew(self, ledger: Ledger) -> None:
        """The connector's task has failed: what was asked for and has not begun is due once more."""
        if self._asked:
            revisions.remember_due(ledger, self._source, sorted(self._asked))
            self._not_before = float("-inf")

    def look(self, reader: Connection, ledger: Ledger, client: Connect, record: Callable[[str, str], None]) -> None:
        """Compare the catalogue with the newest revision, and follow it; at most once in an interval."""
        now = self._clock.monotonic()
        if now < self._not_before:
            return
        self._not_before = now + self._interval
        with ledger_setup.locked_now(ledger) as locked:
            if locked:  # else an `apply` is at work, which looks for itself
                self._look(reader, ledger, client, record)

    def _look(self, reader: Connection, ledger: Ledger, client: Connect, record: Callable[[str, str], None]) -> None:
        newest = capture.load(ledger, self._source)
        connector = connector_setup.find(client, self._source)
        if newest is None or connector is None:
            return
        with databases.asking(f"source {self._source}, reading its catalogue"):
            found = inspection.read_catalogue(reader, self._source, newest.capture.tables)
            published = publication.find(reader, self._source)
        if (found.system_identifier, found.timeline) != (newest.catalogue.system_identifier, newest.catalogue.timeline):
            return  # another history: `wake repair`
        changed = self._file.look()
        if changed is not None and self._source in changed.config.sources:
            self._shown = changed
        differences = drifting.compare(newest.catalogue, newest.capture, found)
        notes = list(drift_notes.standing(self._shown, newest, differences))
        notes += drift_notes.unpublished(self._source, newest, published)
        followed = [each for each in differences if not each.standing]
        if followed:
            notes += self._follow(newest, found, followed, ledger, record)
            newest = capture.load(ledger, self._source) or newest
        self._bring_about(newest, connector, reader, ledger)
        notes += drift_notes.withheld(newest)
        notes += drift_notes.suspended(self._shown, newest)
        notes += drift_notes.kept(self._shown, newest, ledger)
        drift_notes.write(self._loaded.config, ledger, self._source, notes, record)

    def _follow(
        self,
        newest: Revision,
        found: Catalogue,
        differences: Sequence[Difference],
        ledger: Ledger,
        record: Callable[[str, str], None],
    ) -> list[Note]:
        """Store what is there now as a revision; returns what in the configuration no longer fits."""
        readers = {
            each: [] if each.kind in _NEW else affected(self._shown, newest, each.table, each.column)
            for each in differences
        }
        changed = {each.table for each in differences}
        tables = {
            label: found.tables[label] if label in changed else old for label, old in newest.catalogue.tables.items()
        }
        catalogue = msgspec.structs.replace(found, tables=tables)
        wanted = self._capture(newest, catalogue, changed)
        revisions.store(ledger, newest, catalogue, wanted, placed=revisions.new_name())
        renamed = {each.table for each in differences if each.kind == "enum value renamed"}
        revisions.remember_due(ledger, self._source, sorted(renamed & _mirrored(wanted)))
        for each in differences:
            told = f"; it is read by {', '.join(readers[each])}" if readers[each] else ""
            record("schema changed", f"{each.label}{told}")
        gone = {
            each: drift_notes.still(readers[each], wanted)
            for each in differences
            if each.kind in ("column dropped", "column renamed")
        }
        return [drift_notes.gone(each, left, newest.id) for each, left in gone.items() if left]

    def _capture(self, newest: Revision, catalogue: Catalogue, changed: set[str]) -> Capture:
        tables = {
            label: self._withheld(newest, catalogue.tables[label], settings) if label in changed else settings
            for label, settings in newest.capture.tables.items()
        }
        entities, suspended = self._entities(newest, catalogue, tables, changed)
        return msgspec.structs.replace(newest.capture, tables=tables, entities=entities, suspended=suspended)

    def _withheld(self, newest: Revision, table: Table, captured: CapturedTable) -> CapturedTable:
        """The table's settings with the columns that nobody has allowed to be shown."""
        source = self._loaded.config.sources[self._source]
        settings = source.tables.get(table.label, models.CapturedTable())
        # Where columns are excluded the publication lists those that it sends: a new one comes with `apply` only.
        policy = "withhold" if captured.exclude else source.new_columns
        if policy is None and captured.mask:
            policy = "withhold"
        withheld = resolving_tables.withheld_columns(policy, settings, table, newest)
        return msgspec.structs.replace(captured, withheld=withheld)

    def _entities(
        self, newest: Revision, catalogue: Catalogue, tables: Mapping[str, CapturedTable], changed: set[str]
    ) -> tuple[dict[str, Entity], dict[str, str]]:
        """The entities that the schema still allows, and those that it does not, with the reason."""
        entities = {
            name: entity for name, entity in newest.capture.entities.items() if changed.isdisjoint(entity.tables)
        }
        suspended: dict[str, str] = {}
        with databases.ledger_reader(self._loaded, purpose="guard") as trial:
            for name in sorted({*newest.capture.entities, *newest.capture.suspended} - entities.keys()):
                problems = Problems(self._loaded)
                made = self._entity(name, catalogue, tables, trial, problems)
                if made is not None and not problems.lines:
                    entities[name] = made
                else:
                    suspended[name] = problems.lines[0] if problems.lines else "the file no longer has it"
        return dict(sorted(entities.items())), suspended

    def _entity(
        self,
        name: str,
        catalogue: Catalogue,
        tables: Mapping[str, CapturedTable],
        trial: Connection,
        problems: Problems,
    ) -> Entity | None:
        config = self._loaded.config
        if name not in config.entities:
            return None
        return resolving_entities.resolve_entity(name, config, self._source, catalogue, tables, trial, problems)

    def _bring_about(
        self, newest: Revision, connector: Mapping[str, str | None], reader: Connection, ledger: Ledger
    ) -> None:
        """What follows from a stored revision: its record in the log, then the snapshot; also after a kill."""
        config = self._loaded.config.kafka
        waiting = revisions.unannounced(ledger, newest)
        if waiting is not None:
            revisions.announce(config, ledger, self._source, waiting)
        due = [label for label in revisions.due(ledger, self._source) if _is_sent(newest, connector, label)]
        if not due:
            self._until = None
        elif not self._has_passed(newest, reader, ledger):
            self._not_before = self._clock.monotonic() + AGAIN
        else:
            self._until = None
            # A table that keeps its rows is not read as a whole: Debezium, which may show none after DDL, must not
            # have them told as deleted.
            kept = _with_rows(ledger, newest, due)
            for label in due:
                snapshots.signal(config, self._source, [label], where="true" if label in kept else None)
            self._asked.update(due)
            revisions.signalled(ledger, self._source, due)

    def _has_passed(self, newest: Revision, reader: Connection, ledger: Ledger) -> bool:
        """Whether the consumer works under the revision, and Debezium has sent what followed the DDL."""
        if self._until is None:
            self._until = databases.end_of_wal(reader)
        found = ledger.execute(
            'select revision >= %s and "commit" > %s from wake.source_position where source = %s',
            (newest.id, self._until, self._source),
        ).fetchone()
        return found is not None and bool(found[0])


def _is_sent(newest: Revision, connector: Mapping[str, str | None], label: str) -> bool:
    """Whether the connector sends all that is shown of a table; if not, an `apply` has yet to bring that about."""
    table = newest.catalogue.table(label)
    if table is None or label not in connector_config.names_of(connector.get(connector_config.TABLES) or ""):
        return False
    excluded = connector_config.names_of(connector.get(connector_config.COLUMNS) or "")
    hidden = newest.capture.tables[label].hidden if label in newest.capture.tables else frozenset[str]()
    return all(column.name in hidden or f"{label}.{column.name}" not in excluded for column in table.columns)


def _with_rows(ledger: Ledger, newest: Revision, labels: Sequence[str]) -> set[str]:
    """Those of the tables whose mirror was whole before, and was altered where it stands."""
    rows = ledger.execute(
        'select "table" from wake.mirror_state where source = %s and complete and "table" = any(%s)',
        (newest.source, list(labels)),
    ).fetchall()
    return {label for (label,) in rows}


def _mirrored(wanted: Capture) -> set[str]:
    return {label for label, settings in wanted.tables.items() if settings.mirror}
