"""The agent killed at every numbered step while activations run: nothing is lost, nothing happens twice."""

from __future__ import annotations

import os
import random
from collections import Counter
from collections.abc import Generator, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka.cimpl import NewTopic, TopicPartition

from agent.testing import Reaction, decision, offered
from localstack import Stack
from tests.harness import functions, tools
from tests.harness.agent import FAILPOINTS, Connection, WakeProcess, World, attached_world
from tests.harness.models import PROMPT, Call, RuledModel
from tests.harness.waiting import eventually
from tests.harness.webhooks import Target
from wakestream import kafka

ACTIVATIONS = int(os.environ.get("WAKE_ACTIVATIONS") or (2000 if os.environ.get("WAKE_SOAK") else 200))
SEED = int(os.environ["WAKE_SEED"])
SETTLING = 120.0 + ACTIVATIONS / 4  # seconds: the last kill's leases, then what is left

TOOL_CALLS, FUNCTION_CALLS = "tools.jsonl", "functions.jsonl"

DDL = """
    create table ticket (id int primary key, say text not null, amount int not null, done int not null default 0);
    create table effect (number bigserial primary key, ticket int not null, note text);
"""

WAKE = """
sources:
  SOURCE:
    capture: "${DATABASE_URL}"
    admin: "${DATABASE_URL}"
    tables: {public.ticket: {}, public.effect: {}}
triggers:
  opened: {table: SOURCE.public.ticket, when: after.done == 0, fire: enter, agent: clerk}
lookups:
  earlier: {source: SOURCE, sql: "select note from effect where ticket = :ticket", bind: {ticket: after.id}}
agents:
  clerk: {instructions: prompt.md, lookups: [earlier], actions: [charge, notify, tell, publish, note, count, hand]}
  second: {instructions: prompt.md, lookups: [earlier]}
actions:
  charge:
    kind: sql
    connection: ops
    statement: >
      with kept as (insert into effect (ticket, note) values (:ticket, :note))
      update ticket set done = done + 1 where id = :ticket
    rows: 1
    bind: {ticket: after.id}
    parameters: {note: {type: string}}
    approval: after.amount > 900
  notify:
    kind: webhook
    url: "${TARGET_URL}"
    idempotent: true
    bind: {ticket: after.id}
    approval: never
  tell: {kind: webhook, url: "${TARGET_URL}", bind: {ticket: after.id}, approval: never}
  publish: {kind: kafka, topic: SOURCE-published, key: bound.ticket, bind: {ticket: after.id}, approval: never}
  note: {kind: mcp, server: desk, tool: write_note, bind: {ticket: after.id, text: "'noted'"}, approval: never}
  count:
    kind: python
    call: tests.harness.functions:count
    idempotent: true
    bind: {ticket: after.id}
    approval: never
  hand: {kind: run, agent: second, bind: {ticket: after.id}, approval: never}
mcp_servers:
  desk: {url: "${TOOLS_URL}", tools: [write_note]}
models:
  default: {base_url: "${MODEL_URL}", name: scripted, timeout: 300s}
"""

REVIEW = "charge!"
"""A charge so large that a person must approve it."""
MIX = (
    "charge",
    "notify",
    "charge+tell",
    REVIEW,
    "none",
    "charge+notify",
    "tell",
    "charge",
    "publish",
    "note",
    "count",
    "hand+publish",
)
"""What the rows of a batch have the model propose, in turn."""
VERDICTS = ("approve", "reject", "leave")
"""What a person says to the charges that await one, in turn."""


@dataclass(frozen=True)
class Kill:
    """One life of the agent, and how it ends."""

    at: str
    """A failpoint, `a model call` or `a row lock`."""
    over: str | None = None
    """The only ticket that is opened for it has the model propose this, and its action has to stand there."""


OVER = {"_send": ("notify", "tell"), "_produce": ("publish",), "_tool": ("note",), "_call": ("count",)}
"""Of failpoints that only some kinds of action come to: by which actions."""
SENDS = tuple(
    Kill(point, name) for end, names in OVER.items() for point in FAILPOINTS if point.endswith(end) for name in names
)
OTHERS = (
    *(Kill(point) for point in FAILPOINTS if not point.endswith(tuple(OVER))),
    Kill("a model call"),
    Kill("a row lock"),
)
KILLS = (*SENDS, *OTHERS)


