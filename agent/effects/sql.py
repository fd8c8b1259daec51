"""A statement in a database, exactly once.

The transaction's id is recorded in the ledger before the commit, so that after a crash PostgreSQL itself says what
became of it. The signed mark at the transaction's start makes the change log prove it too.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any, LiteralString, cast

import msgspec
import psycopg
from psycopg import sql

from agent import json_text
from agent.effects import sql_fence
from agent.effects.outcome import (
    MOVED,
    Again,
    Failed,
    Material,
    Outcome,
    Pending,
    Recorder,
    Setting,
    Stale,
    Succeeded,
    Unknown,
)
from wakestream import config, marks, program_sql
from wakestream.config.actions import SqlAction
from wakestream.errors import TransientError
from wakestream.failpoint import reach

LOCK_TIMEOUT = 5.0  # seconds at most
IDLE_TIMEOUT = 20.0  # seconds; whoever is frozen in a transaction, or waits for the ledger, locks nobody out for longer
PATIENCE = 3.0  # seconds that a transaction in progress is waited for before its backend is ended
TERMINATION = 5000  # milliseconds

_AGAIN_CLASSES = {"08", "25", "40", "53", "55", "57", "58"}  # 25: it stood idle, and the server has ended it
_CONNECTION_CLASSES = {"", "08", "57", "58", "XX"}
_Connection = psycopg.Connection[Any]


class SqlPlan(msgspec.Struct, frozen=True):
    """The effect as the ledger keeps it."""

    connection: str
    statement: str
    values: dict[str, Any]
    text: str
    """For people: the statement with its values."""
    timeout_s: float
    rows: int | None = None
    arrays: list[str] = []


class SqlIntent(msgspec.Struct, frozen=True):
    """What tells later what became of the transaction."""

    xid: str
    pid: int
    backend_start: str
    system_identifier: str | None
    timeline: int | None
    """Null with the identifier where the role may not read the control file; then only the receipt can tell."""
    database: str = ""
    began_at: datetime | None = None
    """By the server's clock."""


