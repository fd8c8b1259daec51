"""Resolves what the file says of a source against its catalogue: every name found, every piece of SQL tried."""

from __future__ import annotations

import secrets
from typing import Any

import psycopg

from wakestream import inspection, resolving_entities, resolving_tables
from wakestream.capture import Capture, Entity, Revision
from wakestream.catalogue import Catalogue
from wakestream.config import Loaded
from wakestream.program_problems import Problems


def resolve(
    loaded: Loaded,
    source_name: str,
    catalogue: Catalogue,
    connection: psycopg.Connection[Any],
    *,
    ledger: psycopg.Connection[Any] | None = None,
    placeholder: str | None = None,
) -> Capture:
    """What is captured of a source.

    The SQL of entities is tried on `ledger`, where it will run, or on the source's connection without one.
    `placeholder` is the one in use already. Raises `ConfigurationError` with every problem, its place and the fix.
    """
    problems = Problems(loaded)
    capture = examine(loaded, source_name, catalogue, connection, problems, ledger=ledger, placeholder=placeholder)
    problems.raise_any()
    return capture


def examine(
    loaded: Loaded,
    source_name: str,
    catalogue: Catalogue,
    connection: psycopg.Connection[Any],
    problems: Problems,
    *,
    ledger: psycopg.Connection[Any] | None = None,
    placeholder: str | None = None,
    previous: Revision | None = None,
) -> Capture:
    """As `resolve`, but notes the problems and returns what could be resolved in spite of them."""
    existing = inspection.table_names(connection)
    tables = resolving_tables.resolve_tables(loaded.config, source_name, catalogue, existing, problems, previous)
    entities: dict[str, Entity] = {}
    for name, settings in loaded.config.entities.items():
        if settings.root.partition(".")[0] != source_name:
            continue
        entity = resolving_entities.resolve_entity(
            name, loaded.config, source_name, catalogue, tables, ledger or connection, problems
        )
        if entity is not None:
            entities[name] = entity
    return Capture(tables=tables, entities=entities, placeholder=placeholder or new_placeholder())


def new_placeholder() -> str:
    """A text that no row can hold, for the values that Debezium is not sent."""
    return f"wake_{secrets.token_hex(12)}"
