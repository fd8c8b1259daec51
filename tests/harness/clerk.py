"""A clerk who works on tickets with every kind of action, and the world around: what the agent's kills happen to."""

from __future__ import annotations

import contextlib
from collections.abc import Generator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from confluent_kafka.cimpl import NewTopic

from agent.testing import Reaction, decision, offered
from localstack import Stack
from tests.harness import functions, tools
from tests.harness.agent import Connection, World, attached_world
from tests.harness.models import PROMPT, Call
from tests.harness.webhooks import Target
from wakestream import kafka
from wakestream.errors import RefusedError

RECEIVER_TAKES = 0.03  # seconds of the webhooks' receiver for one: long enough to be met by another
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


@dataclass
class Clerk:
    """The world of one test, and the tickets that were opened in it."""

    world: World
    target: Target
    rows: dict[int, str] = field(default_factory=dict[int, str])
    """What each ticket has the model propose."""

    def add(self, count: int, mix: tuple[str, ...] = MIX) -> list[int]:
        """Open tickets, each in a transaction of its own."""
        made = {len(self.rows) + n: mix[(len(self.rows) + n) % len(mix)] for n in range(1, count + 1)}
        with self.world.connect() as connection:
            for number, say in made.items():
                amount = 1000 if say == REVIEW else 10
                connection.execute("insert into ticket (id, say, amount) values (%s, %s, %s)", (number, say, amount))
        self.rows |= made
        return list(made)

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

    def let_go(self, ledger: Connection) -> None:
        """Let every run go on that waits for a budget, or was tried as often as allowed."""
        held = "select id from wake.run where state = 'parked' or (state = 'pending' and budget is not null)"
        for (run,) in ledger.execute(held).fetchall():
            with contextlib.suppress(RefusedError):  # its window has just ended, and it goes on by itself
                self.world.operations.retry_run(run, "go on")

    def verdict(self, ticket: int) -> str:
        """What a person says to this charge, which awaits one."""
        reviewed = [number for number, say in self.rows.items() if say == REVIEW]
        return VERDICTS[reviewed.index(ticket) % len(VERDICTS)]

    def is_settled(self, ledger: Connection) -> bool:
        """Whether nothing is on its way: each run is final, or waits for a person."""
        moving = (
            "select count(*) filter (where state in ('pending', 'running') or state = 'waiting' and exists"
            " (select 1 from wake.action a where a.run = r.id and a.state in ('approved', 'executing'))), count(*)"
            " from wake.run r"
        )
        handed = sum("hand" in say for say in self.rows.values())
        return ledger.execute(moving).fetchone() == (0, len(self.rows) + handed)


def rule(call: Call) -> Reaction:
    """What the model answers: as the ticket says."""
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


@contextmanager
def clerk_world(
    stack: Stack, env: dict[str, str], directory: Path, *, model_url: str, wake: str = WAKE
) -> Generator[Clerk]:
    """The clerk's world, attached, with all that its actions act upon; neither consumer nor agent runs in it."""
    with ExitStack() as undo:
        target = undo.enter_context(Target(takes=RECEIVER_TAKES).open())
        url = undo.enter_context(tools.served(directory / TOOL_CALLS))
        world = undo.enter_context(
            attached_world(
                stack,
                env,
                directory,
                ddl=DDL,
                wake=wake,
                prompt=PROMPT,
                MODEL_URL=model_url,
                TARGET_URL=target.url,
                TOOLS_URL=url,
                **{functions.VARIABLE: str(directory / FUNCTION_CALLS)},
            )
        )
        undo.enter_context(_topic(world))
        yield Clerk(world, target)


@contextmanager
def _topic(world: World) -> Generator[None]:
    admin: Any = kafka.admin(world.loaded.config.kafka)  # its stubs leave types out
    name = f"{world.source}-published"
    admin.create_topics([NewTopic(name, 3, 1)])[name].result(30)
    yield
    admin.delete_topics([name])[name].result(30)
