"""A real MCP server, over HTTP or standard input and output, that writes down every call.

python -m tests.harness.tools LOG [PORT]
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from mcp.server.mcpserver import Context, MCPServer

from localstack.home import free_port
from tests.harness.stack import REPOSITORY
from tests.harness.waiting import eventually, listens


def command(log: Path) -> list[str]:
    """How it is started to be spoken to by standard input and output."""
    return [sys.executable, "-m", "tests.harness.tools", str(log)]


def calls(log: Path, tool: str | None = None) -> list[dict[str, Any]]:
    """The calls so far: tool, arguments, key."""
    lines = [json.loads(line) for line in log.read_text().splitlines()] if log.exists() else []
    return [line for line in lines if tool is None or line["tool"] == tool]


@contextmanager
def served(log: Path) -> Generator[str]:
    """The server listening over HTTP; gives its URL."""
    port = free_port()
    with (log.parent / "tools.log").open("ab") as output:
        process = subprocess.Popen([*command(log), str(port)], cwd=REPOSITORY, stdout=output, stderr=output)
    try:
        eventually(lambda: listens(port), "the MCP server listens")
        yield f"http://127.0.0.1:{port}/mcp"
    finally:
        process.terminate()
        process.wait(30)


def _server(log: Path) -> MCPServer[Any]:
    server = MCPServer[Any]("tools")

    def note(tool: str, context: Context[Any, Any], **arguments: Any) -> None:
        meta: dict[str, Any] = dict(context.request_context.meta or {})
        line = {"tool": tool, "arguments": arguments, "key": meta.get("wakestream/idempotency-key"), "meta": meta}
        with log.open("a") as file:
            file.write(json.dumps(line) + "\n")

    @server.tool()
    def write_note(ticket: int, text: str, context: Context[Any, Any]) -> str:  # pyright: ignore[reportUnusedFunction]
        """Write a note about a ticket."""
        note("write_note", context, ticket=ticket, text=text)
        return f"noted {ticket}"

    @server.tool()
    def find_notes(ticket: int, context: Context[Any, Any]) -> dict[str, Any]:  # pyright: ignore[reportUnusedFunction]
        """The notes about a ticket."""
        note("find_notes", context, ticket=ticket)
        written = [call for call in calls(log, "write_note") if call["arguments"]["ticket"] == ticket]
        return {"notes": [{"text": call["arguments"]["text"], "key": call["key"]} for call in written]}

    @server.tool()
    def break_down(context: Context[Any, Any]) -> str:  # pyright: ignore[reportUnusedFunction]
        """Never work."""
        note("break_down", context)
        raise ValueError("out of order")

    @server.tool()
    def dawdle(context: Context[Any, Any]) -> str:  # pyright: ignore[reportUnusedFunction]
        """Take longer than anybody waits."""
        note("dawdle", context)
        time.sleep(30)
        return "done"

    @server.tool()
    def forbidden(context: Context[Any, Any]) -> str:  # pyright: ignore[reportUnusedFunction]
        """Exist, and be on nobody's list."""
        note("forbidden", context)
        return "done"

    return server


def main() -> None:
    """Serve until ended."""
    server = _server(Path(sys.argv[1]))
    if len(sys.argv) > 2:
        server.run("streamable-http", host="127.0.0.1", port=int(sys.argv[2]))
    else:
        server.run()


if __name__ == "__main__":
    main()
