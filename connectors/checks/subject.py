"""What the checks of one database share: the session, and what was read over it once."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field

from connectors import databases, services
from connectors.checks.remedies import quoted
from connectors.databases import Connection
from connectors.services import Service
from wakestream import inspection, topics
from wakestream.capture import CapturedTable
from wakestream.catalogue import Catalogue, Table

_TIMEOUTS = ("statement_timeout", "idle_in_transaction_session_timeout", "transaction_timeout", "idle_session_timeout")


@dataclass(frozen=True)
class Subject:
    """A database under examination."""

    source: str
    """Its name in the file; empty before there is one."""
    reader: Connection
    user: str
    """The role that reads: the file's `capture`."""
    service: Service
    catalogue: Catalogue
    tables: dict[str, CapturedTable]
    """What is, or would be, captured, by `schema.table`; also tables that do not exist."""
    timeouts: dict[str, str] = field(default_factory=dict[str, str])
    """Timeouts that a session of the role has unless it says otherwise, in milliseconds."""

    @property
    def version(self) -> int:
        """`server_version_num`."""
        return self.catalogue.server_version

    @property
    def slot(self) -> str:
        """The name of slot and publication; that of nothing before there is a configuration."""
        return topics.slot(self.source) if self.source else ""

    @property
    def role(self) -> str:
        """The reading role as SQL needs it."""
        return quoted(self.user)

    def of(self, part: str) -> str:
        """The object of a finding, with the source's name before it."""
        return f"{self.source}.{part}" if self.source else part

    @property
    def whole(self) -> str:
        """The object of a finding about the database itself."""
        return self.source or "server"

    def existing(self) -> dict[str, tuple[Table, CapturedTable]]:
        """The tables that exist, with what the file says of them."""
        found = {label: self.catalogue.table(label) for label in sorted(self.tables)}
        return {label: (table, self.tables[label]) for label, table in found.items() if table is not None}

    def exclude(self, label: str, columns: list[str]) -> str:
        """The setting that leaves columns out."""
        already = [name for name in self.tables[label].exclude if name not in columns]
        listed = ", ".join(map(_word, [*already, *columns]))
        return f"wake.yaml: sources.{self.source or '<source>'}.tables: {{{_word(label)}: {{exclude: [{listed}]}}}}"


def _word(text: str) -> str:
    """A name as YAML needs it."""
    return text if re.fullmatch(r"[A-Za-z_][A-Za-z0-9_.]*", text) else json.dumps(text, ensure_ascii=False)


def sql_name(table: Table) -> str:
    """The table as SQL needs it."""
    return quoted(table.schema, table.name)


def read(reader: Connection, source: str, wanted: dict[str, CapturedTable] | None) -> Subject:
    """Read what the checks share, over a session that has the role's own timeouts; None wants every table."""
    timeouts = _timeouts(reader)
    reader.execute(f"set statement_timeout = {databases.STATEMENT_TIMEOUT}".encode())
    captured = wanted if wanted is not None else {label: CapturedTable() for label in _all_tables(reader)}
    catalogue = inspection.read_catalogue(reader, source, captured)
    return of_capture(reader, source, catalogue, captured, timeouts)


def of_capture(
    reader: Connection,
    source: str,
    catalogue: Catalogue,
    tables: dict[str, CapturedTable],
    timeouts: dict[str, str] | None = None,
) -> Subject:
    """The same with a catalogue that was read already."""
    row = reader.execute("select current_user").fetchone()
    user = row[0] if row else ""
    return Subject(source, reader, user, services.recognise(reader), catalogue, tables, timeouts or {})


def _timeouts(reader: Connection) -> dict[str, str]:
    rows = reader.execute("select name, setting from pg_settings where name = any(%s)", (list(_TIMEOUTS),)).fetchall()
    return dict(rows)


def _all_tables(reader: Connection) -> list[str]:
    """Every table that somebody could want captured: no partitions, and none that an extension brought."""
    rows = reader.execute(
        "select n.nspname || '.' || c.relname from pg_class c join pg_namespace n on n.oid = c.relnamespace"
        " where c.relkind in ('r', 'p') and not c.relispartition and c.relpersistence <> 't'"
        " and n.nspname not in ('pg_catalog', 'information_schema')"
        " and not exists (select from pg_depend d where d.classid = 'pg_class'::regclass and d.objid = c.oid"
        "                 and d.deptype = 'e') order by 1"
    ).fetchall()
    return [row[0] for row in rows]
