"""A function for actions of kind `python`, which writes down that it was called."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from wakestream.entry_points import Context

VARIABLE = "WAKE_TEST_CALLS"
"""Names the file in which calls are written down."""


def count(values: dict[str, Any], context: Context) -> dict[str, Any]:
    """Write down who called, and with what."""
    with Path(os.environ[VARIABLE]).open("a") as file:
        file.write(json.dumps({"key": context.action, "values": values}) + "\n")
    return {"counted": values}


def calls(log: Path) -> list[dict[str, Any]]:
    """The calls so far."""
    return [json.loads(line) for line in log.read_text().splitlines()] if log.exists() else []