class SqlEffect:
    """Executes and settles SQL actions."""

    def __init__(
        self,
        connections: Mapping[str, str],
        mark_key: bytes,
        has_receipt: Callable[[str], bool],
        captures: Mapping[str, str] | None = None,
    ) -> None:
        self._connections = connections
        self._mark_key = mark_key
        self._has_receipt = has_receipt
        self._captures = captures or {}

    @classmethod
    def open(cls, setting: Setting) -> SqlEffect:
        """With the configured connections."""
        connections = {name: config.reveal(url) for name, url in setting.config.connections.items()}
        captures = {name: config.reveal(source.capture) for name, source in setting.config.sources.items()}
        return cls(connections, setting.mark_key, setting.has_receipt, captures)

    @staticmethod
    def plan(material: Material) -> dict[str, Any]:
        """The statement with its values."""
        settings, values = cast("SqlAction", material.action.settings), material.values
        plan = SqlPlan(
            connection=settings.connection,
            statement=settings.statement,
            values=values,
            text=render(settings.statement, values),
            timeout_s=settings.timeout,
            rows=settings.rows,
            arrays=sorted(material.action.arrays),
        )
        return msgspec.structs.asdict(plan)

    def execute(self, action: Pending, record: Recorder) -> Outcome:
        """Run the statement in a transaction of its own."""
        plan = msgspec.convert(action.effect, SqlPlan)
        if plan.connection not in self._connections:
            return Failed(f"the configuration has no connection `{plan.connection}` any more; add it and retry")
        try:
            with contextlib.closing(self._connect(plan)) as connection:
                intent = _begin(connection, plan)
                reach("agent.6.before_intent")
                record(msgspec.to_builtins(intent))
                reach("agent.6.after_intent")
                return self._finish(connection, plan, replace(action, intent=msgspec.to_builtins(intent)), record)
        except psycopg.Error as error:
            return _outcome(error)

    def _finish(self, connection: _Connection, plan: SqlPlan, action: Pending, record: Recorder) -> Outcome:
        intent, began = msgspec.convert(action.intent, SqlIntent), time.monotonic()
        mark = marks.sign_mark(self._mark_key, action.cause, int(intent.xid))
        connection.execute("select pg_logical_emit_message(true, %s, %s::text)", (marks.PREFIX, mark))
        at_home = self._at_home(connection, action, intent)
        held = sql_fence.hold(connection, action, at_home=at_home)
        if held.differences:
            wal = sql_fence.written(connection) if at_home else None
            connection.rollback()
            return Stale(held.differences, wal)
        reach("agent.6.after_lock")
        values = {name: to_sql(value, array=name in plan.arrays) for name, value in plan.values.items()}
        rows = connection.execute(program_sql.to_psycopg(plan.statement), values).rowcount
        if plan.rows is not None and rows != plan.rows:
            connection.rollback()
            return Failed(f"expected {_count(plan.rows)}, statement touches {rows}; it was rolled back", {"rows": rows})
        if moved := sql_fence.moved(connection, held):
            record({**(action.intent or {}), MOVED: moved})
        reach("agent.6.before_commit")
        try:
            connection.commit()
        except psycopg.Error as error:
            if (error.sqlstate or "")[:2] in _CONNECTION_CLASSES:
                return self.settle(action, record)
            raise
        reach("agent.6.after_commit")
        committed = {"committed_by": _later(intent.began_at, time.monotonic() - began)}
        return Succeeded({"rows": rows, "xid": intent.xid} | committed | ({"fence": held.how} if action.fence else {}))

    def _at_home(self, connection: _Connection, action: Pending, intent: SqlIntent) -> bool:
        fence = action.fence
        if fence is None:
            return False
        return sql_fence.is_home(connection, fence, intent.system_identifier, self._captures.get(fence.source))

    def settle(self, action: Pending, record: Recorder) -> Outcome:
        """Let PostgreSQL say what became of the recorded transaction; where it cannot, the receipt."""
        plan, intent = msgspec.convert(action.effect, SqlPlan), msgspec.convert(action.intent, SqlIntent)
        if plan.connection not in self._connections:
            return self._by_receipt(action, f"the configuration has no connection `{plan.connection}` any more")
        try:
            with contextlib.closing(self._connect(plan)) as connection:
                status = _status(connection, intent)
        except psycopg.OperationalError as error:
            raise TransientError(f"connection {plan.connection}: {_first_line(error)}") from error
        except psycopg.Error as error:
            return self._by_receipt(action, f"its transaction cannot be looked up: {_first_line(error)}")
        match status:
            case "committed":
                return Succeeded({"rows": plan.rows, "xid": intent.xid, "settled": "by its transaction's status"})
            case "aborted":
                return self.execute(action, record)
            case "in progress":
                raise TransientError(f"transaction {intent.xid} of an earlier attempt is still in progress")
            case _:
                return self._by_receipt(action, "an earlier attempt was cut short and its transaction cannot be told")

    def _by_receipt(self, action: Pending, otherwise: str) -> Outcome:
        if self._has_receipt(action.id):
            return Succeeded({"settled": "by its mark in the change log"})
        return Unknown(otherwise)

    def _connect(self, plan: SqlPlan) -> _Connection:
        url = self._connections[plan.connection]
        return psycopg.connect(url, application_name="wake action", connect_timeout=10)


def render(statement: str, values: Mapping[str, Any]) -> str:
    """The statement with its values, for people; it is never executed."""
    text = program_sql.to_psycopg(statement)
    spelled = {name: sql.Literal(_plain(value)).as_string() for name, value in values.items()}
    return text % spelled


def to_sql(value: Any, *, array: bool = False) -> Any:
    """A JSON value as text without a type, which the server reads as the type that the place wants."""
    match value:
        case None | str():
            return value
        case bool():
            return "true" if value else "false"
        case list() if array:
            return _array(cast("list[Any]", value))
        case _:
            return json_text.dump(value)


def _array(elements: list[Any]) -> str:
    """PostgreSQL's own spelling of a one-dimensional array."""
    return "{" + ",".join(_element(element) for element in elements) + "}"


