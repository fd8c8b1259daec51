"""How many rows meet each trigger's condition now: a first snapshot fires nothing, and nobody should wonder why.

Counted over the context store where it is complete. Before that a table's rows are read from the source itself,
read-only, only so many, and for a short time.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from datetime import UTC, datetime
from typing import Any

import msgspec
import psycopg
from psycopg import sql

from connectors import databases
from connectors.apply import Plan
from connectors.databases import Connection
from connectors.publication import identifier
from connectors.source_plan import Attached
from wakestream import documents, exact_json, reshaping, topics
from wakestream.catalogue import Column, Table
from wakestream.conditions import Matched
from wakestream.config import Loaded
from wakestream.mirroring import is_lost
from wakestream.program import CompiledTrigger

ROWS = 10_000  # of one table or entity
TIMEOUT = "3s"  # for one query
KNOWN_BEFOREHAND = ("after", "key", "now")
"""What a condition may read that a row alone can tell."""

Rows = tuple[list[Any], bool]
"""Images, and whether there are more."""


class Match(msgspec.Struct, frozen=True):
    """What was counted for one trigger."""

    trigger: str
    said: str
    """For people: `3 of 120 rows match now`."""
    matching: int | None = None
    rows: int | None = None
    """How many were looked at; null where none could be."""
    complete: bool = False
    """Whether these are all there are."""


def count(loaded: Loaded, plan: Plan) -> list[Match]:
    """Every trigger's count, by its name; nothing is written anywhere."""
    if plan.program is None or not plan.program.triggers:
        return []
    with ExitStack() as stack:
        ledger = _session(stack.enter_context(databases.ledger_reader(loaded, purpose="plan")))
        counting = _Counting(ledger, {source.name: source for source in plan.sources})
        return [counting.match(trigger) for _, trigger in sorted(plan.program.triggers.items())]


class _Counting:
    """Counts over one ledger and the sources of one plan; each subject is read once."""

    def __init__(self, ledger: Connection, sources: dict[str, Attached]) -> None:
        self._ledger = ledger
        self._sources = sources
        self._read: dict[tuple[str, str], Rows | None] = {}
        self._now = datetime.now(UTC)

    def match(self, trigger: CompiledTrigger) -> Match:
        roots = {path.partition(".")[0] for path in trigger.condition.reads}
        if not roots <= set(KNOWN_BEFOREHAND):
            return Match(trigger.name, "depends on each change, not on rows alone")
        try:
            rows = self._rows(trigger)
        except psycopg.errors.QueryCanceled:
            return Match(trigger.name, f"not counted: reading takes longer than {TIMEOUT}")
        except psycopg.Error as error:
            return Match(trigger.name, f"not counted: {error.diag.message_primary or type(error).__name__}")
        if rows is None:
            return Match(trigger.name, "known after the snapshot")
        images, more = rows
        source = self._sources[trigger.source]
        matching = sum(self._matches(trigger, source, image) for image in images)
        noun = "documents" if trigger.settings.entity else "rows"
        said = f"at least {matching} of the first {len(images)}" if more else f"{matching} of {len(images)}"
        return Match(trigger.name, f"{said} {noun} match now", matching, len(images), not more)

    def _matches(self, trigger: CompiledTrigger, source: Attached, image: Any) -> bool:
        table = _table(source, trigger.subject)
        images = {"after": image, "key": {name: image.get(name) for name in table.key}}
        of_connector = source.capture.tables[table.label].lost
        lost = [f"after.{c.name}" for c in table.columns if is_lost(c) or c.name in of_connector]
        return isinstance(trigger.condition.evaluate(images, missing=lost, now=self._now), Matched)

    def _rows(self, trigger: CompiledTrigger) -> Rows | None:
        place = trigger.source, trigger.subject
        if place not in self._read:
            source = self._sources[trigger.source]
            entity = source.capture.entities.get(trigger.subject) if trigger.settings.entity else None
            self._read[place] = (
                self._of_table(source, trigger.subject) if entity is None else self._of_entity(source, trigger.subject)
            )
        return self._read[place]

    def _of_table(self, source: Attached, label: str) -> Rows:
        if self._is_mirrored(source, [label]):
            return _taken(
                self._ledger, sql.SQL("select to_jsonb(m.*)::text from {} as m").format(_mirror(source, label))
            )
        names = sql.SQL(", ").join(sql.Identifier(column.name) for column in _readable(source, label))
        query = sql.SQL("select to_jsonb(r.*)::text from (select {} from {}) as r").format(names, identifier(label))
        return _taken(_session(source.reader), query)

    def _of_entity(self, source: Attached, name: str) -> Rows | None:
        entity = documents.mirrored(source.capture.entities[name], source.catalogue, source.capture.tables)
        labels = sorted(entity.tables)
        if not self._is_mirrored(source, labels):
            return None
        tables = {label: _mirror(source, label) for label in labels}
        query = sql.SQL("select {}::text from {} as {}{}").format(
            documents.document(entity), tables[entity.root], sql.Identifier(name), documents.joins(entity, tables)
        )
        return _taken(self._ledger, query)

    def _is_mirrored(self, source: Attached, labels: list[str]) -> bool:
        """Whether the context store has these tables whole, and in the shape that the file wants."""
        changing = reshaping.compare(source.previous, source.catalogue, source.capture)
        unmirrored = not all(source.capture.tables[label].mirror for label in labels)
        if source.previous is None or unmirrored or set(labels) & set(changing):
            return False
        row = self._ledger.execute("select to_regclass('wake.mirror_state') is not null").fetchone()
        if row is None or not row[0]:
            return False
        complete = self._ledger.execute(
            'select "table" from wake.mirror_state where source = %s and complete', (source.name,)
        ).fetchall()
        return set(labels) <= {label for (label,) in complete}


def _table(source: Attached, subject: str) -> Table:
    """The table that a trigger's rows or documents begin with."""
    entity = source.capture.entities.get(subject)
    return source.catalogue.tables[subject if entity is None else entity.root]


def _readable(source: Attached, label: str) -> Iterator[Column]:
    """The columns that a condition may read as they are."""
    settings = source.capture.tables[label]
    for column in source.catalogue.tables[label].columns:
        withheld = column.name in settings.hidden or column.name in settings.mask or column.name in settings.lost
        if not withheld and not is_lost(column):
            yield column


def _mirror(source: Attached, label: str) -> sql.Identifier:
    table = source.catalogue.tables[label]
    return sql.Identifier(topics.mirror_schema(source.name, table.schema), table.name)


def _taken(connection: Connection, query: sql.Composed) -> Rows:
    limited = sql.SQL("{} limit {}").format(query, sql.Literal(ROWS + 1))
    # With parameters, so that a doubled `%` in an entity's SQL is one again.
    found = [exact_json.load(text) for (text,) in connection.execute(limited, ()).fetchall()]
    return found[:ROWS], len(found) > ROWS


def _session(connection: Connection) -> Connection:
    """Values print as they do in events, and no query lasts."""
    connection.execute(
        "select set_config('IntervalStyle', 'iso_8601', false), set_config('bytea_output', 'hex', false),"
        " set_config('statement_timeout', %s, false)",
        (TIMEOUT,),
    )
    return connection
