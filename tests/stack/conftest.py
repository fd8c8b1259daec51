from __future__ import annotations

from collections.abc import Generator

import pytest

from tests.harness.server import Server, small_server
from tests.stack import doctoring


@pytest.fixture(scope="package")
def doctored_server() -> Generator[Server]:
    """A small PostgreSQL with a healthy database, for faults that need settings and roles of their own."""
    with small_server() as server:
        doctoring.prepare(server)
        yield server
