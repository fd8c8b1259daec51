"""Two agents that undo each other's write, over every way that a write can take: each loop ends by itself."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Generator
from typing import Any, cast

import psycopg
import pytest
from confluent_kafka import Consumer
from confluent_kafka.admin import NewTopic

from agent.testing import ScriptedModel, Seen, WebhookReceiver, decide_all
from console.causes import CausedChange, CausedRun
from localstack import Stack
from tests.harness.agent import WakeProcess, World, attached_world
from tests.harness.waiting import eventually
from wakestream import exact_json, kafka, marks

DEPTH = 5
BREAKER = 4
WAYS = ("direct", "trigger", "webhook", "kafka")
"""What carries the cause: the transaction itself, the source's own trigger in it, a token by HTTP, a token in Kafka."""

DDL = """
    create table lamp (id int primary key, way text not null, state text not null);
    create table wish (id int generated always as identity primary key, lamp int, state text);
    create function grant_wish() returns trigger language plpgsql as $$
        begin update lamp set state = new.state where id = new.lamp; return new; end $$;
    create trigger grant_wish after insert on wish for each row execute function grant_wish();
"""

ACTIONS = {
    "direct": "kind: sql, connection: ops, rows: 1, statement: update lamp set state = :state where id = :lamp",
    "trigger": 'kind: sql, connection: ops, statement: "insert into wish (lamp, state) values (:lamp, :state)"',
    "webhook": 'kind: webhook, url: "${HOOK_URL}"',
    "kafka": "kind: kafka, topic: SOURCE.wishes",
    "silent": 'kind: webhook, url: "${HOOK_URL}/silent"',
}
SWITCH = "{lamp: after.id, state: \"after.state == 'on' ? 'off' : 'on'\"}"

WAKE = "\n".join(
    [
        'sources: {SOURCE: {capture: "${DATABASE_URL}", admin: "${DATABASE_URL}", tables: {public.lamp: {}}}}',
        f"limits: {{depth: {DEPTH}, breaker: {{runs: {BREAKER}, within: 10m}}}}",
        "triggers:",
        *(
            f"  {name}_{way}: {{table: SOURCE.public.lamp, fire: enter, agent: {name}_{way},"
            f" when: \"after.way == '{way}' && after.state == '{state}'\"}}"
            for way in ACTIONS
            for name, state in (("lit", "on"), ("dark", "off"))
        ),
        "agents:",
        *(
            f"  {name}_{way}: {{instructions: prompt.md, actions: [{way}]}}"
            for way in ACTIONS
            for name in ("lit", "dark")
        ),
        "actions:",
        *(f"  {way}: {{{what}, approval: never, bind: {SWITCH}}}" for way, what in ACTIONS.items()),
        'models: {default: {base_url: "${MODEL_URL}", name: scripted}}',
        "",
    ]
)


class Service:
    """Takes wishes by HTTP and by Kafka, and writes each in a transaction that passes the cause on."""

    def __init__(self) -> None:
        self.url = ""
        """Of the database, once there is one."""
        self.receiver = WebhookReceiver(self._heard)

    def write(self, wish: dict[str, Any], token: str | None) -> None:
        with psycopg.connect(self.url) as connection:
            if token is not None:
                connection.execute("select pg_logical_emit_message(true, 'wake', %s)", (token,))
            connection.execute("update lamp set state = %s where id = %s", (wish["state"], wish["lamp"]))

    def _heard(self, seen: Seen) -> None:
        token = None if seen.path.endswith("/silent") else seen.headers[marks.RELAY_HEADER.lower()]
        self.write(seen.body, token)

    def read(self, consumer: Consumer, stop: threading.Event) -> None:
        while not stop.is_set():
            message = consumer.poll(0.1)
            if message is None or message.error():
                continue
            headers = dict(cast("list[tuple[str, bytes]]", message.headers() or []))
            self.write(exact_json.load(message.value() or b"")["data"], headers[marks.RELAY_HEADER].decode())


