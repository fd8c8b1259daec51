"""Stored values that are not known: Debezium did not tell them, or what the mirror holds may be newer or older."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

from psycopg import sql

from cdc_consumer.tables import TablePlan
from wakestream import remembered
from wakestream.ledger import Connection
from wakestream.withholding import LOST_ROW

WHOLE_ROW = "*"
"""Stands for a row of which nothing is known."""


class Unknown:
    """What is not known of one source's mirrors, in the ledger, inside the caller's transaction."""

    def __init__(self, connection: Connection, source: str) -> None:
        self._connection = connection
        self._source = source
        rows = connection.execute(
            'select "table", array_agg(subject) filter (where %s = any(columns)) from wake.missing_value'
            ' where source = %s group by "table"',
            (LOST_ROW, source),
        ).fetchall()
        self._tables = {label for label, _ in rows}
        self._lost: dict[str, set[str]] = {label: set(keys or ()) for label, keys in rows}

    def any(self, label: str) -> bool:
        """Whether any stored value of this table may be unknown."""
        return label in self._tables

    def lacks(self, label: str, key: str | None = None) -> bool:
        """Whether the source has rows of this table, or the one with this key, that the mirror lacks."""
        lost = self._lost.get(label, ())
        return bool(lost) if key is None else remembered.subject(key) in lost

    def of(self, label: str, keys: Sequence[str]) -> dict[str, frozenset[str]]:
        """Which stored columns of these rows are not known, by key; rows without such columns are absent."""
        if label not in self._tables:
            return {}
        subjects = {key: remembered.subject(key) for key in keys}
        rows = self._connection.ask(
            'select subject, columns from wake.missing_value where source = %s and "table" = %s and subject = any(%s)',
            (self._source, label, list(subjects.values())),
        ).fetchall()
        found = {subject: frozenset(columns) for subject, columns in rows}
        return {key: found[subject] for key, subject in subjects.items() if subject in found}

    def remember(self, label: str, key: str, columns: Collection[str]) -> None:
        """Of this row these columns are not known, and no others."""
        if not columns:
            self.forget(label, [key])
            return
        self._tables.add(label)
        if LOST_ROW in columns:
            self._lost.setdefault(label, set()).add(remembered.subject(key))
        elif label in self._lost:
            self._lost[label].discard(remembered.subject(key))
        self._connection.ask(
            'insert into wake.missing_value (source, "table", subject, columns) values (%s, %s, %s, %s)'
            ' on conflict (source, "table", subject) do update set columns = excluded.columns',
            (self._source, label, remembered.subject(key), sorted(columns)),
        )

    def forget(self, label: str, keys: Sequence[str]) -> None:
        """All of these rows is known."""
        if label in self._lost:
            self._lost[label].difference_update(map(remembered.subject, keys))
        self._connection.ask(
            'delete from wake.missing_value where source = %s and "table" = %s and subject = any(%s)',
            (self._source, label, [remembered.subject(key) for key in keys]),
        )

    def forget_table(self, label: str) -> None:
        """The table is empty."""
        self._lost.pop(label, None)
        self._connection.ask('delete from wake.missing_value where source = %s and "table" = %s', (self._source, label))

    def doubt(self, plan: TablePlan, keys: Sequence[str]) -> None:
        """What the mirror has of these rows may be newer or older than it should: it is shown, and never a `before`."""
        self._doubt(plan, sql.SQL("unnest(%s::text[])"), [remembered.subject(key) for key in keys])

    def doubt_all(self, plan: TablePlan) -> None:
        """The same of every row that the mirror has."""
        if plan.settings.mirror:
            name = remembered.subject_sql(plan.stored_key)
            rows = sql.SQL("(select {} from {} m)").format(name, plan.mirror)
            self._doubt(plan, rows)

    def _doubt(self, plan: TablePlan, subjects: sql.Composable, *parameters: Any) -> None:
        self._tables.add(plan.label)
        self._connection.execute(
            sql.SQL(
                'insert into wake.missing_value as v (source, "table", subject, columns)'
                " select %s, %s, x.subject, %s from {} as x(subject)"
                ' on conflict (source, "table", subject) do update set columns ='
                " array(select distinct unnest(v.columns || excluded.columns) order by 1)"
            ).format(subjects),
            (self._source, plan.label, [WHOLE_ROW], *parameters),
        )
