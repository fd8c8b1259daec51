"""The texts that give orders, and the local model: it may make of them what it likes, and can do no more."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import pytest

from localstack import Stack, model
from localstack.model_server import ModelServer
from tests.harness.agent import WakeProcess, attached_world
from tests.stack.test_agent_injection import DDL, PROMPT
from tests.stack.test_agent_injection_texts import ROWS, TWO_AGENTS, check, tell


@pytest.mark.skipif("WAKE_SOAK" not in os.environ, reason="the local model takes minutes: `make soak`")
def test_a_real_model_can_do_no_more(stack: Stack, env: Mapping[str, str], tmp_path: Path) -> None:
    """Whatever it makes of the texts: bound rows, offered choices, parameters in their schema, approvals kept."""
    assert model.is_pulled(), "wake model pull"
    server = ModelServer(tmp_path / "model")
    url = server.serve()
    wake = TWO_AGENTS.replace("name: scripted", f"name: {model.DEFAULT.name}, concurrency: 1")  # it has no more
    try:
        with (
            attached_world(stack, env, tmp_path, ddl=DDL + ROWS, wake=wake, prompt=PROMPT, MODEL_URL=url) as world,
            WakeProcess(world, "consume"),
            WakeProcess(world, "agent", "--from", "beginning"),
        ):
            tell(world, in_turn=True)
            check(world)
    finally:
        server.stop()
