"""The context store of one source as people ask for it: its position, its tables, one row."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from typing import NamedTuple
from urllib.parse import unquote

import msgspec
import psycopg
from psycopg import sql

from cdc_consumer import entity_documents
from cdc_consumer.entities import EntityPlan
from cdc_consumer.plan import Plan
from cdc_consumer.roots import Touched
from cdc_consumer.store import Store
from cdc_consumer.tables import TablePlan
from console import sessions, views
from wakestream import capture, exact_json, fences, ledger, remembered
from wakestream.config import Config, reveal
from wakestream.config.loading import nearest
from wakestream.errors import ConfigurationError, RefusedError

Connection = ledger.Connection

AS_EVENTS = " ".join(f"-c {name}={value}" for name, value in fences.PRINTING.items())
"""The settings under which values print as events have them, for a session's start."""


class TableState(NamedTuple):
    """What is known of one table's mirror."""

    complete: bool
    gaps: list[str]

    @property
    def trusted(self) -> bool:
        """Whether it holds every row and every change up to the position."""
        return self.complete and not self.gaps


class ContextStore:
    """Reads the store of one source; use it as a context manager."""

    def __init__(self, connection: Connection, source: str) -> None:
        self.connection = connection
        self.source = source
        self.plan = Plan(self._revision())

    @classmethod
    @contextmanager
    def opened(cls, config: Config, source: str) -> Generator[ContextStore]:
        """A read-only session with the ledger, and the revision under which the consumer works.

        Raises `ConfigurationError` for an unknown source.
        """
        if source not in config.sources:
            raise ConfigurationError(f"no source `{source}`{nearest(source, config.sources)}")
        url = reveal(config.ledger.url)
        sessions.open_ledger(url)
        session = {**fences.PRINTING, "default_transaction_read_only": "on", "search_path": "pg_catalog"}
        try:
            with ledger.connect(url, name="context", session=session, autocommit=True) as connection:
                yield cls(connection, source)
        except psycopg.Error as error:
            raise sessions.convert(error) from error

    def table(self, label: str) -> TablePlan:
        """One captured table. Raises `RefusedError` for others."""
        plan = self.plan.tables.get(label)
        if plan is None:
            raise RefusedError(f"`{label}` is no captured table of {self.source}{nearest(label, self.plan.tables)}")
        return plan

    def entity(self, name: str) -> EntityPlan:
        """One entity. Raises `RefusedError` for one that the store does not know."""
        plan = next((each for each in self.plan.entities if each.entity.name == name), None)
        if plan is None:
            known = [each.entity.name for each in self.plan.entities]
            raise RefusedError(f"`{name}` is no entity of {self.source} in the store{nearest(name, known)}")
        return plan

    def position(self) -> views.StorePosition:
        """Where the store stands now."""
        row = self.connection.execute(
            'select log, "offset", "commit", clock from wake.source_position where source = %s', (self.source,)
        ).fetchone()
        log, offset, commit, clock = row or (0, -1, None, None)
        return views.StorePosition(
            log=log, offset=offset, commit=None if commit is None else views.lsn(commit), clock=clock
        )

    def state(self, label: str) -> TableState:
        """Whether a table's mirror is whole."""
        complete = self.connection.execute(
            "select s.complete and s.log = p.log from wake.mirror_state s join wake.source_position p using (source)"
            ' where s.source = %s and s."table" = %s',
            (self.source, label),
        ).fetchone()
        gaps = self.connection.execute(
            "select reason from wake.gap where source = %s and state = 'open' and %s = any(tables) order by number",
            (self.source, label),
        ).fetchall()
        return TableState(bool(complete and complete[0]), [reason for (reason,) in gaps])

    def row(self, label: str, key: str) -> views.StoredRow:
        """One row by its key's values as a subject has them: `7`, or `LH400,12A`.

        Raises `RefusedError` for a table without mirror and a key that is none of its.
        """
        plan = self.table(label)
        if plan.keyless:
            raise RefusedError(f"{label} has no primary key, so the store has no rows of it: none can be told apart")
        if not plan.settings.mirror:
            raise RefusedError(f"{label} is captured with `mirror: false`, so the store has no rows of it")
        values = parse_key(plan, key)
        with self.connection.transaction():
            self.connection.execute("set transaction isolation level repeatable read")
            found = self.find(plan, values)
            missing = self.connection.execute(
                'select columns from wake.missing_value where source = %s and "table" = %s and subject = %s',
                (self.source, label, remembered.subject(found[0])),
            ).fetchone()
            state, position = self.state(label), self.position()
        unknown: list[str] = list(missing[0]) if missing else []
        row = None if found[1] is None else exact_json.load(found[1])
        return views.StoredRow(
            source=self.source,
            table=label,
            key=exact_json.load(found[0]),
            row=None if row is None else {name: value for name, value in row.items() if name not in unknown},
            missing=[*plan.lost, *unknown],
            complete=state.complete,
            gaps=state.gaps,
            position=position,
        )

    def document(self, name: str, key: str) -> views.StoredEntity:
        """One entity by its root's key, as the agent would see it now.

        Raises `RefusedError` for an entity that the store does not know and a key that is none of its.
        """
        plan = self.entity(name)
        values = parse_key(plan.root, key.removeprefix(f"{name}/"))
        with self.connection.transaction():
            self.connection.execute("set transaction isolation level repeatable read")
            text, _ = self.find(plan.root, values)
            roots = {name: Touched(text)}
            store = Store(self.connection, self.source, self.plan.tables, careful=True)
            found = entity_documents.Asked(plan, self.connection, store, roots).take().get(name)
            states = {label: self.state(label) for label in sorted(plan.involved)}
            position = self.position()
        if found is not None and found.error:
            raise RefusedError(
                f"{name}/{key.removeprefix(f'{name}/')} cannot be worked out from its rows: {found.error}"
            )
        return views.StoredEntity(
            entity=name,
            source=self.source,
            key=exact_json.load(text),
            document=None if found is None else exact_json.load(found.text),
            missing=[*plan.lost, *(found.missing if found else ())],
            untrusted=list(plan.untrusted),
            incomplete=[label for label, state in states.items() if not state.trusted],
            position=position,
        )

    def find(self, plan: TablePlan, values: dict[str, str]) -> tuple[str, str | None]:
        """The key as the store prints it, and the row."""
        columns = sql.SQL(", ").join(
            sql.SQL("x.{}::{} as {}").format(sql.Identifier(c.name), plan.sql_type(c), sql.Identifier(c.name))
            for c in plan.key_columns
        )
        names = sql.SQL(", ").join(sql.SQL("{} text").format(sql.Identifier(c.name)) for c in plan.key_columns)
        same = sql.SQL(" and ").join(sql.SQL("r.{0} = m.{0}").format(sql.Identifier(c.name)) for c in plan.key_columns)
        query = sql.SQL(
            "select {key}, to_jsonb(r.*)::text from (select {columns} from json_to_record(%s::json) as x({names})) m"
            " left join {mirror} r on {same}"
        ).format(key=plan.stored_key, columns=columns, names=names, mirror=plan.mirror, same=same)
        try:
            row = self.connection.execute(query, (msgspec.json.encode(values).decode(),)).fetchone()
        except psycopg.DataError as error:
            said = str(error).partition("\n")[0]
            raise RefusedError(f"`{','.join(values.values())}` is no key of {plan.label}: {said}") from error
        return row or ("{}", None)

    def _revision(self) -> capture.Revision:
        row = self.connection.execute(
            "select revision from wake.source_position where source = %s", (self.source,)
        ).fetchone()
        found = capture.load(self.connection, self.source, row[0]) if row else None
        if found is None:
            raise RefusedError(f"the store has nothing of {self.source} yet; run `wake apply`, then `wake consume`")
        return found


def parse_key(plan: TablePlan, key: str) -> dict[str, str]:
    """The values of a key as a subject has them, by column. Raises `RefusedError` for another number of values."""
    names = [column.name for column in plan.key_columns]
    values = [unquote(value) for value in key.removeprefix(f"{plan.label}/").split(",")]
    if len(values) != len(names):
        raise RefusedError(
            f"`{key}` has {len(values)} values and the key of {plan.label} is {', '.join(names)}; write a comma between"
            " the values, and %2C for one inside a value"
        )
    return dict(zip(names, values, strict=True))
