"""The kinds of effect that actions have: one file each, and one line in `kinds`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

from agent.effects.outcome import Effect
from agent.effects.sql import SqlEffect
from agent.effects.webhook import WebhookEffect
from wakestream import config
from wakestream.config import Config
from wakestream.config.actions import WebhookAction

Kind = Literal["sql", "webhook"]


def kinds(settings: Config, mark_key: bytes, has_receipt: Callable[[str], bool]) -> dict[Kind, Effect]:
    """Every kind of effect, ready for use."""
    connections = {name: config.reveal(url) for name, url in settings.connections.items()}
    webhooks = {name: each for name, each in settings.actions.items() if isinstance(each, WebhookAction)}
    secrets = {name: config.reveal(each.secret) for name, each in webhooks.items() if each.secret}
    return {
        "sql": SqlEffect(connections, mark_key, has_receipt),
        "webhook": WebhookEffect(secrets, mark_key),
    }
