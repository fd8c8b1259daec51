"""What a decision rested on: rows with the values that it saw, and whether they are still so.

A fence is made when an action is proposed. It is compared with the context store here, and in the action's own
transaction where that is in the source's database (`agent.effects.sql_fence`).
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from decimal import Decimal
from typing import Any, Literal, NamedTuple

import msgspec
import psycopg
from psycopg import sql

from wakestream import exact_json, remembered, topics

Image = dict[str, Any] | None
"""The fenced columns of a row as `to_jsonb` gives them; None where there is no such row."""
OnStale = Literal["drop", "decide_again"]
Relation = Callable[[str], sql.Composable]
"""How a statement names a table of the source."""

SHOWN = 60  # characters of a value in a difference

PRINTING = {
    "TimeZone": "UTC",
    "DateStyle": "ISO",
    "IntervalStyle": "iso_8601",
    "bytea_output": "hex",
    "extra_float_digits": "1",
    "lc_monetary": "C",
}
"""The settings under which values print as events have them."""


class FencedRow(msgspec.Struct, frozen=True):
    """One row that a decision rested on."""

    table: str
    key: dict[str, Any]
    subject: str
    """`public.flight/7`."""
    values: Image
    """What the decision saw of it."""
    also: list[Image] = []
    """What counts as well: what an earlier action of the same run made of it, or a person approved in spite of."""


class Fence(msgspec.Struct, frozen=True):
    """All rows that a decision rested on, at one position."""

    source: str
    system_identifier: str
    log: int
    offset: int
    rows: list[FencedRow]
    on_stale: OnStale = "drop"
    without: list[str] = []
    """What it rested on besides and cannot be fenced, with the reason."""
    own_writes: bool = True
    """Whether what earlier actions of the same run made of the rows counts as well; not for an undo."""


class Move(NamedTuple):
    """What one of our own actions made of a row."""

    subject: str
    before: Image
    after: Image


class Present(NamedTuple):
    """What the context store says of a fence now."""

    differences: tuple[str, ...]
    untold: tuple[str, ...]
    """Tables that the store cannot speak of, with the reason."""
    behind: bool
    """The store has not reached the fence's position: nothing is compared."""
    images: tuple[Image, ...]
    """In the order of the fence's rows; of tables that are untold what the decision saw."""


def load(text: str) -> Fence:
    """The fence that a column of the ledger holds."""
    return msgspec.convert(exact_json.load(text), Fence)


def of_document(document: Any) -> Fence | None:
    """The same of a column that was read as JSON."""
    return None if document is None else msgspec.convert(document, Fence)


def to_document(fence: Fence) -> dict[str, Any]:
    """The same the other way round, numbers with every digit."""
    return msgspec.to_builtins(fence, builtin_types=(Decimal,))


def differences(rows: Sequence[FencedRow], images: Sequence[Image]) -> list[str]:
    """In words, each column that is not what the decision saw."""
    return [told for row, image in zip(rows, images, strict=True) for told in _differences(row, image)]


def compare_with_store(connection: psycopg.Connection[Any], fence: Fence) -> Present:
    """Compare with the mirrored rows, in the caller's transaction, whose settings stay as they are."""
    seen = tuple(row.values for row in fence.rows)
    if not fence.rows:
        return Present((), (), False, ())
    position = connection.execute(
        'select log, "offset" from wake.source_position where source = %s', (fence.source,)
    ).fetchone()
    if position is None or tuple(position) < (fence.log, fence.offset):
        return Present((), (), True, seen)
    untold = untold_of(connection, fence.source, (row.table for row in fence.rows))
    rows = [row for row in fence.rows if row.table not in untold]
    with connection.transaction(force_rollback=True):
        print_as_events(connection)
        images = read_mirrors(connection, fence.source, rows)
    by_subject = dict(zip((row.subject for row in rows), images, strict=True))
    return Present(
        tuple(differences(rows, images)),
        tuple(f"{table}: {reason}" for table, reason in untold.items()),
        False,
        tuple(by_subject.get(row.subject, row.values) for row in fence.rows),
    )


