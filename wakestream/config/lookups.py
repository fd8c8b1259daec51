"""Lookups in the file: questions that are answered before the model decides, or when it asks."""

from __future__ import annotations

from typing import Annotated, Any, Literal, cast

from pydantic import BeforeValidator, Field, SecretStr

from wakestream.config.sections import Duration, Section, Size


class LookupSection(Section):
    """What every kind has."""

    description: str = ""
    """One sentence for the model: what it learns by asking."""
    bind: dict[str, str] = {}
    parameters: dict[str, dict[str, Any]] = {}
    """What a model that asks writes; nobody else can give it."""
    rows: int = Field(default=20, ge=1, le=1000)
    timeout: Duration = 5.0


class SqlLookup(LookupSection):
    """A question to the context store."""

    kind: Literal["sql"] = "sql"
    source: str
    sql: str


class HttpLookup(LookupSection):
    """A GET that is answered with JSON."""

    kind: Literal["http"]
    url: str
    """With `{name}` for values, which are percent-encoded."""
    headers: dict[str, SecretStr] = {}
    path: str | None = None
    """Where in the answer the list or the object stands: `data.items`."""
    size: Annotated[Size, Field(ge=1024, le=2**20)] = 64 * 1024
    """Bytes that an answer may have."""


class McpLookup(LookupSection):
    """A call of a tool that changes nothing."""

    kind: Literal["mcp"]
    server: str
    tool: str
    path: str | None = None
    """Where in the answer the list or the object stands."""


def _kind_of(value: object) -> object:
    """`kind: sql` need not be written."""
    if not isinstance(value, dict):
        return value
    return {"kind": "sql", **cast("dict[str, Any]", value)}


Lookup = Annotated[SqlLookup | HttpLookup | McpLookup, Field(discriminator="kind"), BeforeValidator(_kind_of)]
