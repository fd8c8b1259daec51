from __future__ import annotations

import pytest

from console import operators, sessions
from console.operations import Operations
from tests.unit.console.seeds import Seed
from wakestream.errors import RefusedError
from wakestream.ledger.models import Action, Approval


def other(seed: Seed, name: str) -> Operations:
    with sessions.transaction(seed.engine) as session:
        return Operations(seed.engine, operators.add(session, name, by="test"))


def waiting(seed: Seed, **policy: object) -> str:
    seed.run()
    return seed.action(policy=policy)


def test_two_people_approve_each_once(operations: Operations, seed: Seed) -> None:
    action = waiting(seed, count=2)
    first = operations.approve(action, "fine")
    assert (first.state, first.note) == ("awaiting_approval", "approved by alice: 1 of 2")
    with pytest.raises(RefusedError, match="has your approval since .* waits for somebody else's"):
        operations.approve(action)
    second = other(seed, "bob").approve(action)
    assert second.state == "approved"
    found = seed.get(Action, action)
    assert (found.decided_by, found.reason) == ("alice, bob", "approved by alice, bob")
    assert seed.get(Approval, (action, "alice")).reason == "fine"


def test_only_who_is_named_may(operations: Operations, seed: Seed) -> None:
    action = waiting(seed, approvers=["bob"])
    with pytest.raises(RefusedError, match="may be approved by bob; you are alice"):
        operations.approve(action)
    with pytest.raises(RefusedError, match="you are alice"):
        operations.approve(action, although_stale=True)
    assert other(seed, "bob").approve(action).state == "approved"


def test_anybody_may_reject(operations: Operations, seed: Seed) -> None:
    assert operations.reject(waiting(seed, approvers=["bob"]), "no").state == "rejected"


def test_a_retry_takes_who_may_approve(operations: Operations, seed: Seed) -> None:
    seed.run()
    action = seed.action("failed", policy={"approvers": ["bob"]})
    with pytest.raises(RefusedError, match="you are alice"):
        operations.retry_action(action)
    assert other(seed, "bob").retry_action(action).state == "approved"
