"""The kinds of effect that actions have: one file each, and one line in `KINDS`."""

from __future__ import annotations

from typing import Any

from agent.effects.kafka import KafkaEffect
from agent.effects.mcp import McpEffect
from agent.effects.outcome import Effect, Material, Setting
from agent.effects.python import PythonEffect
from agent.effects.run import RunEffect
from agent.effects.sql import SqlEffect
from agent.effects.webhook import WebhookEffect

KINDS: dict[str, type[Effect]] = {
    "sql": SqlEffect,
    "webhook": WebhookEffect,
    "kafka": KafkaEffect,
    "mcp": McpEffect,
    "run": RunEffect,
    "python": PythonEffect,
}


def kinds(setting: Setting) -> dict[str, Effect]:
    """Every kind of effect, ready for use by one worker."""
    return {kind: each.open(setting) for kind, each in KINDS.items()}


def plan(material: Material) -> dict[str, Any]:
    """The effect of one action, as its kind keeps it."""
    return KINDS[material.action.settings.kind].plan(material)
