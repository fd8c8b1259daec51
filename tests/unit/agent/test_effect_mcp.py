from __future__ import annotations

from collections.abc import Generator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from agent import mcp_client
from agent.effects.mcp import CAUSE_META, McpEffect, McpPlan
from agent.effects.outcome import Again, Failed, Pending, Succeeded, Unknown
from agent.mcp_client import ToolRefusedError
from tests.harness import tools
from wakestream.config.servers import McpServer
from wakestream.events import Cause

CAUSE = Cause("a/1", "a", "t", ("booking/42",), 1)
TOOLS = ("write_note", "find_notes", "break_down", "dawdle")
NOTE = {"ticket": 7, "text": "é"}


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("tools") / "calls.jsonl"


@pytest.fixture(scope="module")
def url(log: Path) -> Generator[str]:
    with tools.served(log) as url:
        yield url


@pytest.fixture
def effect(url: str) -> McpEffect:
    nobody = McpServer(url="http://127.0.0.1:9/mcp", tools=TOOLS)
    return McpEffect({"desk": McpServer(url=url, tools=TOOLS), "nobody": nobody}, b"k" * 32)


def pending(tool: str, arguments: dict[str, Any], *, server: str = "desk", idempotent: bool = False) -> Pending:
    plan = McpPlan(server, tool, arguments, 3.0 if tool == "dawdle" else 20.0, idempotent)
    return Pending("a/1", "note", msgspec.structs.asdict(plan), CAUSE, None)


def nothing(_: dict[str, Any]) -> None:
    """An intent that is not looked at."""


def test_a_call(effect: McpEffect, log: Path) -> None:
    intents: list[dict[str, Any]] = []
    before = len(tools.calls(log))

    def record(intent: dict[str, Any]) -> None:
        assert len(tools.calls(log)) == before, "the intent comes first"
        intents.append(intent)

    assert effect.execute(pending("write_note", NOTE), record) == Succeeded(
        {"text": "noted 7", "structured": "noted 7"}
    )
    (call,) = tools.calls(log)[before:]
    assert (call["arguments"], call["key"]) == (NOTE, "a/1")
    assert call["meta"][CAUSE_META]
    assert list(intents[0]) == ["sent_at"]


def test_a_server_that_is_started_for_the_call(tmp_path: Path) -> None:
    log = tmp_path / "calls.jsonl"
    effect = McpEffect({"desk": McpServer(command=tuple(tools.command(log)), tools=TOOLS)}, b"k" * 32)
    assert isinstance(effect.execute(pending("write_note", NOTE), nothing), Succeeded)
    assert [call["key"] for call in tools.calls(log)] == ["a/1"]


@pytest.mark.parametrize(("tool", "arguments"), [("break_down", {}), ("write_note", {"ticket": "x"})])
def test_a_tool_that_says_no(effect: McpEffect, tool: str, arguments: dict[str, Any]) -> None:
    outcome = effect.execute(pending(tool, arguments), nothing)
    assert isinstance(outcome, Failed)
    assert outcome.reason.startswith(f"the tool says that it failed: Error executing tool {tool}")


def test_a_tool_that_is_not_on_the_list_is_never_called(effect: McpEffect, log: Path) -> None:
    outcome = effect.execute(pending("forbidden", {}), nothing)
    assert outcome == Failed("`forbidden` is not among the tools of the server that may be called")
    assert not tools.calls(log, "forbidden")


@pytest.mark.parametrize("idempotent", [False, True])
def test_no_answer_in_time(effect: McpEffect, idempotent: bool) -> None:
    outcome = effect.execute(pending("dawdle", {}, idempotent=idempotent), nothing)
    assert outcome == (
        Again("no answer came: it took too long")
        if idempotent
        else Unknown("no answer came: it took too long; it may have happened")
    )


def test_nobody_listens(effect: McpEffect) -> None:
    outcome = effect.execute(pending("write_note", NOTE, server="nobody"), nothing)
    assert isinstance(outcome, Again)
    assert outcome.reason.startswith("the MCP server cannot be reached")


def test_a_server_that_is_gone_from_the_file(effect: McpEffect) -> None:
    outcome = effect.execute(pending("write_note", NOTE, server="gone"), nothing)
    assert outcome == Failed("the configuration has no MCP server `gone` any more; add it and retry")


def test_after_a_crash(effect: McpEffect, log: Path) -> None:
    before = len(tools.calls(log))
    assert isinstance(effect.settle(pending("write_note", NOTE), nothing), Unknown)
    assert len(tools.calls(log)) == before
    assert isinstance(effect.settle(pending("write_note", NOTE, idempotent=True), nothing), Succeeded)
    assert len(tools.calls(log)) == before + 1


def test_what_a_tool_gives_back(url: str) -> None:
    server = McpServer(url=url, tools=TOOLS)
    mcp_client.call(server, "write_note", NOTE, timeout_s=20, meta={})
    answer = mcp_client.call(server, "find_notes", {"ticket": 7}, timeout_s=20, meta={})
    assert {"text": "é", "key": None} in answer.value["notes"]
    assert mcp_client.ToolAnswer(False, "[1]").value == [1]
    assert mcp_client.ToolAnswer(False, "plain").value == {"text": "plain"}
    with pytest.raises(ToolRefusedError, match="may be called"):
        mcp_client.call(server, "forbidden", {}, timeout_s=20, meta={})
