"""The reference says what the code does: failpoints, scripts and channels are named there, and nothing else is."""

from __future__ import annotations

import re
from pathlib import Path

from agent import testing

ROOT = Path(__file__).parents[3]
PAGE = (ROOT / "docs/reference/agent.md").read_text()


def test_every_failpoint_is_named() -> None:
    code = "".join(path.read_text() for path in (ROOT / "agent").rglob("*.py"))
    assert set(re.findall(r'reach\("([^"]+)"\)', code)) == set(re.findall(r"`(agent\.\d\.\w+)`", PAGE))


def test_every_script_is_named() -> None:
    for name in testing.SCRIPTS:
        assert re.search(rf"\b{name}\b", PAGE), name
