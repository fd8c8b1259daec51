"""Lookups in the file: questions that are answered before the model decides."""

from __future__ import annotations

from pydantic import Field

from wakestream.config.sections import Duration, Section


class Lookup(Section):
    """A question to the context store, asked before the model is."""

    source: str
    sql: str
    bind: dict[str, str] = {}
    rows: int = Field(default=20, ge=1, le=1000)
    timeout: Duration = 5.0
