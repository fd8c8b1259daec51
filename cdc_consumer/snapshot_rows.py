"""The rows of a snapshot over a mirror that has rows: which it has shown, and which wait for their place in the log.

An incremental snapshot reads the source as it is, while the log that carries its rows may be behind: a row may be newer
than its place among the changes. Told at that place it would swallow the change that made it so. What differs from the
store therefore waits until the log has passed the moment at which the snapshot ended; a row that is changed while it
waits is told by that change. What waits has its masks applied: no masked value is kept in clear.

A row may be older than its place as well, by the last change that stands before it (`recent`). Of a row that the log
has told of since the snapshot began, the log is right, and only values that it did not tell are taken. Where it told of
the row shortly before that, and another row is shown, either may be wrong: none is told, and the table is read again.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from itertools import groupby
from typing import Literal, NamedTuple

import msgspec
from psycopg import sql

from cdc_consumer.decode import Change
from cdc_consumer.shown import Shown, compare
from cdc_consumer.store import Store
from cdc_consumer.tables import TablePlan
from cdc_consumer.unknown import WHOLE_ROW
from wakestream import remembered
from wakestream.ledger import Connection

Told = Literal["before", "since"]
"""When the log told of a row itself: shortly before the snapshot began, or since then."""

_SHOWN = sql.SQL("(r.told is distinct from 'before' or r.image is not null)")
"""Rows that the snapshot has shown, or a change has touched since it began."""
_OTHERWISE = sql.SQL("r.told = 'before' and r.image is not null")
"""Rows that the log told of shortly before it began, and that it shows otherwise."""
_NOT_SHOWN = sql.SQL("r.told = 'before' and r.image is null")
"""Rows that the log told of shortly before it began, and that it has not shown."""

_fields = msgspec.json.Decoder(dict[str, msgspec.Raw])


class _Row(NamedTuple):
    key: str
    image: str | None
    """What waits to be told of it."""
    told: Told | None


class SnapshotRows:
    """Kept in the ledger, moved inside the cycle's transaction."""

    def __init__(self, connection: Connection, source: str, tables: Mapping[str, TablePlan]) -> None:
        self._connection = connection
        self._source = source
        self._tables = tables
        rows = connection.execute(
            'select distinct "table" from wake.snapshot_row where source = %s and told is not null', (source,)
        ).fetchall()
        self._told = {label for (label,) in rows}

    def hold(self, store: Store, changes: Sequence[Change]) -> None:
        """Rows that the snapshot shows: those that differ from the store wait."""
        for label, group in groupby(changes, key=lambda change: change.table):
            plan, listed = self._tables[label], list(group)
            if not plan.settings.mirror:
                continue  # Whoever keeps what is told has it from the log.
            compared = compare(self._connection, store, plan, listed)
            told = self.told(label, [shown.key for shown in compared])
            self._write(label, [_waiting(plan, shown, told.get(shown.key)) for shown in compared])

    def track(self, label: str, keys: Sequence[str], told: Told = "since") -> None:
        """Rows of which the log tells itself: what the snapshot may have shown of them is told by it."""
        self._told.add(label)
        self._write(label, [_Row(key, None, told) for key in keys])

    def told(self, label: str, keys: Collection[str]) -> dict[str, Told]:
        """Those of these rows that the log has told of itself."""
        if label not in self._told:
            return {}
        subjects = {remembered.subject(key): key for key in keys}
        rows = self._connection.ask(
            'select subject, told from wake.snapshot_row where source = %s and "table" = %s and subject = any(%s)'
            " and told is not null",
            (self._source, label, list(subjects)),
        ).fetchall()
        return {subjects[subject]: told for subject, told in rows}

    def tells(self, label: str) -> bool:
        """Whether the log has told of any row of this table."""
        return label in self._told

    def forget(self, label: str) -> None:
        """Nothing was shown of this table."""
        self._told.discard(label)
        self._connection.execute(
            'delete from wake.snapshot_row where source = %s and "table" = %s', (self._source, label)
        )

    def count(self, label: str) -> int:
        """How many rows the snapshot has shown, or a change has touched while it read."""
        return self._count(label, _SHOWN)

    def waiting(self, labels: Sequence[str], limit: int) -> list[Change]:
        """The first rows that wait, in a fixed order."""
        rows = self._connection.execute(
            'select "table", subject, image, told is not null from wake.snapshot_row where source = %s'
            " and \"table\" = any(%s) and image is not null and told is distinct from 'before'"
            ' order by "table" collate "C", subject collate "C" limit %s',
            (self._source, list(labels), limit),
        ).fetchall()
        return [
            Change("r", label, self._key(label, subject, image).encode(), image.encode(), kept=True, fills=fills)
            for label, subject, image, fills in rows
        ]

    def contradicted(self, label: str, *, absent: bool) -> int:
        """How many rows the log told of shortly before the snapshot began, and the snapshot shows otherwise.

        With `absent` also those that it does not show and the mirror has.
        """
        plan = self._tables[label]
        if label not in self._told or not plan.settings.mirror:
            return 0
        shown = self._count(label, _OTHERWISE)
        return shown + (self._mirrored(plan, _NOT_SHOWN) if absent and self._count(label, _NOT_SHOWN) else 0)

    def gone(self, label: str) -> int:
        """How many rows the mirror does not have that the snapshot has shown, or a change has taken while it read."""
        plan = self._tables[label]
        if label not in self._told or not plan.settings.mirror:
            return 0
        return self._count(label, _SHOWN) - self._mirrored(plan, _SHOWN)

    def _count(self, label: str, which: sql.SQL) -> int:
        query = sql.SQL('select count(*) from wake.snapshot_row r where source = %s and "table" = %s and {}')
        row = self._connection.execute(query.format(which), (self._source, label)).fetchone()
        return 0 if row is None else int(row[0])

    def _mirrored(self, plan: TablePlan, which: sql.SQL) -> int:
        """How many of these the mirror has."""
        query = sql.SQL("select count(*) from {} as m where {}").format(plan.mirror, _kept(plan, which))
        row = self._connection.execute(query, (self._source, plan.label)).fetchone()
        return 0 if row is None else int(row[0])

    def unseen(self, labels: Sequence[str], limit: int | None = None) -> list[Change]:
        """Deletes for mirrored rows that the snapshot has not shown and no change has touched; in a fixed order."""
        changes: list[Change] = []
        for label in sorted(labels):
            left = None if limit is None else limit - len(changes)
            keys = self._unseen_keys(self._tables[label], left)
            changes += [Change("d", label, key.encode(), None, kept=True) for key in keys]
        return changes

    def _key(self, label: str, subject: str, image: str) -> str:
        """The key of a row that waits; one that is too long to be remembered stands in its image."""
        if not subject.startswith(remembered.DIGEST):
            return subject
        return Store.key_of(self._tables[label], _fields.decode(image))

    def _write(self, label: str, rows: Sequence[_Row]) -> None:
        newest = {remembered.subject(row.key): row for row in rows}  # a key may be shown twice
        images, told = [row.image for row in newest.values()], [row.told for row in newest.values()]
        self._connection.ask(
            'insert into wake.snapshot_row (source, "table", subject, image, told) select %s, %s, * from'
            " unnest(%s::text[], %s::text[], %s::text[])"
            ' on conflict (source, "table", subject) do update set image = excluded.image, told = excluded.told',
            (self._source, label, list(newest), images, told),
        )

    def _unseen_keys(self, plan: TablePlan, limit: int | None) -> list[str]:
        if not plan.settings.mirror:
            return []
        names = [sql.SQL("m.{}").format(sql.Identifier(column.name)) for column in plan.key_columns]
        query = sql.SQL("select {key} from {mirror} as m where {kept} is null order by {names} limit %s").format(
            key=plan.stored_key,
            kept=_kept(plan, sql.SQL("true")),
            mirror=plan.mirror,
            names=sql.SQL(", ").join(names),
        )
        rows = self._connection.execute(query, (self._source, plan.label, limit)).fetchall()
        return [key for (key,) in rows]


