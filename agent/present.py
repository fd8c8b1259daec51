"""What an event would say now: its key's row or document as the context store holds it, for a decision made again."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, NamedTuple, cast

import msgspec
import psycopg
from psycopg import sql

from agent import json_text, net_change
from agent.database import Connection
from wakestream import capture, documents, fences, withholding
from wakestream.capture import Entity, Revision
from wakestream.errors import EventError, TransientError
from wakestream.events import ContextEvent

# A limit of the program's is one of the row's to us; psycopg counts it as if the ledger were away.
_NOT_WORKED_OUT = (
    psycopg.DataError,
    psycopg.errors.CardinalityViolation,
    psycopg.errors.ProgramLimitExceeded,
    psycopg.errors.StatementTooComplex,
)
_fields = msgspec.json.Decoder(dict[str, msgspec.Raw])


class Place(NamedTuple):
    """Where a source's store stands."""

    log: int
    offset: int
    commit: int | None
    """END's LSN of the last applied transaction; null before the first, and of adopted sources."""
    revision: int
    clock: datetime | None


def place(connection: Connection, source: str) -> Place | None:
    """Where the store of a source stands; None before its first record."""
    row = connection.execute(
        'select log, "offset", "commit", revision, clock from wake.source_position where source = %s', (source,)
    ).fetchone()
    return Place(row[0], row[1], row[2], row[3], row[4]) if row else None


def of(connection: Connection, source: str, events: Iterable[ContextEvent]) -> list[str]:
    """Each event once more, with the image that the store holds now behind it; in one transaction of the caller's.

    Raises `TransientError` while a table that is shown is not whole, `EventError` for what the store does not hold.
    """
    at = place(connection, source)
    revision = capture.load(connection, source, at.revision) if at else None
    if at is None or revision is None:
        raise TransientError(f"the context store has nothing of {source} yet", family="lookup")
    fences.print_as_events(connection)
    connection.execute("select set_config('search_path', 'pg_catalog', true)")
    return [_again(connection, revision, at, event) for event in events]


def _again(connection: Connection, revision: Revision, at: Place, event: ContextEvent) -> str:
    data = event.data
    entity = None if data.entity is None else revision.capture.entities.get(data.entity)
    if data.entity is not None and entity is None:
        raise EventError(f"entity `{data.entity}` is no longer in the context store")
    tables = entity.tables if entity is not None else frozenset({event.table})
    _require_whole(connection, revision.source, tables)
    if entity is not None:
        entity = documents.mirrored(entity, revision.catalogue, revision.capture.tables)
    try:
        with connection.transaction():
            image = _read(connection, revision.source, event, entity)
    except _NOT_WORKED_OUT as error:
        what = f"{type(error).__name__}, {error.sqlstate}"
        raise EventError(f"{event.subject} cannot be worked out from its rows as they are now", detail=what) from error
    unknown = fences.unknown(connection, revision.source, set(tables))
    if image is None and withholding.LOST_ROW in fences.unknown_of(unknown, _root(entity, event), data.key or {}):
        raise EventError(f"{event.subject} is there, and its row cannot be read")
    after, missing = _withhold(revision, image, event, unknown)
    now = cast("dict[str, Any]", json_text.load(json_text.dump(event)))
    position = {"log": at.log, "offset": at.offset, "seq": 0, "of": 0, "commit": at.commit}
    kept = [path for path in data.missing if path.partition(".")[0] == "before"]
    now["time"] = at.clock.astimezone(UTC).isoformat().replace("+00:00", "Z") if at.clock else event.time
    now["data"] |= {"after": after, "position": position, "missing": [*kept, *missing], "snapshot": False}
    told = {"id": event.id, "time": now["time"], "op": data.op, "changed": sorted(_differing(data.after, after))}
    steps = [*(data.steps or (net_change.step(event),)), told]
    return net_change.between(json_text.dump(event), json_text.dump(now), steps)


def _root(entity: Entity | None, event: ContextEvent) -> str:
    return event.table if entity is None else entity.root


