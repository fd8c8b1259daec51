from __future__ import annotations

import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from console import operators, sessions
from console.insights import Insights
from console.operations import OWNER, Operations
from tests.unit.console.seeds import ACTION_ID, Seed
from wakestream.errors import RefusedError
from wakestream.ledger.models import Action, Operator

DECISIONS: list[Callable[[Operations], object]] = [
    lambda operations: operations.approve(ACTION_ID),
    lambda operations: operations.reject(ACTION_ID, "no"),
    lambda operations: operations.retry_action(ACTION_ID),
    lambda operations: operations.retry_run("x"),
    lambda operations: operations.retry_letter(1),
    lambda operations: operations.discard_letter(1, "no"),
]


@pytest.mark.parametrize("decide", DECISIONS)
@pytest.mark.parametrize(
    ("given", "why"), [(None, "export WAKE_TOKEN"), ("", "export WAKE_TOKEN"), ("wake_guess", "not known")]
)
def test_nobody_decides_without_a_token(
    seed: Seed, decide: Callable[[Operations], object], given: str | None, why: str
) -> None:
    seed.run()
    seed.action()
    with pytest.raises(RefusedError, match=why):
        decide(Operations(seed.engine, given))
    assert seed.get(Action, ACTION_ID).state == "awaiting_approval"


def test_a_revoked_token_is_worthless_and_says_whose_it_was(seed: Seed, operations: Operations) -> None:
    seed.run()
    seed.action()
    bob = Operations(seed.engine, operations.add_operator("bob"))
    operations.revoke_operator("bob")
    with pytest.raises(RefusedError, match=r"was revoked on 20\d\d-.*: it was bob's"):
        bob.approve(ACTION_ID)
    with pytest.raises(RefusedError, match="was revoked on"):
        bob.add_operator("carol")
    assert seed.get(Action, ACTION_ID).state == "awaiting_approval"
    operations.approve(ACTION_ID)


def test_the_name_of_an_operator_is_no_token(seed: Seed, token: str) -> None:
    with pytest.raises(RefusedError, match="not known"):
        Operations(seed.engine, "alice").approve(ACTION_ID)
    with pytest.raises(RefusedError, match="not known"):
        Operations(seed.engine, operators.hash_of(token)).approve(ACTION_ID)


def test_tokens_are_long_random_and_only_their_hash_is_kept(seed: Seed, token: str) -> None:
    assert len({operators.new_token() for _ in range(100)}) == 100
    assert len(token) >= 43
    kept = seed.get(Operator, "alice")
    assert kept.token_hash == operators.hash_of(token)
    assert token not in repr(vars(kept))


def test_names_are_given_once(operations: Operations) -> None:
    operations.add_operator("bob")
    with pytest.raises(RefusedError, match="`bob` exists already"):
        operations.add_operator("bob")
    operations.revoke_operator("bob")
    with pytest.raises(RefusedError, match="`bob` was revoked on"):
        operations.add_operator("bob")
    with pytest.raises(RefusedError, match="`bob` was revoked already"):
        operations.revoke_operator("bob")
    with pytest.raises(RefusedError, match="no operator `rob`; there are: `alice`, `bob`"):
        operations.revoke_operator("rob")
    for name in ("", "a b", "-x", "x" * 65, "x\n"):
        with pytest.raises(RefusedError, match="cannot be an operator's name"):
            operations.add_operator(name)


def test_the_list_has_everybody_and_the_first_one_needs_no_token(seed: Seed, insights: Insights) -> None:
    first = Operations(seed.engine, None)
    Operations(seed.engine, first.add_operator("bob")).add_operator("carol")
    first.revoke_operator("bob")
    assert [(row.name, row.revoked_at is not None) for row in insights.operators()] == [("bob", True), ("carol", False)]
    with sessions.transaction(seed.engine) as session:
        who = [row.who for row in session.query(operators.Audit).order_by(operators.Audit.id)]
    assert who == [OWNER, "bob", OWNER]


def test_the_local_admin_is_made_once_and_its_file_is_private(seed: Seed, tmp_path: Path) -> None:
    file = tmp_path / "home" / "token"
    operators.ensure_local_admin(seed.url, file)
    token = file.read_text().strip()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    seed.run()
    seed.action()
    assert Operations(seed.engine, token).approve(ACTION_ID).by == "local"
    operators.ensure_local_admin(seed.url, file)
    assert file.read_text().strip() == token


def test_the_local_admin_survives_a_lost_file_and_a_new_ledger(seed: Seed, tmp_path: Path) -> None:
    file = tmp_path / "token"
    operators.ensure_local_admin(seed.url, file)
    old = file.read_text().strip()
    file.unlink()
    operators.ensure_local_admin(seed.url, file)
    new = file.read_text().strip()
    assert new != old
    with pytest.raises(RefusedError, match="not known"):
        Operations(seed.engine, old).revoke_operator("local")
    file.write_text("wake_from-another-ledger\n")
    operators.ensure_local_admin(seed.url, file)
    assert file.read_text() == "wake_from-another-ledger\n"
    Operations(seed.engine, "wake_from-another-ledger").add_operator("bob")


def test_a_revoked_local_admin_stays_revoked(seed: Seed, tmp_path: Path) -> None:
    file = tmp_path / "token"
    operators.ensure_local_admin(seed.url, file)
    Operations(seed.engine, None).revoke_operator("local")
    operators.ensure_local_admin(seed.url, file)
    with pytest.raises(RefusedError, match="revoked"):
        Operations(seed.engine, file.read_text().strip()).add_operator("bob")
