from __future__ import annotations

from collections.abc import Callable
from typing import Any, get_args

import psycopg
import pytest
from sqlalchemy import select
from sqlalchemy.orm import Session

from console.operations import TWICE, Operations
from tests.unit.console.seeds import ACTION_ID, RUN_ID, Seed
from wakestream import states
from wakestream.errors import RefusedError
from wakestream.ledger.models import Action, Audit, DeadLetter, Run, RunStep

Verb = Callable[[Operations], Any]

ON_ACTION: dict[str, Verb] = {
    "approve": lambda operations: operations.approve(ACTION_ID, "looks right"),
    "reject": lambda operations: operations.reject(ACTION_ID, "too dear"),
    "retry": lambda operations: operations.retry_action(ACTION_ID, "the target is back"),
    "settle": lambda operations: operations.settle_action(ACTION_ID, "they told me", happened=True),
}
ALLOWED: dict[str, dict[str, str]] = {
    "approve": {"awaiting_approval": "approved"},
    "reject": {"proposed": "rejected", "awaiting_approval": "rejected", "approved": "rejected"},
    "retry": {"failed": "approved", "unknown": "approved"},
    "settle": {"unknown": "succeeded"},
}
EVERY = [(verb, state) for verb in ON_ACTION for state in states.ACTION]


def deeds(seed: Seed) -> list[tuple[str, str, list[str], str | None]]:
    with Session(seed.engine) as session:
        found = session.scalars(select(Audit).where(Audit.what != "operator.add").order_by(Audit.id))
        return [(deed.who, deed.what, deed.ids, deed.reason) for deed in found]


def test_every_allowed_move_is_a_move_of_the_life() -> None:
    moves = {(was, to) for verb in ALLOWED.values() for was, to in verb.items()}
    lives = {(was, to) for was, targets in states.ACTION_MOVES.items() for to in targets}
    assert moves <= lives
    assert {was for was, _ in moves} <= set(get_args(states.ActionState))


@pytest.mark.parametrize(("verb", "state"), [each for each in EVERY if each[1] in ALLOWED[each[0]]])
def test_allowed_moves(seed: Seed, operations: Operations, verb: str, state: str) -> None:
    seed.run("waiting")
    seed.action(state, attempts=3, intent={"xid": 5}, lease_by="w")
    decided = ON_ACTION[verb](operations)
    action = seed.get(Action, ACTION_ID)
    assert (decided.was, decided.state, decided.by) == (state, ALLOWED[verb][state], "alice")
    assert action.state == ALLOWED[verb][state]
    assert action.lease_by is None
    (deed,) = deeds(seed)
    assert deed[:3] == ("alice", f"action.{verb}", [ACTION_ID])
    assert deed[3]


@pytest.mark.parametrize(("verb", "state"), [each for each in EVERY if each[1] not in ALLOWED[each[0]]])
def test_every_other_move_is_refused_and_changes_nothing(
    seed: Seed, operations: Operations, verb: str, state: str
) -> None:
    seed.run("waiting")
    seed.action(state)
    with pytest.raises(RefusedError, match=f"action `{ACTION_ID}` is (already )?{state}"):
        ON_ACTION[verb](operations)
    assert seed.get(Action, ACTION_ID).state == state
    assert deeds(seed) == []


def test_approval_says_who_when_and_why(seed: Seed, operations: Operations) -> None:
    seed.run("waiting")
    seed.action()
    operations.approve(ACTION_ID, "looks right")
    action = seed.get(Action, ACTION_ID)
    assert (action.decided_by, action.decision_reason, action.reason) == ("alice", "looks right", "approved by alice")
    assert action.decided_at is not None
    with pytest.raises(RefusedError, match=r"is already approved: approved by alice on 20\d\d-.* looks right"):
        operations.approve(ACTION_ID)
    operations.reject(ACTION_ID, "no, too dear")
    with pytest.raises(RefusedError, match=r"is rejected: rejected by alice on 20\d\d-.*: no, too dear"):
        operations.approve(ACTION_ID)
    assert [deed[1] for deed in deeds(seed)] == ["action.approve", "action.reject"]


def test_an_approved_action_that_ran_still_says_who_approved_it(seed: Seed, operations: Operations) -> None:
    seed.run("waiting")
    seed.action()
    operations.approve(ACTION_ID)
    with Session(seed.engine) as session, session.begin():
        session.get_one(Action, ACTION_ID).state = "succeeded"
    with pytest.raises(RefusedError, match="is succeeded: approved by alice on"):
        operations.approve(ACTION_ID)


