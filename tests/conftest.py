"""The stack for the tests that want it, and the seed that all random choices of a run come from."""

from __future__ import annotations

import os
import secrets

pytest_plugins = ["tests.harness.stack"]

os.environ["WAKE_SEED"] = os.environ.get("WAKE_SEED") or str(secrets.randbelow(2**32))


def pytest_report_header() -> str:
    return f"WAKE_SEED={os.environ['WAKE_SEED']}"
