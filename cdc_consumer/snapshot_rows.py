"""The rows of a snapshot over a mirror that has rows: which it has shown, and which wait for their place in the log.

An incremental snapshot reads the source as it is, while the log that carries its rows may be behind: a row may be newer
than its place among the changes, never older. Told at that place it would swallow the change that made it so. What
differs from the store therefore waits until the log has passed the moment at which the snapshot ended; a row that is
changed while it waits is told by that change. What waits has its masks applied: no masked value is kept in clear.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import groupby

import msgspec
from psycopg import sql

from cdc_consumer.decode import Change
from cdc_consumer.store import Store
from cdc_consumer.tables import TablePlan
from wakestream import remembered
from wakestream.ledger import Connection

_fields = msgspec.json.Decoder(dict[str, msgspec.Raw])


class SnapshotRows:
    """Kept in the ledger, moved inside the cycle's transaction."""

    def __init__(self, connection: Connection, source: str, tables: Mapping[str, TablePlan]) -> None:
        self._connection = connection
        self._source = source
        self._tables = tables

    def hold(self, store: Store, changes: Sequence[Change]) -> None:
        """Rows that the snapshot shows: those that differ from the store wait."""
        for label, group in groupby(changes, key=lambda change: change.table):
            listed = list(group)
            compared = store.compare(self._tables[label], listed)
            self._write(label, [(key, None if image is None else image.decode()) for key, image in compared])

    def track(self, label: str, keys: Sequence[str]) -> None:
        """Rows that a change has touched: what the snapshot may have shown of them is told by it."""
        self._write(label, [(key, None) for key in keys])

    def forget(self, label: str) -> None:
        """Nothing was shown of this table."""
        self._connection.execute(
            'delete from wake.snapshot_row where source = %s and "table" = %s', (self._source, label)
        )

    def count(self, label: str) -> int:
        """How many rows the snapshot has shown, or a change has touched while it read."""
        row = self._connection.execute(
            'select count(*) from wake.snapshot_row where source = %s and "table" = %s', (self._source, label)
        ).fetchone()
        return 0 if row is None else int(row[0])

    def waiting(self, labels: Sequence[str], limit: int) -> list[Change]:
        """The first rows that wait, in a fixed order."""
        rows = self._connection.execute(
            'select "table", subject, image from wake.snapshot_row where source = %s and "table" = any(%s)'
            ' and image is not null order by "table" collate "C", subject collate "C" limit %s',
            (self._source, list(labels), limit),
        ).fetchall()
        return [
            Change("r", label, self._key(label, subject, image).encode(), image.encode(), kept=True)
            for label, subject, image in rows
        ]

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

    def _write(self, label: str, rows: Sequence[tuple[str, str | None]]) -> None:
        newest = {remembered.subject(key): image for key, image in rows}  # a key may be shown twice
        self._connection.ask(
            'insert into wake.snapshot_row (source, "table", subject, image) select %s, %s, * from unnest(%s::text[],'
            ' %s::text[]) on conflict (source, "table", subject) do update set image = excluded.image',
            (self._source, label, list(newest), list(newest.values())),
        )

    def _unseen_keys(self, plan: TablePlan, limit: int | None) -> list[str]:
        if not plan.settings.mirror:
            return []
        names = [sql.SQL("m.{}").format(sql.Identifier(column.name)) for column in plan.key_columns]
        query = sql.SQL(
            "select {key} from {mirror} as m where not exists (select from wake.snapshot_row r"
            ' where r.source = %s and r."table" = %s and r.subject = {subject}) order by {names} limit %s'
        ).format(
            key=plan.stored_key,
            subject=remembered.subject_sql(plan.stored_key),
            mirror=plan.mirror,
            names=sql.SQL(", ").join(names),
        )
        rows = self._connection.execute(query, (self._source, plan.label, limit)).fetchall()
        return [key for (key,) in rows]