def test_rejecting_needs_a_reason(seed: Seed, operations: Operations) -> None:
    seed.run("waiting")
    seed.action()
    for reason in (None, "", "  "):
        with pytest.raises(RefusedError, match="--reason"):
            operations.reject(ACTION_ID, reason)
    assert seed.get(Action, ACTION_ID).state == "awaiting_approval"


def test_rejecting_the_last_open_action_ends_the_run(seed: Seed, operations: Operations) -> None:
    seed.run("waiting")
    seed.action()
    other = seed.action(number=2)
    operations.reject(ACTION_ID, "no")
    assert seed.get(Run, RUN_ID).state == "waiting"
    operations.reject(other, "no")
    assert seed.get(Run, RUN_ID).state == "succeeded"


def test_rejecting_what_was_approved_and_has_not_begun_ends_the_run_too(seed: Seed, operations: Operations) -> None:
    seed.run("running")
    seed.action("approved")
    operations.reject(ACTION_ID, "changed my mind")
    assert seed.get(Run, RUN_ID).state == "succeeded"


def test_a_retry_starts_clean_and_tells_what_may_happen_twice(seed: Seed, operations: Operations) -> None:
    seed.run("waiting")
    seed.action("unknown", attempts=20, intent={"xid": 5}, decided_by="bob", decision_reason="fine")
    assert operations.retry_action(ACTION_ID).note == TWICE
    action = seed.get(Action, ACTION_ID)
    assert (action.attempts, action.intent, action.decided_by, action.decision_reason) == (0, None, "bob", "fine")
    failed = seed.action("failed", number=2)
    assert operations.retry_action(failed).note is None


def test_an_action_with_a_receipt_is_not_retried(seed: Seed, operations: Operations) -> None:
    seed.run("waiting")
    seed.action("unknown")
    seed.receipt()
    with pytest.raises(RefusedError, match="took effect: its mark is in the change log at 1/A0"):
        operations.retry_action(ACTION_ID)


@pytest.mark.parametrize("state", states.RUN)
def test_runs_that_can_be_retried(seed: Seed, operations: Operations, state: str) -> None:
    seed.run(state, attempts=5, error="no answer", lease_by="w")
    if state not in ("failed", "parked"):
        with pytest.raises(RefusedError, match=f"is {state}; only a failed or parked one"):
            operations.retry_run(RUN_ID)
        assert seed.get(Run, RUN_ID).state == state
        return
    operations.retry_run(RUN_ID)
    run = seed.get(Run, RUN_ID)
    assert (run.state, run.attempts, run.error, run.lease_by) == ("pending", 0, None, None)
    assert deeds(seed) == [("alice", "run.retry", [RUN_ID], None)]


def test_a_parked_run_keeps_its_steps_and_a_failed_one_decides_anew(seed: Seed, operations: Operations) -> None:
    seed.run("parked")
    seed.step("model:1", response={"content": "{}"})
    operations.retry_run(RUN_ID)
    for _ in range(2):
        with Session(seed.engine) as session, session.begin():
            session.get_one(Run, RUN_ID).state = "failed"
        operations.retry_run(RUN_ID)
        seed.step("model:1", response={"content": "[]"})
    with Session(seed.engine) as session:
        steps = session.scalars(select(RunStep.step).order_by(RunStep.step)).all()
    assert steps == ["before retry 2/model:1", "before retry 3/model:1", "model:1"]


@pytest.mark.parametrize("state", ["failed", "parked"])
def test_a_run_goes_on_from_a_chosen_step(seed: Seed, operations: Operations, state: str) -> None:
    seed.run(state)
    for step in ("lookup:seats", "prompt", "model:1", "model:2"):
        seed.step(step)
    with pytest.raises(RefusedError, match="no step `model:3`; it has: lookup:seats, prompt, model:1, model:2"):
        operations.retry_run(RUN_ID, step="model:3")
    operations.retry_run(RUN_ID, step="model:1")
    with Session(seed.engine) as session:
        steps = session.scalars(select(RunStep.step).order_by(RunStep.at)).all()
    assert steps == ["lookup:seats", "prompt", "before retry 1/model:1", "before retry 1/model:2"]
    assert seed.get(Run, RUN_ID).decision is None