@dataclass
class Clerk:
    """The agent under test with the world around it, and what was done to both."""

    world: World
    model: RuledModel
    target: Target
    agent: WakeProcess
    directory: Path
    rows: dict[int, str] = field(default_factory=dict[int, str])
    """What each ticket has the model propose."""
    reached: list[str] = field(default_factory=list[str])

    def add(self, count: int, mix: tuple[str, ...]) -> list[int]:
        """Open tickets, each in a transaction of its own."""
        made = {len(self.rows) + n: mix[(len(self.rows) + n) % len(mix)] for n in range(1, count + 1)}
        with self.world.connect() as connection:
            for number, say in made.items():
                amount = 1000 if say == REVIEW else 10
                connection.execute("insert into ticket (id, say, amount) values (%s, %s, %s)", (number, say, amount))
        self.rows |= made
        return list(made)

    def die(self, kill: Kill, count: int) -> None:
        """Let a life of the agent end where `kill` says, with new work before it."""
        added = self.add(count, (kill.over,) if kill.over else MIX)
        with _held(self, kill.at, added):
            self.agent.start()
            _wait_held(self, kill.at)
            if kill.over:
                begun = "select 1 from wake.action where (bound ->> 'ticket')::int = %s and intent is not null"
                eventually(lambda: self.world.told(begun, added[0]), f"{kill.over} at {kill.at}")
            self.agent.kill()
        self.reached.append(kill.at)

    def decide(self, ledger: Connection) -> None:
        """Say to each charge that awaits a person what its turn is."""
        for action, ticket in ledger.execute(
            "select id, (bound ->> 'ticket')::int from wake.action where state = 'awaiting_approval'"
        ).fetchall():
            match self.verdict(ticket):
                case "approve":
                    self.world.operations.approve(action, "checked")
                case "reject":
                    self.world.operations.reject(action, "too much")
                case _:
                    pass

    def verdict(self, ticket: int) -> str:
        reviewed = [number for number, say in self.rows.items() if say == REVIEW]
        return VERDICTS[reviewed.index(ticket) % len(VERDICTS)]


@contextmanager
def _held(clerk: Clerk, at: str, added: list[int]) -> Generator[None]:
    """Arm a step before the agent starts, and let go of it after its end."""
    match at:
        case "a model call":
            clerk.model.hold()
            yield
            clerk.model.release()
        case "a row lock":
            with clerk.world.connect() as peer, peer.transaction():
                peer.execute("select 1 from ticket where id = any(%s) for update", (added,))
                yield
        case _:
            clerk.agent.hold(at)
            yield
            clerk.agent.release(at)


def _wait_held(clerk: Clerk, at: str) -> None:
    match at:
        case "a model call":
            clerk.model.wait_held()
        case "a row lock":
            blocked = (
                "select pid from pg_stat_activity where application_name = 'wake action' and wait_event_type = 'Lock'"
            )
            eventually(lambda: clerk.world.rows(blocked), "an action that waits for the peer's lock")
        case _:
            clerk.agent.wait_held(at)


def _rule(call: Call) -> Reaction:
    proposed: dict[str, dict[str, Any]] = {
        "charge": {"note": f"charged {call.row}"},
        "notify": {},
        "tell": {},
        **{name: {} for name in ("publish", "note", "count", "hand")},
    }
    if not offered(call.request):  # it is the agent to whom was handed over
        return decision()
    names = [] if call.say == "none" else call.say.rstrip("!").split("+")
    return decision(*((name, proposed[name]) for name in names))


@pytest.fixture
def clerk(stack: Stack, env: dict[str, str], tmp_path: Path) -> Iterator[Clerk]:
    with ExitStack() as undo:
        model, target = undo.enter_context(RuledModel(_rule)), undo.enter_context(Target().open())
        url = undo.enter_context(tools.served(tmp_path / TOOL_CALLS))
        world = undo.enter_context(
            attached_world(
                stack,
                env,
                tmp_path,
                ddl=DDL,
                wake=WAKE,
                prompt=PROMPT,
                MODEL_URL=model.url,
                TARGET_URL=target.url,
                TOOLS_URL=url,
                **{functions.VARIABLE: str(tmp_path / FUNCTION_CALLS)},
            )
        )
        undo.enter_context(_topic(world))
        undo.enter_context(WakeProcess(world, "consume"))
        world.wait_mirrored()
        yield Clerk(world, model, target, WakeProcess(world, "agent", "--from", "beginning"), tmp_path)


@contextmanager
def _topic(world: World) -> Generator[None]:
    admin, name = kafka.admin(world.loaded.config.kafka), f"{world.source}-published"
    admin.create_topics([NewTopic(name, 3, 1)])[name].result(30)
    yield
    admin.delete_topics([name])[name].result(30)


