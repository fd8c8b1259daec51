"""One call of a tool of an MCP server, with the action's id as its key."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any, cast

import msgspec

from agent import mcp_client
from agent.effects.outcome import (
    Again,
    Failed,
    Material,
    Outcome,
    Pending,
    Recorder,
    Setting,
    Succeeded,
    Unknown,
)
from agent.mcp_client import InDoubtError, ToolAnswer, ToolRefusedError
from wakestream import marks
from wakestream.config.actions import McpAction
from wakestream.config.servers import McpServer
from wakestream.errors import TransientError
from wakestream.failpoint import reach

KEY_META = "wakestream/idempotency-key"
CAUSE_META = "wakestream/cause"


class McpPlan(msgspec.Struct, frozen=True):
    """The effect as the ledger keeps it."""

    server: str
    tool: str
    arguments: dict[str, Any]
    timeout_s: float
    idempotent: bool = False


class McpEffect:
    """Executes and settles calls of tools."""

    def __init__(self, servers: Mapping[str, McpServer], mark_key: bytes) -> None:
        self._servers = servers
        self._mark_key = mark_key

    @classmethod
    def open(cls, setting: Setting) -> McpEffect:
        """With the configured servers."""
        return cls(setting.config.mcp_servers, setting.mark_key)

    @staticmethod
    def plan(material: Material) -> dict[str, Any]:
        """The call."""
        settings = cast("McpAction", material.action.settings)
        plan = McpPlan(settings.server, settings.tool, material.values, settings.timeout, settings.idempotent)
        return msgspec.structs.asdict(plan)

    def execute(self, action: Pending, record: Recorder) -> Outcome:
        """Call it once."""
        plan = msgspec.convert(action.effect, McpPlan)
        server = self._servers.get(plan.server)
        if server is None:
            return Failed(f"the configuration has no MCP server `{plan.server}` any more; add it and retry")
        now = time.time()
        record({"sent_at": now})
        reach("agent.6.before_tool")
        action.hold()
        meta = {KEY_META: action.id, CAUSE_META: marks.sign_relay(self._mark_key, action.cause, now)}
        try:
            answer = mcp_client.call(server, plan.tool, plan.arguments, timeout_s=plan.timeout_s, meta=meta)
        except TransientError as error:
            return Again(str(error))
        except ToolRefusedError as error:
            return Failed(str(error))
        except InDoubtError as error:
            return Again(str(error)) if plan.idempotent else Unknown(f"{error}; it may have happened")
        reach("agent.6.after_tool")
        return _outcome(answer)

    def settle(self, action: Pending, record: Recorder) -> Outcome:
        """Repeat what may be repeated; for the rest nobody but the server knows."""
        if msgspec.convert(action.effect, McpPlan).idempotent:
            return self.execute(action, record)
        return Unknown("an earlier attempt was cut short while it was called; the server knows its key")


def _outcome(answer: ToolAnswer) -> Outcome:
    result: dict[str, Any] = {"text": answer.text[: mcp_client.TEXT_SHOWN]}
    if answer.structured is not None:
        result["structured"] = answer.structured
    if answer.failed:
        return Failed(f"the tool says that it failed: {answer.text}".rstrip(": ")[: mcp_client.TEXT_SHOWN], result)
    return Succeeded(result)