def _element(value: Any) -> str:
    if value is None:
        return "NULL"
    text = str(to_sql(value)).replace("\\", "\\\\").replace('"', '\\"')
    return f'"{text}"'


def _plain(value: Any) -> Any:
    return json_text.dump(value) if isinstance(value, dict | list) else value


def _begin(connection: _Connection, plan: SqlPlan) -> SqlIntent:
    """Start the transaction and give it an id."""
    # Less than any session waits before it looks for a deadlock: where we are part of one, it is we who give way.
    limits: LiteralString = (
        "select set_config('lock_timeout', least(%s::int, (select greatest(setting::int / 2, 1) from pg_settings"
        " where name = 'deadlock_timeout'))::text, true), set_config('statement_timeout', %s, true),"
        " set_config('idle_in_transaction_session_timeout', %s, true)"
    )
    seconds = (min(LOCK_TIMEOUT, plan.timeout_s), plan.timeout_s, IDLE_TIMEOUT)
    connection.execute(limits, [str(int(each * 1000)) for each in seconds])
    row = connection.execute(
        "select pg_current_xact_id()::text, pg_backend_pid(),"
        " (select backend_start::text from pg_stat_activity where pid = pg_backend_pid()),"
        " current_database()::text, clock_timestamp()"
    ).fetchone()
    xid, pid, start, database, now = row or ("", 0, "", "", None)
    return SqlIntent(xid, pid, start or "", *_identity(connection), database, now)


def _later(began: datetime | None, seconds: float) -> str | None:
    """When it was committed at the latest, by the server's clock."""
    return None if began is None else (began + timedelta(seconds=seconds)).isoformat()


def _identity(connection: _Connection) -> tuple[str | None, int | None]:
    """Which database and which of its histories this is, where the role may know."""
    allowed = connection.execute(
        "select has_function_privilege('pg_control_system()', 'execute')"
        " and has_function_privilege('pg_control_checkpoint()', 'execute')"
    ).fetchone()
    if not allowed or not allowed[0]:
        return None, None
    # The walfile's name tells a timeline that the last checkpoint may not have seen yet.
    row = connection.execute(
        "select (select system_identifier::text from pg_control_system()),"
        " (select greatest(timeline_id, case when pg_is_in_recovery() then 0 else"
        " ('x' || substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8))::bit(32)::int end)"
        " from pg_control_checkpoint())"
    ).fetchone()
    return (row[0], row[1]) if row else (None, None)


def _status(connection: _Connection, intent: SqlIntent) -> str | None:
    """`committed`, `aborted`, `in progress`, or None where this server cannot tell."""
    connection.autocommit = True
    identity = _identity(connection)
    if None in identity or identity != (intent.system_identifier, intent.timeline):
        return None
    status = _wait(connection, intent)
    if status == "in progress":
        connection.execute(
            "select pg_terminate_backend(pid, %s) from pg_stat_activity where pid = %s and backend_start::text = %s",
            (TERMINATION, intent.pid, intent.backend_start),
        )
        status = _wait(connection, intent)
    return status


def _wait(connection: _Connection, intent: SqlIntent) -> str | None:
    deadline = time.monotonic() + PATIENCE
    while True:
        row = connection.execute("select pg_xact_status(%s::xid8)", (intent.xid,)).fetchone()
        status: str | None = row[0] if row else None
        if status != "in progress" or time.monotonic() > deadline:
            return status
        time.sleep(0.05)


def _outcome(error: psycopg.Error) -> Outcome:
    """What an error before the commit comes to: the transaction is gone in any case."""
    state = error.sqlstate or ""
    if state[:2] in _AGAIN_CLASSES or (not state and isinstance(error, psycopg.OperationalError)):
        return Again(_first_line(error))
    return Failed(_first_line(error), {"sqlstate": state or None})


def _first_line(error: psycopg.Error) -> str:
    return (str(error).strip() or type(error).__name__).partition("\n")[0]


def _count(rows: int) -> str:
    return "1 row" if rows == 1 else f"{rows} rows"