def accepting(fence: Fence, images: Sequence[Image]) -> Fence:
    """The same fence for which these images count as well."""
    rows = [
        row if _is_known(row, image) else msgspec.structs.replace(row, also=[*row.also, image])
        for row, image in zip(fence.rows, images, strict=True)
    ]
    return msgspec.structs.replace(fence, rows=rows)


def after_own(fence: Fence, moves: Iterable[Move]) -> Fence:
    """The same fence for which what our own actions made of its rows counts as well.

    Only what they changed does: a column that was not what the decision saw before they came is somebody else's.
    """
    found = {row.subject: row for row in fence.rows}
    for move in moves if fence.own_writes else ():
        row = found.get(move.subject)
        if row is None:
            continue
        image = _moved(row.also[-1] if row.also else row.values, move)
        if not _is_known(row, image):
            found[move.subject] = msgspec.structs.replace(row, also=[*row.also, image])
    return msgspec.structs.replace(fence, rows=list(found.values()))


def _moved(last: Image, move: Move) -> Image:
    if last is None:
        return move.after if move.before is None else None
    if move.before is None:
        return last
    if move.after is None:
        return None if all(move.before.get(name, value) == value for name, value in last.items()) else last
    was, now = move.before, move.after
    changed = {name for name in last if name in was and name in now and was[name] != now[name]}
    if any(was[name] != last[name] for name in changed):
        return last
    return {**last, **{name: now[name] for name in changed}}


def print_as_events(connection: psycopg.Connection[Any]) -> None:
    """Have values printed as events have them until this transaction ends."""
    assignments = sql.SQL(", ").join(
        sql.SQL("set_config({}, {}, true)").format(name, value) for name, value in PRINTING.items()
    )
    connection.execute(sql.SQL("select {}").format(assignments))


def mirror(source: str, table: str) -> sql.Identifier:
    """The mirror of a table of a source."""
    schema, _, name = table.partition(".")
    return sql.Identifier(topics.mirror_schema(source, schema), name)


def read_mirrors(connection: psycopg.Connection[Any], source: str, rows: Sequence[FencedRow]) -> list[Image]:
    """The fenced columns of the mirrored rows, without those whose value is not known."""
    images = read(connection, rows, lambda table: mirror(source, table))
    withheld = unknown(connection, source, {row.table for row in rows})
    for place, row in enumerate(rows):
        image, columns = images[place], unknown_of(withheld, row.table, row.key)
        if image is not None and row.values is not None:  # what is not known is not known to be different
            images[place] = {name: row.values.get(name) if name in columns else value for name, value in image.items()}
    return images


def read(
    connection: psycopg.Connection[Any], rows: Sequence[FencedRow], relation: Relation, *, lock: bool = False
) -> list[Image]:
    """The fenced columns of rows, in order; a table at a time, with `lock` its rows in the order of their keys."""
    images: list[Image] = [None] * len(rows)
    for table in sorted({row.table for row in rows}):
        places = [place for place, row in enumerate(rows) if row.table == table]
        of_table = [rows[place] for place in places]
        keys = exact_json.dump([row.key for row in of_table])
        if lock:
            connection.execute(_locking(relation(table), of_table[0].key), (keys,))
        columns = sorted({name for row in of_table for image in (row.values, *row.also) for name in image or ()})
        found = connection.execute(_reading(relation(table), of_table[0].key, columns), (keys,)).fetchall()
        for (text,), place, row in zip(found, places, of_table, strict=True):
            image = None if text is None else exact_json.load(text)
            images[place] = image if row.values is None or image is None else {name: image[name] for name in row.values}
    return images


