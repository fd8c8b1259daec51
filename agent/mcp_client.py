"""One call of one tool of a configured MCP server, on a connection of its own.

A server that is started for the call, or restarted between two, is the same to it; nothing has to be kept alive.
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncGenerator, Mapping
from decimal import Decimal
from typing import TYPE_CHECKING, Any, NoReturn, cast

import msgspec

from agent import json_text
from wakestream import config
from wakestream.config.servers import McpServer
from wakestream.errors import EventError, TransientError, WakeError

if TYPE_CHECKING:  # importing it takes most of a second, which who uses none does not pay
    from mcp import Client
    from mcp.types import CallToolResult

CONNECT_TIMEOUT = 15.0  # seconds
TEXT_SHOWN = 2000  # characters

_REFUSALS = {-32600, -32601, -32602}  # invalid request, no such method or tool, invalid arguments


class ToolRefusedError(EventError):
    """The server understood and will not call the tool, or we may not: trying again is no use."""


class InDoubtError(WakeError):
    """The call was sent and no answer came: it may have happened."""


class ToolAnswer(msgspec.Struct, frozen=True):
    """What a tool gave back."""

    failed: bool
    """The tool says itself that it did not work."""
    text: str
    structured: Any = None

    @property
    def value(self) -> Any:
        """The answer as JSON: what is structured, else the text read as JSON, else the text."""
        if self.structured is not None:
            return self.structured
        try:
            return json_text.load(self.text)
        except msgspec.DecodeError:
            return {"text": self.text}


def call(
    server: McpServer, tool: str, arguments: Mapping[str, Any], *, timeout_s: float, meta: Mapping[str, str]
) -> ToolAnswer:
    """Call it once.

    Raises `TransientError` when it surely was not called, `ToolRefusedError` when that is no use, and `InDoubtError`.
    """
    if tool not in server.tools:
        raise ToolRefusedError(f"`{tool}` is not among the tools of the server that may be called")
    import anyio

    told = _Told()
    try:
        anyio.run(_call, server, tool, _plain(dict(arguments)), timeout_s, dict(meta), told)
    except Exception as error:
        if told.answer is None and told.error is None:
            _raise(told, _reason(error), error)
    if told.error is not None:
        raise told.error
    if told.answer is None:
        _raise(told, "the connection ended", None)
    return told.answer


class _Told:
    """How far a call came, whatever its connection does when it is closed."""

    sent: bool = False
    answer: ToolAnswer | None = None
    error: WakeError | None = None


def _raise(told: _Told, reason: str, cause: BaseException | None) -> NoReturn:
    if told.sent:
        raise InDoubtError(f"no answer came: {reason}") from cause
    raise TransientError(f"the MCP server cannot be reached: {reason}") from cause


async def _call(
    server: McpServer, tool: str, arguments: dict[str, Any], timeout_s: float, meta: dict[str, str], told: _Told
) -> None:
    import anyio
    from mcp import MCPError

    with anyio.fail_after(CONNECT_TIMEOUT) as scope:
        async with _connected(server, timeout_s) as client:
            scope.deadline = anyio.current_time() + timeout_s
            told.sent = True
            try:
                told.answer = _answer(await client.call_tool(tool, arguments, meta=cast("Any", meta)))
            except MCPError as error:
                told.error = (
                    ToolRefusedError(f"the MCP server refuses `{tool}`", detail=error.message)
                    if error.code in _REFUSALS
                    else InDoubtError(f"no answer came: {error.message}")
                )


@contextlib.asynccontextmanager
async def _connected(server: McpServer, timeout_s: float) -> AsyncGenerator[Client]:
    from mcp import Client, StdioServerParameters

    if server.url is None:
        environment = {name: config.reveal(value) for name, value in server.env.items()}
        program = StdioServerParameters(command=server.command[0], args=list(server.command[1:]), env=environment)
        async with Client(program, cache=None) as client:
            yield client
        return
    import httpx2
    from mcp.client.streamable_http import streamable_http_client

    headers = {name: config.reveal(value) for name, value in server.headers.items()}
    async with (
        httpx2.AsyncClient(headers=headers, timeout=timeout_s) as http,
        Client(streamable_http_client(server.url, http_client=http), cache=None) as client,
    ):
        yield client


def _answer(result: CallToolResult) -> ToolAnswer:
    texts = [str(getattr(part, "text", "")) for part in result.content if getattr(part, "text", None)]
    structured = result.structured_content
    fields = cast("dict[str, Any]", structured) if isinstance(structured, dict) else {}
    if set(fields) == {"result"}:
        structured = fields["result"]  # how servers wrap what is no object
    return ToolAnswer(result.is_error, "\n".join(texts), structured)


def _plain(value: Any) -> Any:
    """Numbers as the SDK can send them."""
    match value:
        case Decimal():
            return int(value) if value == value.to_integral_value() else float(value)
        case dict():
            return {name: _plain(inner) for name, inner in cast("dict[str, Any]", value).items()}
        case list():
            return [_plain(inner) for inner in cast("list[Any]", value)]
        case _:
            return value


def _reason(error: BaseException) -> str:
    """The first thing that went wrong, inside the groups that task groups make of it."""
    while isinstance(error, BaseExceptionGroup):
        error = cast("BaseExceptionGroup[BaseException]", error).exceptions[0]
    if isinstance(error, TimeoutError):
        return "it took too long"
    return str(error).strip() or type(error).__name__