@pytest.mark.parametrize("state", ["pending", "parked"])
def test_who_lets_a_run_go_although_its_budget_is_spent_is_known(
    seed: Seed, operations: Operations, state: str
) -> None:
    seed.run(state, budget="agent rebooker: cost per day")
    operations.retry_run(RUN_ID, "it is urgent")
    run = seed.get(Run, RUN_ID)
    assert (run.state, run.let_go_by, run.budget) == ("pending", "alice", None)
    assert deeds(seed) == [("alice", "run.retry", [RUN_ID], "it is urgent")]


def test_unknown_ids_come_with_the_nearest(seed: Seed, operations: Operations) -> None:
    with pytest.raises(RefusedError, match="no action `x`; there is no action yet"):
        operations.approve("x")
    seed.run()
    seed.action()
    with pytest.raises(RefusedError, match=f"nearest: `{ACTION_ID}`"):
        operations.approve(ACTION_ID + "1")
    with pytest.raises(RefusedError, match=f"no run `abc`; newest: `{RUN_ID}`"):
        operations.retry_run("abc")


def test_an_agent_letter_is_evaluated_again_and_any_letter_discarded(seed: Seed, operations: Operations) -> None:
    letter = seed.letter()
    assert operations.retry_letter(letter).state == "retried"
    assert seed.get(DeadLetter, letter).state == "retried"
    with pytest.raises(RefusedError, match=r"is retried already, by alice on"):
        operations.retry_letter(letter)
    other = seed.letter("consumer", offset=6)
    with pytest.raises(RefusedError, match="without the configuration it cannot be tried again"):
        operations.retry_letter(other)
    with pytest.raises(RefusedError, match="needs its reason"):
        operations.discard_letter(other, None)
    operations.discard_letter(other, "a test of ours")
    with pytest.raises(RefusedError, match=r"is discarded already, by alice on"):
        operations.discard_letter(other, "again")
    assert [deed[1:] for deed in deeds(seed)] == [
        ("letter.retry", [f"letter/{letter}"], None),
        ("letter.discard", [f"letter/{other}"], "a test of ours"),
    ]


@pytest.mark.parametrize("channel", ["wake_action", "wake_run", "wake_letter"])
def test_the_agent_is_woken(seed: Seed, operations: Operations, channel: str) -> None:
    seed.run()
    seed.action()
    parked, letter = seed.run("parked", number=8), seed.letter()
    act: dict[str, Callable[[], object]] = {
        "wake_action": lambda: operations.approve(ACTION_ID),
        "wake_run": lambda: operations.retry_run(parked),
        "wake_letter": lambda: operations.retry_letter(letter),
    }
    with psycopg.connect(seed.url, autocommit=True) as listener:
        listener.execute(f"listen {channel}")
        act[channel]()
        (heard,) = listener.notifies(timeout=10, stop_after=1)
    assert heard.channel == channel


def test_a_refused_decision_wakes_nobody(seed: Seed, operations: Operations) -> None:
    seed.run()
    seed.action("rejected")
    with psycopg.connect(seed.url, autocommit=True) as listener:
        listener.execute("listen wake_action")
        with pytest.raises(RefusedError):
            operations.approve(ACTION_ID)
        listener.execute("select pg_notify('wake_action', 'end')")
        assert [each.payload for each in listener.notifies(timeout=10, stop_after=1)] == ["end"]


@pytest.mark.parametrize(
    ("happened", "state", "said"), [(True, "succeeded", "it happened"), (False, "failed", "it did not happen")]
)
def test_a_person_settles_what_is_unknown(
    seed: Seed, operations: Operations, happened: bool, state: str, said: str
) -> None:
    seed.run("waiting")
    seed.action("unknown", result={"checked": {"times": 2}})
    assert operations.settle_action(ACTION_ID, "they told me", happened=happened).state == state
    action = seed.get(Action, ACTION_ID)
    assert (action.state, action.reason) == (state, f"{said}, says alice: they told me")
    assert action.result == {"checked": {"times": 2}, "settled": "by alice"}
    assert action.executed_at is not None
    assert seed.get(Run, RUN_ID).state == "succeeded"


def test_settling_needs_a_reason_and_believes_the_change_log_first(seed: Seed, operations: Operations) -> None:
    seed.run("waiting")
    seed.action("unknown")
    with pytest.raises(RefusedError, match="--reason TEXT"):
        operations.settle_action(ACTION_ID, " ", happened=True)
    seed.receipt()
    with pytest.raises(RefusedError, match="took effect: its mark is in the change log"):
        operations.settle_action(ACTION_ID, "surely not", happened=False)
    assert operations.settle_action(ACTION_ID, "of course", happened=True).state == "succeeded"
