"""The fence of an SQL action, held in its own transaction: rows locked and compared before the statement runs.

What the role may not lock is compared without a lock; what it may not read, or what stands in another database than the
source's, is compared with the context store.
"""

from __future__ import annotations

import contextlib
from collections.abc import Generator, Sequence
from typing import Any, NamedTuple

import psycopg
from psycopg import conninfo, sql

from agent.effects.outcome import Pending
from wakestream import exact_json, fences
from wakestream.fences import Fence, FencedRow, Image, Move

_Connection = psycopg.Connection[Any]

LOCKED = "locked"
COMPARED = "compared, not locked"

_RIGHTS = (
    "select n.nspname || '.' || c.relname, c.relkind in ('r', 'p') and has_any_column_privilege(c.oid, 'update')"
    " from json_to_recordset(%s::json) as w(schema text, name text, columns text[])"
    " join pg_namespace n on n.nspname = w.schema and has_schema_privilege(n.oid, 'usage')"
    " join pg_class c on c.relnamespace = n.oid and c.relname = w.name"
    " where not row_security_active(c.oid) and cardinality(w.columns) ="
    " (select count(*) from pg_attribute a where a.attrelid = c.oid and a.attname = any(w.columns)"
    " and not a.attisdropped and has_column_privilege(c.oid, a.attnum, 'select'))"
)


class Held(NamedTuple):
    """What came of holding a fence."""

    differences: tuple[str, ...]
    how: str
    """For people: `locked`, `compared, not locked`, or what could not be compared."""
    later: tuple[FencedRow, ...]
    """Locked rows that later actions of the run rest on."""
    before: tuple[Image, ...]
    """What they were before the statement."""


class _Sorted(NamedTuple):
    """Rows by what the role may do with them."""

    lockable: list[FencedRow]
    readable: list[FencedRow]
    other: list[FencedRow]


def is_home(connection: _Connection, fence: Fence, system_identifier: str | None, capture: str | None) -> bool:
    """Whether this is the source's own database: the same cluster, told by its identifier, and the same name in it.

    A role that may not read the identifier is judged by host and port, as the two URLs give them.
    """
    if capture is None:
        return False
    there, here = conninfo.conninfo_to_dict(capture), connection.info
    if here.dbname != (there.get("dbname") or there.get("user")):
        return False
    if system_identifier is not None:
        return system_identifier == fence.system_identifier
    return (here.host, here.port) == (there.get("host") or "", int(there.get("port") or 5432))


def hold(connection: _Connection, action: Pending, *, at_home: bool) -> Held:
    """Lock what may be locked, tables and keys in order, and compare everything with what the decision saw."""
    fence = action.fence
    if fence is None:
        return Held((), "none", (), ())
    later = [row for each in action.later if each.source == fence.source for row in each.rows] if at_home else []
    own = _sort(connection, fence.rows) if at_home else _Sorted([], [], fence.rows)
    following = _sort(connection, later).lockable
    with _printing(connection):
        held = fences.read(connection, [*own.lockable, *following], _relation, lock=True)
        read = fences.read(connection, own.readable, _relation)
    count = len(own.lockable)
    differences = fences.differences([*own.lockable, *own.readable], [*held[:count], *read])
    from_store, untold = _of_store(action, own.other)
    return Held((*differences, *from_store), _how(fence, own, untold), tuple(following), tuple(held[count:]))


def written(connection: _Connection) -> int | None:
    """A place in the server's log behind which everything stands that this transaction can see."""
    row = connection.execute("select (pg_current_wal_insert_lsn() - '0/0')::bigint").fetchone()
    return row[0] if row else None


def moved(connection: _Connection, held: Held) -> list[Move]:
    """What the statement has made of rows that later actions of the run rest on."""
    if not held.later:
        return []
    with _printing(connection):
        after = fences.read(connection, held.later, _relation)
    found = zip(held.later, held.before, after, strict=True)
    return [Move(row.subject, was, now) for row, was, now in found if was != now]


def _sort(connection: _Connection, rows: Sequence[FencedRow]) -> _Sorted:
    found = _Sorted([], [], [])
    if not rows:
        return found
    columns: dict[str, set[str]] = {}
    for row in rows:
        columns.setdefault(row.table, set()).update(row.key, *(image or () for image in (row.values, *row.also)))
    wanted = [
        {"schema": table.partition(".")[0], "name": table.partition(".")[2], "columns": sorted(names)}
        for table, names in columns.items()
    ]
    rights: dict[str, bool] = dict(connection.execute(_RIGHTS, (exact_json.dump(wanted),)).fetchall())
    for row in rows:
        lockable = rights.get(row.table)
        (found.other if lockable is None else found.lockable if lockable else found.readable).append(row)
    return found


def _of_store(action: Pending, rows: Sequence[FencedRow]) -> tuple[list[str], tuple[str, ...]]:
    """The differences that the context store tells, and what it cannot tell."""
    if not rows or action.fence is None:
        return [], ()
    if action.compare is None:
        return [], tuple(f"{row.subject}: nobody to ask" for row in rows)
    present = action.compare()
    images = dict(zip((row.subject for row in action.fence.rows), present.images, strict=True))
    tables = {row.table for row in rows}
    untold = tuple(each for each in present.untold if each.partition(":")[0] in tables)
    return fences.differences(rows, [images[row.subject] for row in rows]), untold


def _how(fence: Fence, rows: _Sorted, untold: tuple[str, ...]) -> str:
    """In words, how surely the fence holds until the commit."""
    absent = any(row.values is None for row in rows.lockable)  # there is no row to lock
    first = COMPARED if rows.readable or rows.other or absent else LOCKED
    return "; ".join([first, *(f"not compared: {each}" for each in (*untold, *fence.without))])


def _relation(table: str) -> sql.Identifier:
    schema, _, name = table.partition(".")
    return sql.Identifier(schema, name)


@contextlib.contextmanager
def _printing(connection: _Connection) -> Generator[None]:
    """Values print as events have them; the statement finds the settings of its role again."""
    names = list(fences.PRINTING)
    shown = sql.SQL(", ").join(sql.SQL("current_setting({})").format(name) for name in names)
    before = connection.execute(sql.SQL("select {}").format(shown)).fetchone() or ()
    fences.print_as_events(connection)
    yield
    restored = sql.SQL(", ").join(
        sql.SQL("set_config({}, {}, true)").format(name, value) for name, value in zip(names, before, strict=True)
    )
    connection.execute(sql.SQL("select {}").format(restored))
