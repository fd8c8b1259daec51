"""What a dead letter of the consumer waits for, as the ledger keeps it between the person and the consumer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from wakestream.catalogue import Table


def tables(labels: Sequence[str], *, whole: bool) -> dict[str, Any]:
    """Tables are to be read again: whole, behind a gap, or only for values that could not be read."""
    return {"tables": list(labels), "whole": whole}


def documents(entity: str, root: Table, keys: Sequence[str]) -> dict[str, Any]:
    """The documents of these roots are to be told as they are. Each key is a JSON object, as text."""
    return {"entity": entity, "key": key_types(root), "keys": list(keys)}


def key_types(root: Table) -> dict[str, str]:
    """The columns of a root's key with their types: keys that were written down are read by no others."""
    return {name: column.type for name in root.key if (column := root.column(name)) is not None}