def _require_whole(connection: Connection, source: str, tables: frozenset[str]) -> None:
    for table, reason in fences.untold_of(connection, source, tables).items():
        raise TransientError(f"what is in {table} now cannot be told: {reason}", family="lookup")


def _read(connection: Connection, source: str, event: ContextEvent, entity: Entity | None) -> str | None:
    """The image as it stands, as JSON; None where there is no such row."""
    label, name = (entity.root, entity.name) if entity is not None else (event.table, "wake__row")
    tables = {each: fences.mirror(source, each) for each in (entity.tables if entity is not None else (label,))}
    alias, key = sql.Identifier(name), event.data.key or {}
    if not key:
        raise EventError(f"{label} has no primary key, so there is nothing to look at again")
    shown = documents.document(entity) if entity is not None else sql.SQL("to_jsonb({}.*)").format(alias)
    query = sql.SQL(
        "select {shown}::text from (select jsonb_populate_record(null::{root}, %s::jsonb) as key) as wake__asked"
        " join {root} as {alias} on {same}{joins}"
    ).format(
        shown=shown,
        root=tables[label],
        alias=alias,
        same=sql.SQL(" and ").join(
            sql.SQL("{} = (wake__asked.key).{}").format(sql.Identifier(name, column), sql.Identifier(column))
            for column in key
        ),
        joins=documents.joins(entity, tables) if entity is not None else sql.SQL(""),
    )
    row = connection.execute(query, (json_text.dump(key),)).fetchone()
    return row[0] if row else None


def _withhold(
    revision: Revision, image: str | None, event: ContextEvent, unknown: fences.Withheld
) -> tuple[dict[str, Any] | None, list[str]]:
    """The image without what is not known, and its paths, with those that no image of this event can hold."""
    if image is None:
        return None, []
    entity = None if event.data.entity is None else revision.capture.entities[event.data.entity]
    label, members = _root(entity, event), () if entity is None else entity.members

    def of(label: str, fields: Mapping[str, msgspec.Raw]) -> Sequence[str]:
        key = {name: json_text.load(bytes(fields[name])) for name in revision.catalogue.tables[label].key}
        return fences.unknown_of(unknown, label, key)

    lost_rows = {place for place, columns in unknown.items() if withholding.LOST_ROW in columns}

    def is_lost(label: str, key: Mapping[str, msgspec.Raw] | None) -> bool:
        if key is None:
            return any(table == label for table, _ in lost_rows)
        values = {name: json_text.load(bytes(raw)) for name, raw in key.items()}
        return withholding.LOST_ROW in fences.unknown_of(unknown, label, values)

    text, found = withholding.withhold(of, label, members, image.encode())
    after = cast("dict[str, Any]", json_text.load(text))
    if entity is not None:
        found |= set(withholding.lost_members(is_lost, members, _fields.decode(text)))
        for name in withholding.computed_from(entity, found):
            after.pop(name, None)
            found |= {name}
    lost = [path for path in event.data.missing if path.startswith("after.")]
    paths = {f"after.{path}" for path in found}
    return after, sorted(paths.union(path for path in lost if not _holds(after, path.split(".")[1:])))


def _holds(image: Any, path: list[str]) -> bool:
    """Whether a path leads to a value, in a list to one in every element."""
    if isinstance(image, list):
        return all(_holds(each, path) for each in cast("list[Any]", image))
    if not path:
        return True
    return isinstance(image, dict) and path[0] in image and _holds(cast("dict[str, Any]", image)[path[0]], path[1:])


def _differing(one: Any, other: Any, path: str = "") -> Iterable[str]:
    """Paths at which two images differ; a list is one value."""
    if isinstance(one, dict) and isinstance(other, dict):
        left, right = cast("dict[str, Any]", one), cast("dict[str, Any]", other)
        for name in {*left, *right}:
            yield from _differing(left.get(name), right.get(name), f"{path}.{name}" if path else name)
    elif one != other and path:
        yield path
