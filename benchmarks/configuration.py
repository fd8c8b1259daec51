"""The `wake.yaml` of each set-up, written as JSON, which YAML contains."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.counts import Counts
from benchmarks.traffic import KINDS, TABLE, WAKING

PROMPT = "Item {{ after.id }} is now {{ after.kind }} (mark <{{ after.mark }}>). Decide.\n"

# What the triggers of the many-triggers set-up read: the column that changes, and those that do not.
_CHANGED = ("after.mark > 0", "after.mark < 0", "after.mark == -7", "after.mark >= 1", "after.mark + 5 < 0")
_UNCHANGED = (
    "after.quantity > 1000",
    "after.price > 100000.0",
    "after.kind == 'sold'",
    "after.name == 'nothing'",
    "after.code == 'x' && after.quantity < 0",
)
TRUE_AT_ONCE = 2
"""How many of `_CHANGED` hold before and after, so that both images are evaluated."""


def write(directory: Path, content: Mapping[str, Any]) -> Path:
    """Write a configuration and its prompt; returns the file."""
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "prompt.md").write_text(PROMPT)
    path = directory / "wake.yaml"
    path.write_text(json.dumps(content, indent=2))
    return path


def url_variable(source: str) -> str:
    """The variable that has a source's URL."""
    return f"{source.upper()}_URL"


def attached(sources: Sequence[str], *, mirror: bool) -> dict[str, Any]:
    """Sources with one table each, and nothing that watches them. Addresses come from the environment."""
    return {
        "kafka": {"bootstrap_servers": "${KAFKA_BOOTSTRAP}"},
        "connect": {"url": "${CONNECT_URL}", "secrets": "${CONNECT_SECRETS}"},
        "ledger": {"url": "${LEDGER_URL}"},
        "sources": {
            source: {
                "capture": f"${{{url_variable(source)}}}",
                "admin": f"${{{url_variable(source)}}}",
                "tables": {TABLE: {"mirror": mirror}, KINDS: {"mirror": mirror}},
            }
            for source in sources
        },
    }


def watched(source: str, conditions: Mapping[str, str]) -> dict[str, Any]:
    """One source with a trigger for each condition, all `enter`, and an agent that asks the scripted model."""
    triggers = {
        name: {"table": f"{source}.{TABLE}", "when": when, "fire": "enter", "agent": "watcher"}
        for name, when in conditions.items()
    }
    return {
        **attached([source], mirror=True),
        "triggers": triggers,
        "agents": {"watcher": {"instructions": "prompt.md"}},
        "models": {"default": {"base_url": "${SCRIPTED_URL}", "name": "scripted", "timeout": "20s"}},
    }


def with_entity(source: str) -> dict[str, Any]:
    """The mirrored source with an entity: each row of the table with the row of its kind."""
    entity = {
        "root": f"{source}.{TABLE}",
        "include": {"of_kind": {"table": KINDS, "match": {"kind": "kind"}}},
        "compute": {"label": "of_kind.label"},
    }
    return {**attached([source], mirror=True), "entities": {"thing": entity}}


def waking() -> dict[str, str]:
    """The condition of the latency measurement."""
    return {"woken": f"after.kind == '{WAKING}'"}


def many(counts: Counts) -> dict[str, str]:
    """Conditions on one table of which few read the column that changes; no update enters one."""
    read = {f"reads_{n}": _CHANGED[n % len(_CHANGED)] for n in range(counts.touched)}
    others = counts.triggers - counts.touched
    return read | {f"passed_{n}": _UNCHANGED[n % len(_UNCHANGED)] for n in range(others)}
