from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from cli import main
from tests.unit.console.conftest import insights, ledger_server, ledger_url, operations, seed, token, unused_port

__all__ = ["insights", "ledger_server", "ledger_url", "operations", "seed", "token", "unused_port"]

Wake = Callable[..., Result]

CONFIG = """\
kafka: {bootstrap_servers: "127.0.0.1:9"}
connect: {url: "http://127.0.0.1:9", secrets: /etc/wake/secrets.properties}
ledger: {url: "${LEDGER_URL}"}
sources: {airline: {capture: "postgresql://x", tables: {public.flight: {}}}}
triggers:
  flight_delayed: {table: airline.public.flight, when: after.status == 'delayed', fire: enter, agent: rebooker}
agents: {rebooker: {instructions: rebooker.md}}
models: {default: {provider: local}}
"""


@pytest.fixture
def config(tmp_path: Path) -> Path:
    (tmp_path / "rebooker.md").write_text("Rebook.")
    path = tmp_path / "wake.yaml"
    path.write_text(CONFIG)
    return path


@pytest.fixture
def wake(config: Path, monkeypatch: pytest.MonkeyPatch) -> Wake:
    """Runs `wake` with these words, as from a shell that is no terminal."""
    monkeypatch.setenv("WAKE_CONFIG", str(config))
    for name in ("WAKE_TOKEN", "LEDGER_URL"):
        monkeypatch.delenv(name, raising=False)

    def run(*words: str, **environment: str) -> Result:
        return CliRunner().invoke(main.app, words, env=environment)

    return run
