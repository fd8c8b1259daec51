"""Unknown actions settled by their check, and effects that were not seen in time."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

import pytest

from agent import alarms
from agent.checking import Checks
from agent.testing import Hang, decision
from tests.harness.web import Get, Site
from tests.unit.agent.airline import disruption
from tests.unit.agent.conftest import Databases, MakeWorld, World
from wakestream.errors import ConfigurationError

SENT = """\
lookups:
  sent:
    kind: http
    url: "SITE/sent/{key}?customer={customer}"
    bind: {key: action.id, customer: bound.customer}
"""
CHECKED = ("    parameters: {text", "    check: sent\n    timeout: 100ms\n    parameters: {text")


@pytest.fixture
def site() -> Generator[Site]:
    with Site(lambda _: (404, {})) as site:
        yield site


@pytest.fixture
def world(make_world: MakeWorld, site: Site) -> World:
    """An action of which nobody knows whether it happened."""
    world = make_world(("lookups:\n", SENT.replace("SITE", site.url)), CHECKED)
    world.model.script = lambda _: decision(("notify", {"text": "t"}))
    world.receiver.react = lambda _: Hang()
    world.feed(disruption())
    world.work()
    assert world.action("notify")["state"] == "unknown"
    return world


def check(world: World) -> bool:
    return Checks(world.program, world.own, world.lookups).check()


def due(world: World) -> None:
    world.rows("update wake.action set check_at = now() returning 1")


def test_what_a_check_finds_has_happened(world: World, site: Site) -> None:
    site.react = lambda _: (200, {"id": 1})
    assert check(world)
    notify = world.action("notify")
    assert (notify["state"], notify["reason"]) == ("succeeded", "check sent found its effect")
    assert notify["result"]["settled"] == "by check sent"
    assert world.run()["state"] == "succeeded"
    (asked,) = site.seen
    key = notify["id"].replace("/", "%2F")
    assert asked.path == f"/sent/{key}?customer=3"
    assert not check(world)


def test_one_that_finds_nothing_settles_nothing_and_asks_less_often(world: World, site: Site) -> None:
    pauses: list[float] = []
    for _ in range(4):
        assert check(world)
        assert not check(world), "it is not its turn yet"
        pauses += [
            seconds
            for (seconds,) in world.rows("select round(extract(epoch from check_at - now()))::float from wake.action")
        ]
        due(world)
    assert pauses == [1, 2, 4, 8]
    notify = world.action("notify")
    assert (notify["state"], len(site.seen)) == ("unknown", 4)
    assert notify["result"]["checked"]["last"] == "it found nothing"
    assert notify["result"]["checked"]["times"] == 4
    assert world.run()["state"] == "waiting"


def test_a_check_that_fails_is_tried_again(world: World, site: Site) -> None:
    site.react = lambda _: (500, {})
    assert check(world)
    assert world.action("notify")["result"]["checked"]["last"] == "lookup sent: the server answers 500"
    due(world)
    site.react = lambda _: (200, [{}])
    assert check(world)
    assert world.action("notify")["state"] == "succeeded"


def test_who_comes_late_settles_nothing(world: World, site: Site) -> None:
    def decided(_: Get) -> tuple[int, Any]:
        world.rows("update wake.action set state = 'failed', reason = 'it did not happen, says ann' returning 1")
        return 200, {"id": 1}

    site.react = decided
    assert check(world)
    assert world.action("notify")["reason"] == "it did not happen, says ann"


def test_an_action_without_a_check_is_left_alone(make_world: MakeWorld) -> None:
    world = make_world(("    parameters: {text", "    timeout: 100ms\n    parameters: {text"))
    world.receiver.react = lambda _: Hang()
    world.model.script = lambda _: decision(("notify", {"text": "t"}))
    world.feed(disruption())
    world.work()
    assert not check(world)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("check: sent", "check: snet", "no lookup `snet`; did you mean `sent`"),
        ("bound.customer}", "bound.custmer}", "did you mean bound.customer"),
        ("bound.customer}", "args.text}", "a lookup's bind reads"),
    ],
)
def test_what_is_refused(make_world: MakeWorld, old: str, new: str, message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        make_world(
            ("lookups:\n", SENT.replace("SITE", "http://crm").replace(old, new)),
            (CHECKED[0], CHECKED[1].replace(old, new)),
        )


def test_a_lookup_before_the_model_knows_no_action(make_world: MakeWorld) -> None:
    with pytest.raises(ConfigurationError, match="action: no such name"):
        make_world(
            ("lookups:\n", SENT.replace("SITE", "http://crm").replace("bound.customer", "after.customer_id")),
            ("lookups: [seats]", "lookups: [sent]"),
        )


def look(world: World) -> list[tuple[Any, ...]]:
    with world.ledger() as connection:
        alarms.look(connection, world.program.config)
    return world.rows("select subject, over_at is null from wake.alarm")


def test_an_effect_that_is_not_seen_in_time_is_an_alarm_until_it_is(
    make_world: MakeWorld, databases: Databases
) -> None:
    world = make_world((f'capture: "{databases.ledger}"', f'capture: "{databases.ops}"'))
    world.book()
    world.model.script = lambda _: decision(("rebook", {"to_flight": 8, "note": "n"}))
    world.feed(disruption())
    world.work()
    rebook = world.action("rebook")
    assert rebook["state"] == "succeeded"
    identifier, clock = rebook["intent"]["system_identifier"], "clock = (%s::timestamptz + %s::interval)"
    assert look(world) == [], "the source has no clock yet"

    def passed(seconds: str, system: str = identifier) -> list[tuple[Any, ...]]:
        world.rows(
            f"update wake.source_position set system_identifier = %s, {clock} returning 1",
            system,
            rebook["result"]["committed_by"],
            seconds,
        )
        return look(world)

    assert passed("9 s") == [], "there is time yet"
    assert passed("11 s", "another server") == []
    assert passed("11 s") == [(rebook["id"], True)]
    assert look(world) == [(rebook["id"], True)], "it is raised once"
    assert world.rows("select kind, about from wake.notice") == [("no_effect_seen", rebook["id"])]
    world.rows(
        'insert into wake.receipt (action, source, log, "offset", commit, rows, committed_at)'
        " values (%s, 'airline', 1, 1, 1, 1, now()) returning 1",
        rebook["id"],
    )
    assert look(world) == [(rebook["id"], False)]


def test_one_in_another_database_of_the_server_is_none(make_world: MakeWorld) -> None:
    world = make_world()  # its source is another database
    world.book()
    world.model.script = lambda _: decision(("rebook", {"to_flight": 8, "note": "n"}))
    world.feed(disruption())
    world.work()
    identifier = world.action("rebook")["intent"]["system_identifier"]
    world.rows(
        "update wake.source_position set system_identifier = %s, clock = now() + interval '1 h' returning 1", identifier
    )
    assert look(world) == []