def _kept(plan: TablePlan, what: sql.SQL) -> sql.Composed:
    """What is kept of a mirrored row `m` (two parameters: source and table); null where nothing is.

    A subquery for one value is looked up by the index. In a join, while PostgreSQL has no statistics of what the
    snapshot has just written, every row would be compared with every other.
    """
    return sql.SQL(
        '(select {} from wake.snapshot_row r where r.source = %s and r."table" = %s and r.subject = {})'
    ).format(what, remembered.subject_sql(plan.stored_key))


def _waiting(plan: TablePlan, shown: Shown, told: Told | None) -> _Row:
    """What is kept of a row that is shown, and of which the log has told itself at this time."""
    if told is None or shown.image is None:  # Where both say the same, it does not matter who is right.
        return _Row(shown.key, None if shown.image is None else shown.image.decode(), told if told == "since" else None)
    if told == "before" and shown.differs:
        return _Row(shown.key, shown.image.decode(), "before")
    fields = _fields.decode(shown.image)
    lacking = {name: raw for name, raw in fields.items() if name in shown.lacks or name in plan.table.key}
    fills = WHOLE_ROW not in shown.lacks and not shown.lacks.isdisjoint(lacking)
    return _Row(shown.key, msgspec.json.encode(lacking).decode() if fills else None, "since")