@pytest.mark.timeout(600 + 2 * ACTIVATIONS)
def test_agent_killed_at_every_step(clerk: Clerk) -> None:
    for kill in SENDS:  # first and over one ticket each, so that nothing else takes the workers there
        clerk.die(kill, 1)
    others = list(OTHERS)
    random.Random(SEED).shuffle(others)
    for left, kill in zip(range(len(others), 0, -1), others, strict=True):
        clerk.die(kill, (ACTIVATIONS - len(clerk.rows)) // left)
        with clerk.world.ledger() as ledger:
            clerk.decide(ledger)
    with clerk.agent:
        _wait_settled(clerk)
        assert Counter(clerk.reached) == Counter(kill.at for kill in KILLS)
        assert len(clerk.reached) >= 20
        _verify_runs(clerk)
        _verify_actions(clerk)
        _verify_effects(clerk)
        _verify_receipts(clerk)
        _verify_model_calls(clerk)
        _verify_webhooks(clerk)
        _verify_published(clerk)
        _verify_calls(clerk)
        _verify_handed(clerk)


def _wait_settled(clerk: Clerk) -> None:
    """Until nothing is on its way: each run is final, or waits for a person."""
    moving = (
        "select count(*) filter (where state in ('pending', 'running') or state = 'waiting' and exists"
        " (select 1 from wake.action a where a.run = r.id and a.state in ('approved', 'executing'))), count(*)"
        " from wake.run r"
    )

    def settled(ledger: Connection) -> bool:
        assert clerk.agent.is_running, clerk.agent.log[-3000:]
        clerk.decide(ledger)
        return ledger.execute(moving).fetchone() == (0, ACTIVATIONS + sum("hand" in say for say in clerk.rows.values()))

    with clerk.world.ledger() as ledger:
        eventually(lambda: settled(ledger), "all runs final or waiting", within=SETTLING)


def _verify_runs(clerk: Clerk) -> None:
    """Each ticket has one activation with one run, which succeeded or waits for a person."""
    runs = clerk.world.told(
        "select (r.key ->> 'id')::int, r.state, v.state, array_agg(a.state order by a.number)"
        " from wake.activation v join wake.run r on r.activation = v.id left join wake.action a on a.run = r.id"
        " where v.handed is null group by r.id, v.id order by 1"
    )
    assert [ticket for ticket, *_ in runs] == sorted(clerk.rows)
    for ticket, state, activation, actions in runs:
        open_ones = {"awaiting_approval", "unknown"} & set(actions)
        assert (activation, state) == ("done", "waiting" if open_ones else "succeeded"), (ticket, actions)
    assert len(runs) == ACTIVATIONS


def _verify_actions(clerk: Clerk) -> None:
    """Every action ended as the rule and the person say; only what may not be repeated is unknown."""
    found = clerk.world.told("select (bound ->> 'ticket')::int, name, state from wake.action order by run, number")
    unknown = [name for _, name, state in found if state == "unknown"]
    assert {*unknown} == {"tell", "note"}, "what was cut short and may not be repeated is for a person to settle"
    spoken = {"approve": "succeeded", "reject": "rejected", "leave": "awaiting_approval"}
    wanted = Counter(
        (ticket, name, spoken[clerk.verdict(ticket)] if say == REVIEW else "succeeded")
        for ticket, say in clerk.rows.items()
        if say != "none"
        for name in say.rstrip("!").split("+")
    )
    assert Counter((t, n, "succeeded" if s == "unknown" else s) for t, n, s in found) == wanted


def _verify_effects(clerk: Clerk) -> None:
    """Each charge that succeeded happened once in the database, and no other happened at all."""
    charged = clerk.world.told(
        "select (bound ->> 'ticket')::int, arguments ->> 'note' from wake.action"
        " where name = 'charge' and state = 'succeeded'"
    )
    assert Counter(clerk.world.rows("select ticket, note from effect")) == Counter(charged)
    assert {note for _, note in charged} == {f"charged {ticket}" for ticket, _ in charged}
    done = {ticket: 1 for ticket, _ in charged}
    assert dict(clerk.world.rows("select id, done from ticket")) == {n: done.get(n, 0) for n in clerk.rows}


def _verify_receipts(clerk: Clerk) -> None:
    """Each charge that happened has its mark in the change log, with the two rows that it changed."""
    query = (
        "select a.id from wake.action a left join wake.receipt r on r.action = a.id and r.rows = 2"
        " where a.name = 'charge' and a.state = 'succeeded' and r.action is null"
    )
    eventually(lambda: not clerk.world.told(query), "a receipt for each charge")
    strays = "select action from wake.receipt except select id from wake.action where state = 'succeeded'"
    assert clerk.world.told(strays) == []


def _verify_model_calls(clerk: Clerk) -> None:
    """One stored answer for each run, and no question that came after it."""
    stored = clerk.world.told(
        "select (r.key ->> 'id')::int, extract(epoch from s.at)::float, r.attempts"
        " from wake.run_step s join wake.run r on r.id = s.run where s.step like 'model:%' and r.agent = 'clerk'"
    )
    assert sorted(ticket for ticket, *_ in stored) == sorted(clerk.rows)
    repeated = 0
    for ticket, at, attempts in stored:
        calls = [call for call in clerk.model.calls_about(ticket) if offered(call.request)]
        assert [call.at for call in calls if call.at > at] == [], f"ticket {ticket} was asked about after its answer"
        assert 1 <= len(calls) <= attempts
        repeated += len(calls) - 1
    assert 1 <= repeated <= 4 * len(KILLS), "some answers died with the agent before they were stored"


def _verify_webhooks(clerk: Clerk) -> None:
    """The receiver knows each action by one key; more than one delivery only where that is allowed."""
    sent = {
        key: (name, ticket, state)
        for key, name, ticket, state in clerk.world.told(
            "select id, name, (bound ->> 'ticket')::int, state from wake.action where kind = 'webhook'"
        )
    }
    deliveries = clerk.target.deliveries()
    assert deliveries.keys() <= sent.keys()
    for key, (name, ticket, state) in sent.items():
        bodies = deliveries.get(key, [])
        assert all(body == {"ticket": ticket} for body in bodies)
        assert len(bodies) >= (0 if state == "unknown" else 1), key
        assert len(bodies) <= (1 if name == "tell" else 1 + len(KILLS)), key
    assert any(len(bodies) > 1 for bodies in deliveries.values()), "a webhook killed behind its sending is sent again"


def _ended(clerk: Clerk, name: str) -> dict[str, tuple[int, str]]:
    """Ticket and state of each action of that name."""
    query = "select id, (bound ->> 'ticket')::int, state from wake.action where name = %s"
    return {key: (ticket, state) for key, ticket, state in clerk.world.told(query, name)}


def _verify_published(clerk: Clerk) -> None:
    """Each event that was published is there once for who reads what is committed, where its receipt says."""
    consumer = kafka.reader(clerk.world.loaded.config.kafka, "test", at_end=True)
    topic, found = f"{clerk.world.source}-published", Counter[tuple[str, int, int]]()
    for partition in range(3):
        consumer.assign([TopicPartition(topic, partition, 0)])
        while (message := consumer.poll(30)) is not None and message.error() is None:
            headers: dict[str, Any] = dict(message.headers() or [])
            found[headers["Idempotency-Key"].decode(), partition, message.offset() or 0] += 1
    consumer.close()
    receipts = clerk.world.told(
        "select id, (result ->> 'partition')::int, (result ->> 'offset')::int from wake.action where name = 'publish'"
    )
    assert {state for _, state in _ended(clerk, "publish").values()} == {"succeeded"}
    assert found == Counter(receipts)


def _verify_calls(clerk: Clerk) -> None:
    """A tool is called once at most; a function again only where it may be, always with the action's key."""
    notes = Counter(call["key"] for call in tools.calls(clerk.directory / TOOL_CALLS))
    for key, (_, state) in _ended(clerk, "note").items():
        assert notes.pop(key, 0) in ((0, 1) if state == "unknown" else (1,)), key
    assert not notes
    counts = Counter(call["key"] for call in functions.calls(clerk.directory / FUNCTION_CALLS))
    for key, (_, state) in _ended(clerk, "count").items():
        assert state == "succeeded"
        assert 1 <= counts.pop(key) <= 1 + len(KILLS)
    assert not counts


def _verify_handed(clerk: Clerk) -> None:
    """Each hand-over made one run, one step deeper."""
    made = clerk.world.told(
        "select a.id || '/second', r.state, v.depth from wake.action a join wake.run r on r.id = a.result ->> 'run'"
        " join wake.activation v on v.id = r.activation where a.name = 'hand'"
    )
    handed = clerk.world.told("select id, state, 1 from wake.run where agent = 'second'")
    assert sorted(made) == sorted(handed)
    assert {state for _, state, _ in made} == {"succeeded"}
    assert len(made) == len(_ended(clerk, "hand"))
