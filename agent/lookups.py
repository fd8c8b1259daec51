"""Lookups: the context store read-only, bounded, and never at an older moment than the event's; servers and tools."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Mapping
from typing import Any, LiteralString

import psycopg

from agent import json_text, lookup_answers, lookup_http, mcp_client
from agent.bound import bound_values
from agent.database import Ledger
from agent.effects.sql import to_sql
from wakestream import ledger, program_sql, topics
from wakestream.config.lookups import HttpLookup, McpLookup, SqlLookup
from wakestream.config.servers import McpServer
from wakestream.errors import EventError, TransientError
from wakestream.events import Position
from wakestream.program_actions import CompiledLookup

PATIENCE = 5.0  # seconds for the context store to reach the event's position
POLL = 0.01  # seconds

_LIMIT: LiteralString = "wake limit"  # a name that no placeholder can have
_AGAIN_CLASSES = {"08", "40", "53", "55", "57", "58"}


class Lookups:
    """One worker's way to ask; its connection is that of the role that reads the context store and nothing else."""

    def __init__(self, url: str | None, own: Ledger, servers: Mapping[str, McpServer] | None = None) -> None:
        self._url = url
        self._own = own
        self._servers = servers or {}
        self._connection: psycopg.Connection[Any] | None = None

    def ask(
        self,
        lookup: CompiledLookup,
        position: Position,
        values: Mapping[str, Any],
        missing: tuple[str, ...],
        written: Mapping[str, Any] | None = None,
    ) -> dict[str, Any]:
        """The rows, and of the context store the position they were read at or after.

        `written` is what a model that asks wrote. Raises `TransientError` when who is asked is behind or away,
        `EventError` when the question cannot be asked.
        """
        given = {**bound_values(lookup.name, lookup.bind, values, missing), **(written or {})}
        settings = lookup.settings
        place: dict[str, Any] = {}
        if isinstance(settings, SqlLookup):
            place = {"position": self._wait_for(settings.source, position)}
        began = time.perf_counter()
        rows = self._rows(lookup, given)
        return {
            "rows": rows[: settings.rows],
            "more": len(rows) > settings.rows,
            **place,
            "ms": round((time.perf_counter() - began) * 1000, 1),
        }

    def close(self) -> None:
        """Close the connection; the next question opens another."""
        connection, self._connection = self._connection, None
        if connection is not None:
            with contextlib.suppress(psycopg.Error):
                connection.close()

    def _rows(self, lookup: CompiledLookup, given: Mapping[str, Any]) -> list[dict[str, Any]]:
        match lookup.settings:
            case SqlLookup() as settings:
                try:
                    return self._select(lookup, settings, given)
                except psycopg.Error as error:
                    self.close()
                    raise _convert(lookup.name, error) from error
            case HttpLookup() as settings:
                answer = lookup_http.get(lookup.name, settings, given)
                return lookup_answers.rows(lookup.name, answer, settings.path)
            case McpLookup() as settings:
                return lookup_answers.rows(lookup.name, self._called(lookup.name, settings, given), settings.path)

    def _called(self, name: str, settings: McpLookup, given: Mapping[str, Any]) -> Any:
        server = self._servers.get(settings.server)
        if server is None:
            raise EventError(f"lookup {name}: the configuration has no MCP server `{settings.server}` any more")
        try:
            answer = mcp_client.call(server, settings.tool, given, timeout_s=settings.timeout, meta={})
        except mcp_client.InDoubtError as error:  # nothing is changed by it, so it may be called again
            raise TransientError(f"lookup {name}: {error}") from error
        if answer.failed:
            raise EventError(f"lookup {name}: the tool says that it failed", detail=answer.text[:500])
        return answer.value

    def _select(self, lookup: CompiledLookup, settings: SqlLookup, bound: Mapping[str, Any]) -> list[dict[str, Any]]:
        if self._url is None:
            raise EventError("lookups need `ledger.lookups` in the configuration")
        if self._connection is None or self._connection.closed:
            self._connection = ledger.connect(self._url, name="lookups", autocommit=True)
        inner = program_sql.to_psycopg(settings.sql.strip().rstrip(";"))
        arrays = lookup.arrays | {name for name, each in settings.parameters.items() if each.get("type") == "array"}
        parameters = {name: to_sql(value, array=name in arrays) for name, value in bound.items()}
        with self._connection.transaction():
            self._connection.execute("set transaction read only")
            self._connection.execute(
                "select set_config('statement_timeout', %s, true), set_config('search_path', %s, true),"
                " set_config('timezone', 'UTC', true)",
                (str(int(settings.timeout * 1000)), topics.mirror_schema(settings.source, "public")),
            )
            row = self._connection.execute(_question(inner), {**parameters, _LIMIT: settings.rows + 1}).fetchone()
        return json_text.load(row[0]) if row else []

    def _wait_for(self, source: str, position: Position) -> dict[str, int]:
        deadline = time.monotonic() + PATIENCE
        pause = threading.Event()
        while True:
            with self._own.transaction("reading the store's position", durable=False) as connection:
                row = connection.execute(
                    'select log, "offset" from wake.source_position where source = %s', (source,)
                ).fetchone()
            if row is not None and (row[0], row[1]) >= (position.log, position.offset):
                return {"log": row[0], "offset": row[1]}
            if time.monotonic() > deadline:
                at = "nowhere yet" if row is None else f"at {row[0]}/{row[1]}"
                raise TransientError(
                    f"the context store of {source} is {at}, the event at {position.log}/{position.offset};"
                    " is `wake consume` running?",
                    family="lookup",
                )
            pause.wait(POLL)


def _question(inner: LiteralString) -> LiteralString:
    """One row with all rows; the newlines end a comment that the statement may end in."""
    return (
        "select coalesce(jsonb_agg(to_jsonb(answer)), '[]')::text from"  # noqa: S608 - the configuration's own SQL
        f" (select * from (\n{inner}\n) as question limit %({_LIMIT})s) as answer"
    )


def _convert(name: str, error: psycopg.Error) -> EventError | TransientError:
    state, text = error.sqlstate or "", str(error).strip().partition("\n")[0]
    if state[:2] in _AGAIN_CLASSES or (not state and isinstance(error, psycopg.OperationalError)):
        return TransientError(f"lookup {name}: {text}", family="lookup")
    return EventError(f"lookup {name} cannot be asked", detail=text)
