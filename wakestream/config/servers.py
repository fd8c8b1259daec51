"""Servers of tools in the file, for actions and lookups of kind `mcp`."""

from __future__ import annotations

from pydantic import Field, SecretStr, model_validator

from wakestream.config.sections import Section


class McpServer(Section):
    """An MCP server: one that listens somewhere, or a command that is started for each call."""

    url: str | None = None
    """Where it speaks streamable HTTP."""
    headers: dict[str, SecretStr] = {}
    command: tuple[str, ...] = ()
    """A program and its arguments, spoken to by standard input and output."""
    env: dict[str, SecretStr] = {}
    """What the command finds in its environment besides the few variables that every program needs."""
    tools: tuple[str, ...] = Field(min_length=1)
    """Those that may be called; no other ever is."""

    @model_validator(mode="after")
    def _one_way(self) -> McpServer:
        if (self.url is None) == (not self.command):
            raise ValueError("an MCP server is reached in one way: give `url` or `command`")
        if self.headers and self.url is None:
            raise ValueError("`headers` belong to a server with `url`; a command takes `env`")
        if self.env and not self.command:
            raise ValueError("`env` belongs to a server with `command`; one with `url` takes `headers`")
        return self
