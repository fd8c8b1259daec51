from __future__ import annotations

import json

import pytest
from typer.testing import CliRunner

from cli.main import app
from connectors import doctor
from connectors.checks.finding import Finding, finding

URL = "postgresql://cap@db/ops"
WARNING = finding("server.wal_unlimited", "server", "nothing limits it", "alter system set a = '1';\nselect 2;")
ERROR = finding("roles.select", "public.flight", "cap may not read it", "grant select on flight to cap;")


@pytest.mark.parametrize(
    ("found", "code", "last"),
    [
        ([], 0, "nothing found wrong"),
        ([WARNING], 0, "0 errors, 1 warning"),
        ([WARNING, ERROR], 1, "1 error, 1 warning"),
    ],
)
def test_only_errors_make_it_exit_1(
    found: list[Finding], code: int, last: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(doctor, "examine_url", lambda url: found if url == URL else [])
    ran = CliRunner().invoke(app, ["doctor", URL])
    assert (ran.exit_code, ran.stdout.splitlines()[-1]) == (code, last)


def test_the_remedy_stands_below_the_evidence_a_line_for_each_statement(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "examine_url", lambda _: [WARNING, ERROR])
    assert CliRunner().invoke(app, ["doctor", URL]).stdout.splitlines()[:-1] == [
        "server",
        "  warning: server: nothing limits it [server.wal_unlimited]",
        "      alter system set a = '1';",
        "      select 2;",
        "roles",
        "  error: public.flight: cap may not read it [roles.select]",
        "      grant select on flight to cap;",
    ]


def test_json_has_a_line_for_each_finding(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "examine_url", lambda _: [ERROR])
    (line,) = CliRunner().invoke(app, ["doctor", URL, "--json"]).stdout.splitlines()
    assert json.loads(line) == {
        "id": "roles.select",
        "object": "public.flight",
        "level": "error",
        "evidence": "cap may not read it",
        "remedy": "grant select on flight to cap;",
    }


def test_a_source_needs_the_file() -> None:
    ran = CliRunner().invoke(app, ["doctor", "airline", "-c", "/nowhere/wake.yaml"])
    assert ran.exit_code == 2
