"""What a person changes of a proposal goes the way of the model's words: schema, binding, policy, fence, approval."""

from __future__ import annotations

from typing import Any

import pytest

from agent.testing import decision
from console import operators, sessions, views
from console.operations import Operations
from tests.unit.agent.airline import disruption
from tests.unit.agent.conftest import MakeWorld, World
from tests.unit.agent.test_programs import kept
from wakestream.errors import RefusedError

DEAR = ("rebook", {"to_flight": 9, "note": "n"})


class Desk:
    """A world with an action that waits for a person, and the people."""

    def __init__(self, world: World) -> None:
        self.world = world
        kept(world)
        world.book()
        world.model.script = lambda _: decision(DEAR)
        world.feed(disruption())
        world.work()
        self.engine = sessions.open_ledger(world.databases.ledger)
        self.ann = self.person("ann")

    def person(self, name: str) -> Operations:
        with sessions.transaction(self.engine) as session:
            return Operations(self.engine, operators.add(session, name, by="test"))

    def edit(self, by: Operations | None = None, **changes: Any) -> views.Decided:
        return (by or self.ann).edit(self.action["id"], changes, self.world.loaded.config, "because")

    @property
    def action(self) -> dict[str, Any]:
        return self.world.action("rebook")


@pytest.fixture
def desk(world: World) -> Desk:
    return Desk(world)


def test_a_choice_and_a_parameter_are_changed_and_executed_once_approved(desk: Desk) -> None:
    before = desk.action
    decided = desk.edit(to_flight=8, note="by hand")
    assert (decided.state, decided.was, decided.by) == ("awaiting_approval", "awaiting_approval", "ann")
    after = desk.action
    assert after["chosen"]["to_flight"]["id"] == 8
    assert after["arguments"] == {"note": "by hand"}
    assert after["bound"] == before["bound"]
    assert after["effect"]["text"] == (
        "update booking set flight_id = 8, note = 'by hand' where id = 42 and flight_id = 7"
    )
    assert "public.flight/8" in [row["subject"] for row in after["fence"]["rows"]]
    assert "public.flight/9" not in [row["subject"] for row in after["fence"]["rows"]]
    assert after["edited_by"] == "ann"
    assert after["edits"] == [{"arguments": {"note": "n"}, "chosen": before["chosen"], "by": "the model"}]
    assert desk.world.work() == 0, "nobody has approved it"
    desk.ann.approve(after["id"])
    desk.world.work()
    assert desk.world.booked() == 8
    ((what, ids, reason),) = desk.world.rows("select what, ids, reason from wake.audit where what = 'action.edit'")
    assert (ids, reason) == ([after["id"]], "because")


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"to_flight": 99}, "to_flight: 99 is not one of"),
        ({"to_flight": "8"}, "to_flight: "),
        ({"note": "x" * 81}, "note: "),
        ({"note": None}, "note: "),
        ({"booking": 43}, "`rebook` has no argument booking; it has: to_flight, note. What is bound comes from"),
        ({}, "say what is to be changed"),
    ],
)
def test_what_does_not_exist_or_fit_is_refused(desk: Desk, changes: dict[str, Any], said: str) -> None:
    before = desk.action
    with pytest.raises(RefusedError, match=said):
        desk.edit(**changes)
    assert desk.action == before


def test_approvals_of_something_else_do_not_count(make_world: MakeWorld) -> None:
    desk = Desk(make_world(("approval: chosen.to_flight.fare > ", "approvers: {count: 2}\n    approval: 0.0 < ")))
    bob = desk.person("bob")
    assert desk.ann.approve(desk.action["id"]).state == "awaiting_approval"
    desk.edit(bob, note="other words")
    assert desk.world.rows("select count(*) from wake.approval") == [(0,)]
    assert bob.approve(desk.action["id"]).state == "awaiting_approval"
    assert desk.ann.approve(desk.action["id"]).state == "approved"


def test_only_who_may_approve_may_change(make_world: MakeWorld) -> None:
    desk = Desk(make_world(("approval: chosen", "approvers: {names: [bob]}\n    approval: chosen")))
    with pytest.raises(RefusedError, match="may be approved by bob; you are ann"):
        desk.edit(note="x")
    assert desk.edit(desk.person("bob"), note="x").by == "bob"


def test_what_is_decided_is_not_changed(desk: Desk) -> None:
    desk.ann.reject(desk.action["id"], "no")
    with pytest.raises(RefusedError, match="rejected by ann"):
        desk.edit(note="x")


def test_it_takes_a_reason(desk: Desk) -> None:
    with pytest.raises(RefusedError, match="needs its reason"):
        desk.ann.edit(desk.action["id"], {"note": "x"}, desk.world.loaded.config, " ")


def test_each_change_keeps_what_was_before(desk: Desk) -> None:
    desk.edit(note="one")
    desk.edit(desk.person("bob"), note="two")
    assert [(each["arguments"]["note"], each["by"]) for each in desk.action["edits"]] == [
        ("n", "the model"),
        ("one", "ann"),
    ]
    assert desk.action["edited_by"] == "bob"


def test_a_choice_that_needs_nobody_waits_all_the_same(desk: Desk) -> None:
    """Flight 8 is cheap enough to go without approval, but who changes an action has not approved it."""
    assert (
        desk.edit(to_flight=8).note
        == "edited by ann; no approval needed: not (chosen.to_flight.fare > after.flight.fare + 200.0)"
    )
    assert desk.action["state"] == "awaiting_approval"


def test_without_its_program_it_is_refused(desk: Desk) -> None:
    desk.world.rows("delete from wake.program returning 1")
    with pytest.raises(RefusedError, match="is not kept any more"):
        desk.edit(note="x")