@contextlib.contextmanager
def _reading(world: World, service: Service) -> Generator[None]:
    topic, settings = f"{world.source}.wishes", world.loaded.config.kafka
    admin = kafka.admin(settings)
    admin.create_topics([NewTopic(topic, 1)])[topic].result(30)
    consumer = Consumer(
        {
            "bootstrap.servers": settings.bootstrap_servers,
            **{"group.id": topic, "auto.offset.reset": "earliest", "isolation.level": "read_committed"},
        }
    )
    consumer.subscribe([topic])
    stop = threading.Event()
    thread = threading.Thread(target=service.read, args=(consumer, stop))
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()
        consumer.close()


@pytest.fixture(scope="module")
def world(stack: Stack, env: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Generator[World]:
    directory, service = tmp_path_factory.mktemp("loops"), Service()
    addresses = {"HOOK_URL": service.receiver.url}
    with (
        service.receiver,
        ScriptedModel(decide_all) as model,
        attached_world(
            stack, env, directory, ddl=DDL, wake=WAKE, prompt="Switch it.\n", MODEL_URL=model.url, **addresses
        ) as world,
    ):
        service.url = world.url
        with (
            _reading(world, service),
            WakeProcess(world, "consume"),
            WakeProcess(world, "agent", "--from", "beginning"),
        ):
            world.wait_mirrored()
            yield world


def _stopped(world: World, way: str) -> list[tuple[str, str, int]]:
    """What ended the loop over this way: state, reason and depth of its last activation."""
    return world.told(
        "select state, reason, depth from wake.activation where trigger = any(%s) and state in ('suppressed', 'held')",
        [f"lit_{way}", f"dark_{way}"],
    )


def _runs(world: World, way: str) -> list[str]:
    found = world.told(
        "select id from wake.run where trigger = any(%s) order by created_at", [f"lit_{way}", f"dark_{way}"]
    )
    return [run for (run,) in found]


def _chain(change: CausedChange) -> list[CausedRun]:
    """The runs below a change, where each led to one."""
    if change.run is None:
        return []
    (action,) = change.run.actions
    return [change.run, *(run for each in action.changes for run in _chain(each))]


def _last(change: CausedChange) -> CausedChange:
    while change.run is not None:
        ((change,),) = [action.changes for action in change.run.actions]
    return change


@pytest.mark.parametrize(("lamp", "way"), list(enumerate(WAYS, 1)))
def test_a_loop_ends_at_the_depth_and_its_tree_is_known(world: World, lamp: int, way: str) -> None:
    world.execute("insert into lamp values (%s, %s, 'on')", lamp, way)
    ((state, reason, depth),) = eventually(lambda: _stopped(world, way), f"the end of the loop over {way}")
    assert (state, depth) == ("suppressed", DEPTH)
    assert reason == f"depth: {DEPTH} actions led here, limits.depth is {DEPTH}"
    runs = _runs(world, way)
    assert len(runs) == DEPTH <= 10
    assert world.rows(f"select state from lamp where id = {lamp}") == [("off" if DEPTH % 2 else "on",)]

    found = world.insights.tree(runs[len(runs) // 2])
    assert [run.id for run in _chain(found.change)] == runs
    assert (found.runs, found.more) == (DEPTH, False)
    last = _last(found.change)
    assert (last.state, last.depth, last.reason) == ("suppressed", DEPTH, reason)
    told = world.wake_text("runs", "tree", runs[-1])
    assert [line.split()[1] for line in told.splitlines() if line.strip().startswith("run ")] == runs
    assert told.splitlines()[-1].strip() == f"met {last.trigger} at depth {DEPTH}: suppressed: {reason}"


def test_a_loop_through_a_system_that_carries_no_token_is_held_by_the_breaker(world: World) -> None:
    world.execute("insert into lamp values (9, 'silent', 'on')")
    ((state, reason, depth),) = eventually(lambda: _stopped(world, "silent"), "the breaker")
    assert (state, depth) == ("held", 0), "nobody knows what led here"
    assert "breaker" in reason
    runs = _runs(world, "silent")
    assert len(runs) <= 2 * BREAKER <= 10
    found = world.insights.tree(runs[-1])
    assert [run.id for run in _chain(found.change)] == [runs[-1]]
