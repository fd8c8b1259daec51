from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema_rs
import psycopg
import pytest
from ruamel.yaml import YAML

from tests.unit.cli.conftest import CONFIG, Wake
from wakestream import capture
from wakestream.capture import Capture, CapturedTable
from wakestream.catalogue import Catalogue, Column, Table

FLIGHT = Table(
    schema="public",
    name="flight",
    columns=(Column("id", "integer", "int4", not_null=True), Column("status", "text", "text")),
    key=("id",),
)


def problems(document: dict[str, Any], text: str) -> list[str]:
    return [error.message for error in jsonschema_rs.validator_for(document).iter_errors(YAML(typ="safe").load(text))]


def test_the_schema_accepts_what_the_loader_accepts(wake: Wake) -> None:
    schema = json.loads(wake("config", "schema").stdout)
    assert problems(schema, CONFIG) == []
    durations = CONFIG.replace("{provider: local}", "{provider: local, timeout: 90s}")
    assert problems(schema, durations) == []
    assert problems(schema, durations.replace("90s", "90 parsecs"))
    assert problems(schema, CONFIG.replace("fire: enter", "fire: entre"))
    assert problems(schema, CONFIG.replace("when:", "wenn:"))


def test_a_file_is_checked_as_far_as_the_ledger_allows(
    wake: Wake, config: Path, ledger_url: str, unused_port: int
) -> None:
    away = wake("config", "check", LEDGER_URL=f"postgresql://x@127.0.0.1:{unused_port}/x")
    assert away.exit_code == 0
    assert "the file is fine; conditions were not checked: the ledger cannot be reached" in away.stdout
    unseen = wake("config", "check", LEDGER_URL=ledger_url)
    assert unseen.stdout.endswith("conditions were not checked: `wake apply` has not seen airline\n")
    empty = wake("config", "check", LEDGER_URL=ledger_url.rpartition("/")[0] + "/postgres")
    assert empty.stdout == unseen.stdout
    config.write_text(CONFIG.replace("when:", "wenn:"))
    wrong = wake("config", "check", LEDGER_URL=ledger_url)
    assert wrong.exit_code == 2
    assert f"{config}:6:" in wrong.stderr


@pytest.mark.parametrize(("condition", "code"), [("after.status == 'delayed'", 0), ("after.statuss == 'delayed'", 2)])
def test_conditions_are_checked_against_the_stored_catalogue(
    wake: Wake, config: Path, ledger_url: str, condition: str, code: int
) -> None:
    config.write_text(CONFIG.replace("after.status == 'delayed'", condition))
    catalogue = Catalogue("airline", "1", 1, 180000, {"public.flight": FLIGHT})
    with psycopg.connect(ledger_url) as connection:
        capture.store(connection, catalogue, Capture({"public.flight": CapturedTable()}))
    done = wake("config", "check", LEDGER_URL=ledger_url)
    assert done.exit_code == code, done.output
    if code:
        assert f"{config}:6:" in done.stderr
        assert "did you mean" in done.stderr
    else:
        assert done.stdout == f"{config}: fine, conditions included\n"