def _locking(relation: sql.Composable, key: Collection[str]) -> sql.Composed:
    return sql.SQL(
        "select 1 from {relation} r join jsonb_populate_recordset(null::{relation}, %s::jsonb) k on {same}"
        " order by {key} for share of r"
    ).format(relation=relation, same=_same(key), key=sql.SQL(", ").join(sql.Identifier("r", name) for name in key))


def _reading(relation: sql.Composable, key: Collection[str], columns: Iterable[str]) -> sql.Composed:
    listed = sql.SQL(", ").join(sql.Identifier("r", name) for name in columns)
    return sql.SQL(
        "select (select (select to_jsonb(x) from (select {listed}) x)::text from {relation} r where {same})"
        " from rows from (jsonb_array_elements(%s::jsonb)) with ordinality as given(key, place),"
        " jsonb_populate_record(null::{relation}, given.key) k order by given.place"
    ).format(relation=relation, same=_same(key), listed=listed)


def _same(key: Collection[str]) -> sql.Composed:
    pairs = (sql.SQL("{} = {}").format(sql.Identifier("r", name), sql.Identifier("k", name)) for name in key)
    return sql.SQL(" and ").join(pairs)


def untold_of(connection: psycopg.Connection[Any], source: str, labels: Iterable[str]) -> dict[str, str]:
    """Of these tables those whose mirror does not hold every row and change up to the store's position, and why."""
    tables = sorted(set(labels))
    complete = connection.execute(
        'select s."table" from wake.mirror_state s join wake.source_position p using (source)'
        ' where s.source = %s and s."table" = any(%s) and s.complete and s.log = p.log',
        (source, tables),
    ).fetchall()
    gaps = connection.execute(
        "select distinct unnest(tables) from wake.gap where source = %s and state = 'open'", (source,)
    ).fetchall()
    whole, behind_gap = {table for (table,) in complete}, {table for (table,) in gaps}
    reasons = {table: "its mirror is not complete" for table in tables if table not in whole}
    return reasons | {table: "it is behind a gap" for table in tables if table in whole & behind_gap}


Withheld = dict[tuple[str, str], list[str]]
"""Columns of mirrored rows whose stored value is not known, by table and key (`key_text`; a long one by its digest)."""


def unknown(connection: psycopg.Connection[Any], source: str, tables: set[str]) -> Withheld:
    """Such columns of these tables."""
    rows = connection.execute(
        'select "table", subject, columns from wake.missing_value where source = %s and "table" = any(%s)',
        (source, sorted(tables)),
    ).fetchall()
    return {
        (table, subject if subject.startswith(remembered.DIGEST) else key_text(exact_json.load(subject))): columns
        for table, subject, columns in rows
        if subject.startswith(("{", remembered.DIGEST))
    }


def unknown_of(withheld: Withheld, table: str, key: Mapping[str, Any]) -> Sequence[str]:
    """Those of one row; its key's columns stand in the order of the index."""
    text = exact_json.dump(key)
    subject = remembered.subject(text)
    return withheld.get((table, key_text(key) if subject == text else subject), ())


def key_text(key: Mapping[str, Any]) -> str:
    """A key as text, in whatever order its columns stand."""
    return exact_json.dump(dict(sorted(key.items())))


def _is_known(row: FencedRow, image: Image) -> bool:
    return image == row.values or image in row.also


def _differences(row: FencedRow, image: Image) -> list[str]:
    if _is_known(row, image):
        return []
    expected = row.also[-1] if row.also else row.values
    if image is None:
        return [f"{row.subject} is gone"]
    if expected is None:
        return [f"{row.subject} is there again" if row.values is None else f"{row.subject} is not gone any more"]
    changed = [name for name, value in image.items() if expected.get(name) != value]
    return [f"{row.subject} {name}: {_spelled(expected.get(name))} -> {_spelled(image[name])}" for name in changed]


def _spelled(value: Any) -> str:
    text = exact_json.dump(value)
    return text if len(text) <= SHOWN else f"{text[:SHOWN]}…"
