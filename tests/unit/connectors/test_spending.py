from __future__ import annotations

from collections.abc import Generator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cli import spending as telling
from connectors import spending
from localstack import Stack
from tests.harness.stack import own_home
from tests.unit.agent import airline
from wakestream import config, ledger
from wakestream.config import Config

NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)


@given(st.floats(0.1, 99.9), st.floats(1, 3600))
def test_it_runs_out_where_the_line_through_what_was_spent_meets_the_quota(spent: float, elapsed: float) -> None:
    start, end = NOON - timedelta(seconds=elapsed), NOON - timedelta(seconds=elapsed) + timedelta(hours=1)
    out = spending.runs_out(spent, 100.0, start, end, NOON)
    at_end = spent / elapsed * 3600.0
    if out is None:
        assert at_end <= 100.0 + 1e-6
    else:
        assert (out - start).total_seconds() * spent / elapsed == pytest.approx(100.0, rel=1e-4)
        assert NOON <= out < end


def test_nothing_spent_never_runs_out() -> None:
    assert spending.runs_out(0.0, 9.0, NOON - timedelta(minutes=1), NOON + timedelta(minutes=1), NOON) is None


def test_what_is_spent_has_run_out_now() -> None:
    assert spending.runs_out(9.0, 9.0, NOON - timedelta(minutes=1), NOON + timedelta(minutes=1), NOON) == NOON


@pytest.fixture(scope="module")
def connection() -> Generator[psycopg.Connection[Any]]:
    with own_home() as home:
        stack = Stack(home)
        stack.home.prepare()
        stack.home.assign_ports(set())
        stack.start_part("ledger-db")
        try:
            url = stack.env()["LEDGER_URL"]
            ledger.migrate(url)
            with psycopg.connect(url, autocommit=True) as found:
                yield found
        finally:
            stack.stop_part("ledger-db")


@pytest.fixture
def file(tmp_path: Path) -> Config:
    urls = dict.fromkeys(("ledger", "lookups", "ops"), "postgresql://l") | {"webhook": "http://w", "model": "http://m"}
    text = airline.CONFIG.format(**urls).replace("attempts: 3", "budget: [{cost: 5.0, per: day}]")
    text = text.replace("name: scripted,", "name: scripted, concurrency: 2,")
    path = tmp_path / "wake.yaml"
    path.write_text(text)
    return config.load(path, {}).config


def test_all_of_it(connection: psycopg.Connection[Any], file: Config, capsys: pytest.CaptureFixture[str]) -> None:
    none = spending.read(connection, file)
    assert [(each.budget, each.spent, each.quota) for each in none.budgets] == [("agent rebooker: cost per day", 0, 5)]
    # Half minutes, so that what is told in whole ones does not depend on how long the test takes.
    connection.execute(
        "insert into wake.spend (scope, by_value, window_start, window_end, spent, quota, warned_at)"
        " select 'trigger t: runs per day by after.x', n::text,"
        " now() - interval '62.5 minutes', now() + interval '59.5 minutes', n, 30, now() from generate_series(1, 25) n"
    )
    connection.execute(
        "insert into wake.activation (id, trigger, source, event_id, subject, key, state, depth, event)"
        " values ('a', 't', 'airline', 'e', 's', '{}', 'open', 0, '{}')"
    )
    connection.execute(
        "insert into wake.run (id, activation, agent, trigger, key, state, model, budget, calling, lease_until,"
        " started_at, tokens_in, tokens_out, cost) values"
        " ('1', 'a', 'g', 't', '{}', 'pending', null, 'trigger t: runs per day by after.x = 25', null, null, null,"
        " 0, 0, 0),"
        " ('2', 'a', 'g', 't', '{}', 'running', 'm', null, 'default', now() + interval '1 minute', now(), 10, 2, 0.5),"
        " ('3', 'a', 'g', 't', '{}', 'succeeded', 'm', null, null, null, now(), 20, 3, 0.25),"
        " ('4', 'a', 'g', 't', '{}', 'succeeded', 'm', null, null, null, now() - interval '2 days', 20, 3, 9)"
    )
    connection.execute("insert into wake.model_pause values ('default', now() + interval '1 minute', 'it said so')")
    connection.execute("insert into wake.notice (kind, about, text) values ('budget_warning', 'x', 'x nears its end')")
    found = spending.read(connection, file)
    of_t = [each for each in found.budgets if each.budget.startswith("trigger t")]
    assert [each.by for each in of_t][:2] == ["25", "24"]
    assert len(of_t) == spending.SHOWN
    assert (of_t[0].spent, of_t[0].waiting, of_t[0].warned) == (25.0, 1, True)
    assert of_t[0].runs_out_at is not None
    assert of_t[-1].runs_out_at is None, "6 of 30 in half the window are 12 at its end"
    (model,) = found.models
    assert (model.model, model.under_way, model.concurrency, model.reason) == ("default", 1, 2, "it said so")
    assert found.today == (spending.Today("g", "m", 2, 30, 5, 0.75),)
    telling.tell(found)
    told = capsys.readouterr().out
    assert "after.x = 25: 25 of 30, renews in 59 min, at this rate spent in 12 min, 1 wait" in told
    assert "agent rebooker: cost per day: 0 of 5" in told
    assert "model default: 1 calls under way of 2, PAUSES until" in told
    assert "g, m: 2 runs, 30+5 tokens, cost 0.7500" in told
    assert "x nears its end" in told
