"""The operators' commands from their words to the ledger and back."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

import pytest
from typer.testing import Result

from console import views
from tests.unit.cli.conftest import Wake
from tests.unit.console.seeds import ACTION_ID, FARE, RUN_ID, Seed
from wakestream.ledger.models import Action, DeadLetter, Run


@pytest.fixture
def ask(wake: Wake, seed: Seed, token: str) -> Wake:
    """Runs `wake` as alice, on a ledger with one action that waits."""
    seed.run(model="qwen", tokens_in=230, tokens_out=41, model_ms=812.0)
    seed.step("prompt", request={"messages": [{"role": "user", "content": "Flight 7 is late.\nWhat now?"}]})
    seed.step("model:1", response={"content": "{}"}, tokens_in=230, tokens_out=41, ms=812.0)
    seed.action(reason="approval: always")

    def run(*words: str, **environment: str) -> Result:
        return wake(*words, **({"LEDGER_URL": seed.url, "WAKE_TOKEN": token} | environment))

    return run


def lines(done: Result) -> list[dict[str, Any]]:
    assert done.exit_code == 0, done.output
    return [json.loads(line, parse_float=Decimal) for line in done.stdout.splitlines()]


def keys(record: type[views.View]) -> list[str]:
    return list(record.__struct_fields__)


def test_lists_are_json_lines_with_stable_keys(ask: Wake, seed: Seed) -> None:
    seed.letter()
    for words, record in (
        (["runs", "list"], views.RunRow),
        (["actions", "list"], views.ActionRow),
        (["letters", "list"], views.LetterRow),
        (["operator", "list"], views.OperatorRow),
    ):
        (row,) = lines(ask(*words, "--json"))
        assert sorted(row) == sorted(keys(record))
    (row,) = lines(ask("actions", "list", "--json"))
    assert (row["id"], row["run"], row["state"]) == (ACTION_ID, RUN_ID, "awaiting_approval")
    assert (row["bound"], row["chosen"]) == ({"booking": 42}, {"to_flight": {"id": 9, "fare": FARE}})
    assert row["receipt"] is None


def test_anything_else_is_one_document(ask: Wake, seed: Seed) -> None:
    letter = seed.letter()
    for words, record in (
        (["runs", "show", RUN_ID], views.RunStory),
        (["actions", "show", ACTION_ID], views.ActionStory),
        (["letters", "show", str(letter)], views.LetterStory),
        (["why", "public.flight/7"], views.Why),
        (["actions", "approve", ACTION_ID], views.Decided),
    ):
        (document,) = lines(ask(*words, "--json"))
        assert sorted(document) == sorted(keys(record))


def test_filters(ask: Wake) -> None:
    for group in ("runs", "actions"):
        assert len(lines(ask(group, "list", "--json", "--key", "7", "--trigger", "flight_delayed"))) == 1
        assert lines(ask(group, "list", "--json", "--key", "8")) == []
        assert lines(ask(group, "list", "--json", "--agent", "nobody")) == []
    assert lines(ask("runs", "list", "--json", "--state", "failed")) == []
    assert len(lines(ask("runs", "list", "--json", "--state", "failed", "--state", "waiting"))) == 1


def test_tables_are_plain_and_aligned_off_a_terminal(ask: Wake) -> None:
    done = ask("runs", "list")
    heading, row = done.stdout.splitlines()
    assert heading.index("AGENT") == row.index("rebooker")
    assert row.startswith("waiting  " + RUN_ID)
    assert row.endswith("–")
    assert "\x1b" not in done.stdout
    assert ask("runs", "list", "--state", "parked").stdout == "no runs; `wake why SUBJECT` says what a change led to\n"


def test_a_run_is_told_whole(ask: Wake, seed: Seed) -> None:
    ask("actions", "approve", ACTION_ID, "--reason", "dear but right")
    seed.receipt()
    told = ask("runs", "show", RUN_ID).stdout
    for part in (
        "status: scheduled → delayed",
        "2026-11-22 11:53:11.769Z",
        "after.status == 'delayed'",
        "What now?",
        "model:1 (812 ms, 230 tokens in, 41 out)",
        "update booking set flight_id = :to_flight",
        '{"booking": 42}',
        f'"fare": {FARE}',
        "approved by alice",
        "dear but right",
        "1/A0, 1 row, seen 0.150 s after its commit",
    ):
        assert part in told, part
    assert RUN_ID in ask("actions", "show", ACTION_ID).stdout


def test_approving_twice_and_after_a_rejection(ask: Wake) -> None:
    done = ask("actions", "approve", ACTION_ID)
    assert (done.exit_code, done.stdout) == (0, f"{ACTION_ID}: awaiting_approval → approved, by alice\n")
    again = ask("actions", "approve", ACTION_ID)
    assert again.exit_code == 1
    assert f"action `{ACTION_ID}` is already approved: approved by alice on 20" in again.stderr
    assert ask("actions", "reject", ACTION_ID).exit_code == 1
    assert ask("actions", "reject", ACTION_ID, "--reason", "no").exit_code == 0
    late = ask("actions", "approve", ACTION_ID)
    assert late.exit_code == 1
    assert "is rejected: rejected by alice on 20" in late.stderr
    assert late.stderr.count("\n") == 1


def test_who_may_not_decide_is_told_so(ask: Wake, seed: Seed) -> None:
    bob = lines(ask("operator", "add", "bob", "--json"))[0]["token"]
    assert ask("operator", "revoke", "bob").stdout == "bob is revoked\n"
    for token, why in (("", "no token: export WAKE_TOKEN"), ("alice", "is not known"), (bob, "it was bob's")):
        done = ask("actions", "approve", ACTION_ID, WAKE_TOKEN=token)
        assert done.exit_code == 1
        assert why in done.stderr
    assert seed.get(Action, ACTION_ID).state == "awaiting_approval"
    unknown = ask("actions", "approve", "nonsense")
    assert (unknown.exit_code, unknown.stderr) == (1, f"no action `nonsense`; newest: `{ACTION_ID}`\n")


def test_a_token_is_alone_on_stdout(ask: Wake, seed: Seed) -> None:
    done = ask("operator", "add", "bob")
    assert done.stdout.startswith("wake_")
    assert done.stdout.count("\n") == 1
    assert "shown only now" in done.stderr
    assert ask("actions", "approve", ACTION_ID, WAKE_TOKEN=done.stdout.strip()).exit_code == 0
    assert seed.get(Action, ACTION_ID).decided_by == "bob"
    assert done.stdout.strip() not in ask("operator", "list").stdout


def test_an_unknown_effect_is_retried_only_when_somebody_says_yes(ask: Wake, seed: Seed) -> None:
    other = seed.action("unknown", number=2)
    refused = ask("actions", "retry", other)
    assert refused.exit_code == 1
    assert "it may happen twice; say so with --yes" in refused.stderr
    assert seed.get(Action, other).state == "unknown"
    done = ask("actions", "retry", other, "--yes")
    assert done.exit_code == 0
    assert "it may happen twice" in done.stderr
    assert seed.get(Action, other).state == "approved"


def test_runs_and_letters_are_retried(ask: Wake, seed: Seed) -> None:
    parked, letter = seed.run("parked", number=8), str(seed.letter())
    assert ask("runs", "retry", parked).exit_code == 0
    assert seed.get(Run, parked).state == "pending"
    assert ask("runs", "retry", RUN_ID).exit_code == 1
    assert ask("letters", "retry", letter).exit_code == 0
    assert seed.get(DeadLetter, int(letter)).state == "retried"
    assert ask("letters", "discard", letter, "--reason", "done").exit_code == 1
    assert "division by zero" in ask("letters", "show", letter).stdout


def test_why_tells_of_an_event_that_woke_nobody(ask: Wake, seed: Seed) -> None:
    seed.count("null", 3)
    told = ask("why", "public.flight/99").stdout
    assert told.startswith("no trigger was met for public.flight/99")
    assert "null" in told
    assert "open " in ask("why", "7").stdout


def test_a_ledger_without_a_schema_is_exit_2(ask: Wake, seed: Seed) -> None:
    nowhere = seed.url.rpartition("/")[0] + "/postgres"
    done = ask("runs", "list", LEDGER_URL=nowhere)
    assert (done.exit_code, done.stderr) == (2, "the ledger has no schema yet; run `wake apply`\n")
