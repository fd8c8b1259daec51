"""What the agent leaves for operators, and what the guard makes of it."""

from __future__ import annotations

import json

from connectors import notices
from tests.unit.agent.airline import disruption
from tests.unit.agent.conftest import MakeWorld
from tests.unit.agent.test_timing import FIRE, at, recovery


def test_an_open_breaker_is_told_once_and_sent_once(make_world: MakeWorld) -> None:
    world = make_world((FIRE, f"{FIRE}    breaker: {{runs: 1, within: 10m}}\n"))
    for number in range(4):
        world.feed(at(disruption(), number), at(recovery(), number + 0.5))
    ((kind, about, text),) = world.rows("select kind, about, text from wake.notice")
    assert (kind, about) == ("breaker_open", "disrupted booking/42")
    assert "1 runs of booking/42 within 600 s" in text
    settings = world.loaded.config.model_copy(
        update={"notify": world.loaded.config.notify.model_validate({"webhook": {"url": world.receiver.url}})}
    )
    with world.ledger() as connection:
        notices.forward(settings, connection, "airline")
        notices.forward(settings, connection, "airline")
    (seen,) = world.receiver.seen
    assert seen.body["type"] == "agent.breaker.open"
    assert seen.body["data"] == {"source": "airline", "level": "warning", "reasons": [text]}, json.dumps(seen.body)
    assert world.rows("select count(*) from wake.notice where sent_at is null") == [(0,)]


def test_old_ones_are_forgotten(make_world: MakeWorld) -> None:
    world = make_world()
    world.rows(
        "insert into wake.notice (kind, about, text, at) values"
        " ('a', 'old', 'd', now() - interval '31 days'), ('a', 'new', 'd', now() - interval '29 days') returning 1"
    )
    world.steward.round(heartbeat=True)
    assert world.rows("select about from wake.notice") == [("new",)]


def test_a_receiver_that_is_away_holds_nothing_up(make_world: MakeWorld) -> None:
    world = make_world()
    with world.ledger() as connection:
        connection.execute("insert into wake.notice (kind, about, text) values ('a_b', 'c', 'd')")
        settings = world.loaded.config.model_copy(
            update={"notify": world.loaded.config.notify.model_validate({"webhook": {"url": "http://127.0.0.1:1"}})}
        )
        notices.forward(settings, connection, "airline")
    assert world.rows("select count(*) from wake.notice where sent_at is null") == [(0,)]
