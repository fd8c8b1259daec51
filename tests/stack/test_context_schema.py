"""Events of rows and of an entity are what their JSON Schema says, and `wake entity show` says what the event said."""

from __future__ import annotations

import copy
import json
from collections.abc import Generator
from pathlib import Path
from typing import Any

import jsonschema_rs
import pytest

from console import event_schema
from localstack import Stack
from tests.harness.agent import WakeProcess, World, attached_world
from tests.harness.context import ContextLog, Raw
from tests.harness.waiting import eventually
from wakestream import topics

DDL = """
    create type mood as enum ('sad', 'happy');
    create type place as (street text, number int, inner_list int[]);
    create table customer (id int primary key, name text, email text, feel mood, home place, tags text[], fee numeric);
    create table booking (id int primary key, customer_id int references customer, fare numeric(8, 2), doc jsonb);
    create index on booking (customer_id);
    insert into customer values
        (1, 'Ada', 'ada@example.org', 'sad', row('main', 7, '{1,2}'), '{a,NULL}', 'NaN'),
        (2, null, null, null, null, null, null);
    insert into booking values (1, 1, 1.50, '{"a": [1]}'), (2, null, null, null);
"""

WAKE = """
sources:
  SOURCE:
    capture: "${DATABASE_URL}"
    admin: "${DATABASE_URL}"
    tables: {public.customer: {mask: {email: email}}, public.booking: {}}
entities:
  booking:
    root: SOURCE.public.booking
    include: {customer: {}}
    compute: {dear: booking.fare > 100}
"""


@pytest.fixture(scope="module")
def world(stack: Stack, env: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Generator[World]:
    directory: Path = tmp_path_factory.mktemp("schema")
    with (
        attached_world(stack, env, directory, ddl=DDL, wake=WAKE, prompt="") as world,
        WakeProcess(world, "consume"),
    ):
        world.wait_mirrored()
        world.execute("update customer set feel = 'happy' where id = 1")
        world.execute("update booking set fare = 200 where id = 2")
        world.execute("delete from booking where id = 2")
        eventually(lambda: len([e for e in events(world) if e.type == "entity.changed"]) == 3, "the documents")
        yield world


def events(world: World) -> list[Raw]:
    return ContextLog.read(world.loaded.config.kafka, topics.context(world.source)).unique


def schemas(world: World) -> dict[str, Any]:
    found = world.wake_text("context", "schema", world.source)
    made = [json.loads(line) for line in found.splitlines()]
    return {each["$id"].partition("?")[0].rpartition("/")[2]: each for each in made}


def test_every_event_is_as_its_schema_says(world: World) -> None:
    known = schemas(world)
    assert set(known) == {"public.customer", "public.booking", "booking"}
    seen: set[str] = set()
    for each in events(world):
        name = each.event["subject"].partition("/")[0]
        if name in known:
            value = json.loads(each.value)
            validator = jsonschema_rs.validator_for(known[name])
            assert [str(error) for error in validator.iter_errors(value)] == []
            seen.add(each.type)
    assert seen == {"row.read", "row.updated", "row.deleted", "entity.changed"}


@pytest.mark.parametrize(
    ("name", "path", "value"),
    [
        ("public.customer", "id", "1"),
        ("public.customer", "feel", "glad"),
        ("public.customer", "tags", "a"),
        ("public.customer", "home", {"street": "x"}),
        ("public.customer", "fee", "much"),
        ("public.customer", "passport", "x"),
        ("booking", "customer", []),
        ("booking", "dear", "yes"),
        ("booking", "fare", "1"),
    ],
)
def test_what_is_no_event_is_refused(world: World, name: str, path: str, value: Any) -> None:
    validator = jsonschema_rs.validator_for(schemas(world)[name])
    of_name = [json.loads(e.value) for e in events(world) if e.event["subject"].partition("/")[0] == name]
    event = copy.deepcopy(next(each for each in of_name if each["data"]["after"] is not None))
    assert validator.is_valid(event)
    event["data"]["after"][path] = value
    assert not validator.is_valid(event)


def test_an_entity_as_the_agent_would_see_it(world: World) -> None:
    (found,) = world.wake("entity", "show", "booking", "1")
    told = [json.loads(each.value) for each in events(world) if each.event["subject"] == "booking/1"]
    assert found["document"] == told[-1]["data"]["after"]
    assert (found["key"], found["incomplete"], found["document"]["customer"]["email"]) == (
        {"id": 1},
        [],
        "a***@example.org",
    )
    assert found["position"]["commit"] is not None


def test_names_that_are_none(world: World) -> None:
    with pytest.raises(AssertionError, match="no entity `bookin`; did you mean `booking`"):
        world.wake("entity", "show", "bookin", "1")
    with pytest.raises(AssertionError, match="`public.x` is no captured table or entity"):
        world.wake_text("context", "schema", world.source, "public.x")
    with pytest.raises(AssertionError, match="ends with 1"):
        world.wake("entity", "show", "booking", "77")


def test_the_names_of_a_plan(world: World) -> None:
    from console.context import ContextStore

    with ContextStore.opened(world.loaded.config, world.source) as store:
        assert event_schema.names(store.plan) == ["public.booking", "public.customer", "booking"]
