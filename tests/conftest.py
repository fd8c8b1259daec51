"""The stack for the tests that want it, and the seed that all random choices of a run come from."""

from __future__ import annotations

import os
import secrets

import hypothesis

pytest_plugins = ["tests.harness.stack"]

# No test asserts a time, and a machine that does other things as well is no defect of ours.
hypothesis.settings.register_profile("wakestream", deadline=None)
hypothesis.settings.load_profile("wakestream")

os.environ["WAKE_SEED"] = os.environ.get("WAKE_SEED") or str(secrets.randbelow(2**32))


def pytest_report_header() -> str:
    return f"WAKE_SEED={os.environ['WAKE_SEED']}"
