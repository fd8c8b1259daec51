from __future__ import annotations

import dataclasses
import json

import pytest

from agent import testing
from tests.unit.agent import airline
from tests.unit.agent.airline import disruption
from tests.unit.agent.conftest import MakeWorld, World
from wakestream import capture, program_keeping
from wakestream.errors import EventError

STATEMENT = "update booking set flight_id = :to_flight, note = :note where id = :booking and flight_id = :from_flight"
OTHER = "update booking set note = :note, flight_id = :to_flight where id = :booking and flight_id = :from_flight"
CHANGED = (
    (STATEMENT, OTHER),
    ("approval: chosen.to_flight.fare > after.flight.fare + 200.0", "approval: always"),
    ("name: scripted", "name: another"),
)


def kept(world: World) -> str:
    """Keep the program as the agent does when it starts."""
    with world.ledger() as connection:
        revision = capture.store(connection, airline.CATALOGUE, airline.CAPTURE)
        program = dataclasses.replace(world.program, revisions={"airline": revision})
        program_keeping.keep(connection, program)
        program_keeping.keep(connection, program)
    return program.digest


def begin(world: World) -> None:
    """A run that has its prompt and no answer yet."""
    world.book()
    world.model.script = testing.SCRIPTS["error"]
    world.feed(disruption())
    world.work()
    assert world.run()["state"] == "pending"
    world.rows("update wake.run set run_at = now() returning 1")
    world.model.seen.clear()


def go_on(world: World) -> None:
    world.model.script = testing.decide_first
    world.work()


def test_a_run_ends_under_the_program_it_began_with(make_world: MakeWorld) -> None:
    """Prompt, action and model are changed after the prompt was stored; the next worker knows the new file only."""
    first = make_world()
    digest = kept(first)
    begin(first)
    second = make_world(*CHANGED, instructions="Be quick.")
    kept(second)
    second.offset = first.offset
    go_on(second)
    run, action = second.run(), second.action("rebook")
    assert (run["state"], run["config_digest"]) == ("succeeded", digest)
    assert action["effect"]["statement"] == STATEMENT
    assert action["approval"].startswith("chosen.to_flight.fare")
    (seen,) = second.model.seen
    assert "You rebook passengers" in seen.body["messages"][0]["content"]
    assert seen.body["model"] == "scripted"

    second.feed(disruption(43))
    second.work()
    ((digest_then,),) = second.rows("select config_digest from wake.run where key->>'id' = '43'")
    assert digest_then == second.program.digest
    assert "Be quick." in second.model.seen[-1].body["messages"][0]["content"]
    assert second.rows("select state from wake.action where run like '%%/43'") == [("awaiting_approval",)]


def test_a_run_without_steps_begins_with_the_present_program(make_world: MakeWorld) -> None:
    first = make_world()
    kept(first)
    first.feed(disruption())
    second = make_world(*CHANGED)
    go_on(second)
    assert second.run()["config_digest"] == second.program.digest
    assert second.action("rebook")["state"] == "awaiting_approval"


def test_no_secret_and_no_address_is_kept(world: World) -> None:
    digest = kept(world)
    ((text,),) = world.rows("select parts::text || prompts::text from wake.program where digest = %s", digest)
    assert "whsec_" not in text
    assert world.receiver.url not in text
    assert world.model.url not in text
    assert "You rebook passengers" in text


def test_secrets_and_addresses_are_those_of_the_file_now(make_world: MakeWorld) -> None:
    first = make_world()
    digest = kept(first)
    second = make_world(("whsec_c2VjcmV0", "whsec_b3RoZXI="))
    with second.ledger() as connection:
        found = program_keeping.load(connection, digest, second.loaded.config)
    assert found is not None
    assert (found.digest, found.prompts) == (digest, first.program.prompts)
    notify = found.config.actions["notify"].model_dump()
    assert notify["secret"].get_secret_value() == "whsec_b3RoZXI="
    assert notify["url"] == second.receiver.url
    assert found.config.model_dump(exclude={"actions"}) == first.loaded.config.model_dump(exclude={"actions"})


def test_what_cannot_be_had_any_more_fails_the_run_with_its_name(make_world: MakeWorld) -> None:
    first = make_world()
    digest = kept(first)
    begin(first)
    second = make_world(("actions: [rebook, notify]", "actions: [rebook]"), ("  notify:\n", "  told:\n"))
    with second.ledger() as connection, pytest.raises(EventError, match="`actions.notify.url`"):
        program_keeping.load(connection, digest, second.loaded.config)
    go_on(second)
    assert second.run()["state"] == "failed"
    assert "actions.notify.url" in second.run()["error"]


def test_names_of_the_files_own_are_no_addresses(make_world: MakeWorld) -> None:
    world = make_world(("bind: {customer: after.customer_id}", "bind: {url: after.status, headers: after.customer_id}"))
    rows = world.rows("select parts::text from wake.program where digest = %s", kept(world))
    sections = json.loads(rows[0][0])["sections"]
    assert sections["actions"]["notify"]["bind"] == {"url": "after.status", "headers": "after.customer_id"}


def test_a_program_that_was_never_kept_is_the_present_one(make_world: MakeWorld) -> None:
    begin(make_world())
    second = make_world(*CHANGED)
    go_on(second)
    assert second.action("rebook")["state"] == "awaiting_approval"
