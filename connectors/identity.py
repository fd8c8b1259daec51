"""REPLICA IDENTITY FULL, where the file wants it: the one change of somebody else's tables, and never made unasked."""

from __future__ import annotations

import msgspec
from psycopg import sql

from connectors import publication
from connectors.databases import Connection
from connectors.steps import Step
from wakestream.catalogue import Catalogue
from wakestream.config.models import Source

ALLOW = "replica-identity"
EFFECT = (
    "waits at most the lock timeout for every transaction that uses the table, others wait behind it meanwhile;"
    " from then on every update and delete writes the whole old row into the WAL"
)


def wanted(settings: Source, catalogue: Catalogue) -> list[str]:
    """Tables that the file wants to have full and that are not."""
    return sorted(
        label
        for label, table in catalogue.tables.items()
        if settings.tables[label].replica_identity == "full" and table.replica_identity != "full"
    )


def made_full(catalogue: Catalogue, labels: list[str]) -> Catalogue:
    """The catalogue as it will be when these tables are full."""
    tables = {
        label: msgspec.structs.replace(table, replica_identity="full") if label in labels else table
        for label, table in catalogue.tables.items()
    }
    return msgspec.structs.replace(catalogue, tables=tables)


def statement(label: str) -> sql.Composed:
    """What makes a table full."""
    return sql.SQL("alter table {} replica identity full").format(publication.identifier(label))


def step(admin: Connection | None, label: str) -> Step:
    """One table made full."""
    made = [statement(label)]
    return Step(
        f"set replica identity full on {label}",
        lambda: publication.execute(admin, f"table {label}", made),
        object=f"table {label}",
        command=publication.script(made),
        lock=f"ACCESS EXCLUSIVE on {label}",
        effect=EFFECT,
    )


def request(label: str) -> str:
    """What is said where it is wanted and may not be done."""
    return (
        f"{label} is to have replica identity full, which needs ACCESS EXCLUSIVE and writes more WAL;"
        f" `wake apply --allow {ALLOW}` does it, or its owner: {statement(label).as_string()}"
    )
