"""What waits costs nothing: neither a claim nor memory. Shown by the plan that PostgreSQL takes, not by times."""

from __future__ import annotations

import json
from typing import Any

import psycopg
import pytest

from agent import run_claim, testing
from agent.bell import Bell
from agent.leases import LEASE
from tests.unit.agent.airline import disruption
from tests.unit.agent.conftest import World

MANY = 20_000
FEW = 200
"""Pages that a claim may look at, whatever waits."""


@pytest.fixture
def crowded(world: World) -> World:
    """One run that is due, among many that wait for a person, a budget, or for nothing any more."""
    world.model.script = testing.SCRIPTS["decide_none"]
    world.feed(disruption())
    with world.ledger() as connection:
        for state, budget, later in (
            ("waiting", None, "0"),
            ("parked", None, "0"),
            ("succeeded", None, "0"),
            ("pending", "trigger disrupted: runs per day", "1 day"),
        ):
            _copy(connection, state, budget, later)
        connection.execute("vacuum analyze wake.run")
        connection.execute("vacuum analyze wake.activation")
    return world


def _copy(connection: psycopg.Connection[Any], state: str, budget: str | None, later: str) -> None:
    connection.execute(
        "insert into wake.run (id, activation, agent, trigger, key, subject, state, run_at, budget, config_digest)"
        " select r.id || '/' || %s || n, r.activation, r.agent, r.trigger, r.key, r.subject, %s,"
        " now() + %s::interval, %s, r.config_digest from (select * from wake.run limit 1) r, generate_series(1, %s) n",
        (state, state, later, budget, MANY // 4),
    )


def explained(world: World) -> dict[str, Any]:
    with world.ledger() as connection, connection.transaction(force_rollback=True):
        row = connection.execute(
            "explain (analyze, buffers, format json) " + run_claim.CLAIM,
            {"by": "x", "lease": LEASE, "since": run_claim.BEGINNING},
        ).fetchone()
    assert row is not None
    return row[0][0]["Plan"]


def nodes(plan: dict[str, Any]) -> list[dict[str, Any]]:
    return [plan, *(node for child in plan.get("Plans", []) for node in nodes(child))]


@pytest.mark.parametrize("due", [True, False])
def test_a_claim_looks_at_what_is_due_only(crowded: World, due: bool) -> None:
    if not due:
        crowded.work()
    plan = explained(crowded)
    on_runs = [node for node in nodes(plan) if node.get("Relation Name") == "run" and "Scan" in node["Node Type"]]
    assert on_runs
    assert {node["Node Type"] for node in on_runs} <= {"Index Scan", "Tid Scan"}, json.dumps(plan)
    looked = sum(node["Actual Rows"] * node["Actual Loops"] + node.get("Rows Removed by Filter", 0) for node in on_runs)
    assert looked <= 10
    assert plan["Shared Hit Blocks"] + plan["Shared Read Blocks"] <= FEW


def test_a_worker_holds_nothing_for_what_waits(crowded: World) -> None:
    crowded.work()
    assert crowded.holdings.held() == []
    assert crowded.rows("select count(*) from wake.run where lease_by is not null") == [(0,)]


def test_the_due_one_is_found_among_them(crowded: World) -> None:
    before = crowded.rows("select count(*) from wake.run where state = 'succeeded'")[0][0]
    assert crowded.work() == 1
    assert crowded.rows("select count(*) from wake.run where state = 'succeeded'") == [(before + 1,)]


def test_a_plan_of_a_quiet_time_serves_a_burst(world: World) -> None:
    """The server keeps the plan that it made while the tables were empty, until somebody analyses them."""
    with world.ledger() as connection:
        connection.execute("truncate wake.activation cascade")  # new files, of which nothing is known
    for _ in range(10):
        assert _claim(world) is None
    world.feed(disruption())
    with world.ledger() as connection:
        _copy(connection, "pending", None, "0")
    assert _claim(world) is not None
    assert _claim(world) is not None
    with world.own.transaction("counting") as connection:
        connection.execute(run_claim.CLAIM, {"by": "y", "lease": LEASE, "since": run_claim.BEGINNING}).fetchall()
        row = connection.execute(
            "select sum(pg_stat_get_xact_tuples_returned(oid)) from pg_class"
            " where relnamespace = 'wake'::regnamespace and relkind in ('r', 'i')"
        ).fetchone()
    assert row is not None
    assert row[0] <= FEW


def _claim(world: World) -> object:
    turn = run_claim.Turn(Bell())
    with world.own.transaction("claiming") as connection:
        asked = turn.claim(connection, "x")
    return turn.claimed(asked)
