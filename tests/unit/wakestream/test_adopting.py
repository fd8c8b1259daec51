"""What cannot be with an adopted connector is said with its place and its reason."""

from __future__ import annotations

from pathlib import Path

import pytest

from wakestream import config
from wakestream.errors import ConfigurationError

TEXT = """\
kafka: {bootstrap_servers: k}
connect: {url: http://c, secrets: /s}
ledger: {url: postgresql://l}
sources:
  air:
    capture: postgresql://a
    adopt: their-connector
    tables: {public.flight: {}}
"""
TRIGGER = """\
triggers:
  late: {table: air.public.flight, when: after.id == 1, fire: change, agent: a%s}
agents:
  a: {instructions: p.md}
models:
  default: {provider: local}
"""


def load(tmp_path: Path, text: str) -> config.Loaded:
    path = tmp_path / "wake.yaml"
    path.write_text(text)
    return config.load(path, {})


def test_an_adopted_source_needs_nothing_but_capture_and_tables(tmp_path: Path) -> None:
    loaded = load(tmp_path, TEXT + TRIGGER % ", own_writes: true")
    assert loaded.config.sources["air"].adopt == "their-connector"


@pytest.mark.parametrize(
    ("old", "new", "place", "said"),
    [
        ("tables:", "admin: postgresql://b\n    tables:", "8:5", "publication is not ours"),
        ("tables:", "guard: {policy: shed}\n    tables:", "8:5", "slot is not ours"),
        ("flight: {}", "flight: {replica_identity: full}", "8:", "nothing is changed in the database"),
        ("flight: {}}\n", "flight: {}}\nentities:\n  e: {root: air.public.flight}\n", "10:", "no order is known"),
        ("flight: {}}\n", "flight: {}}\n" + TRIGGER % "", "10:", "own_writes: true"),
        ("adopt: their-connector", "adopt: ''", "7:5", "at least 1 character"),
    ],
)
def test_what_needs_a_connector_of_ours_is_an_error(tmp_path: Path, old: str, new: str, place: str, said: str) -> None:
    assert old in TEXT
    with pytest.raises(ConfigurationError) as caught:
        load(tmp_path, TEXT.replace(old, new))
    (problem,) = caught.value.problems
    assert f"wake.yaml:{place}" in problem
    assert said in problem
