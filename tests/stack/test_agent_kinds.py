"""Every kind of action once, end to end, by a model that asked a server first."""

from __future__ import annotations

import json
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from confluent_kafka.cimpl import NewTopic, TopicPartition

from agent.testing import Reaction, Say, decision, offered
from localstack import Stack
from tests.harness import functions, tools
from tests.harness.agent import WakeProcess, attached_world
from tests.harness.models import Call, RuledModel
from tests.harness.waiting import eventually
from tests.harness.web import Site
from tests.harness.webhooks import Target
from wakestream import kafka

DDL = "create table ticket (id int primary key, say text not null, done int not null default 0)"

WAKE = """
sources:
  SOURCE: {capture: "${DATABASE_URL}", admin: "${DATABASE_URL}", tables: {public.ticket: {}}}
triggers:
  opened: {table: SOURCE.public.ticket, when: after.done == 0, fire: enter, agent: clerk}
lookups:
  customer:
    kind: http
    url: "${SITE_URL}/customers/{name}"
    parameters: {name: {type: string}}
agents:
  clerk: {instructions: prompt.md, ask: [customer], actions: [charge, tell, publish, note, count, hand]}
  second: {instructions: prompt.md}
actions:
  charge:
    kind: sql
    connection: ops
    statement: update ticket set done = done + 1 where id = :ticket
    rows: 1
    bind: {ticket: after.id}
    approval: never
  tell: {kind: webhook, url: "${TARGET_URL}", bind: {ticket: after.id}, approval: never}
  publish: {kind: kafka, topic: SOURCE-published, key: bound.ticket, bind: {ticket: after.id}, approval: never}
  note: {kind: mcp, server: desk, tool: write_note, bind: {ticket: after.id, text: "'noted'"}, approval: never}
  count: {kind: python, call: "tests.harness.functions:count", bind: {ticket: after.id}, approval: never}
  hand: {kind: run, agent: second, bind: {ticket: after.id}, approval: never}
mcp_servers:
  desk: {url: "${TOOLS_URL}", tools: [write_note]}
models:
  default: {base_url: "${MODEL_URL}", name: scripted}
"""
PROMPT = "Row {{ key.id }}: {{ after.say }}{% if handed %} handed by {{ handed.action }}{% endif %}\n"
KINDS = ("charge", "tell", "publish", "note", "count", "hand")


def _rule(call: Call) -> Reaction:
    if not offered(call.request):
        return decision()
    if len(call.request["messages"]) == 2:
        asked = {"lookup": "customer", "arguments": {"name": "a/b"}}
        return Say(json.dumps({"reason": "", "ask": [asked], "actions": []}))
    return decision(*((name, dict[str, Any]()) for name in KINDS))


def test_every_kind_once(stack: Stack, env: dict[str, str], tmp_path: Path) -> None:
    with ExitStack() as undo:
        model, site = undo.enter_context(RuledModel(_rule)), undo.enter_context(Site(lambda _: (200, {"vip": "yes"})))
        target = undo.enter_context(Target().open())
        world = undo.enter_context(
            attached_world(
                stack,
                env,
                tmp_path,
                ddl=DDL,
                wake=WAKE,
                prompt=PROMPT,
                MODEL_URL=model.url,
                SITE_URL=site.url,
                TARGET_URL=target.url,
                TOOLS_URL=undo.enter_context(tools.served(tmp_path / "tools.jsonl")),
                **{functions.VARIABLE: str(tmp_path / "functions.jsonl")},
            )
        )
        topic, broker = f"{world.source}-published", world.loaded.config.kafka
        admin = kafka.admin(broker)
        admin.create_topics([NewTopic(topic, 1, 1)])[topic].result(30)
        undo.callback(lambda: admin.delete_topics([topic])[topic].result(30))
        undo.enter_context(WakeProcess(world, "consume"))
        undo.enter_context(WakeProcess(world, "agent", "--from", "beginning"))
        world.wait_mirrored()
        world.execute("insert into ticket values (7, 'all')")
        runs = "select agent, state from wake.run order by agent"
        done = [("clerk", "succeeded"), ("second", "succeeded")]
        eventually(lambda: world.told(runs) == done, "both runs")

        found = world.told("select name, state, id from wake.action order by number")
        assert [(name, state) for name, state, _ in found] == [(name, "succeeded") for name in KINDS]
        ids = {name: key for name, _, key in found}
        assert world.rows("select done from ticket") == [(1,)]
        assert target.deliveries() == {ids["tell"]: [{"ticket": 7}]}
        (noted,) = tools.calls(tmp_path / "tools.jsonl")
        assert (noted["key"], noted["arguments"]) == (ids["note"], {"ticket": 7, "text": "noted"})
        assert functions.calls(tmp_path / "functions.jsonl") == [{"key": ids["count"], "values": {"ticket": 7}}]
        consumer = kafka.reader(broker, "test")
        consumer.assign([TopicPartition(topic, 0, 0)])
        message = consumer.poll(30)
        consumer.close()
        assert message is not None
        assert json.loads(message.value() or b"")["id"] == ids["publish"]
        assert message.key() == b"7"

        assert [get.path for get in site.seen] == ["/customers/a%2Fb"]
        asked = [call for call in model.calls if len(call.request["messages"]) == 4]
        assert '{"vip":"<untrusted>yes</untrusted>"}' in asked[0].request["messages"][-1]["content"]
        assert any("handed by hand" in call.request["messages"][0]["content"] for call in model.calls)
        receipt = "select count(*) from wake.receipt where action = %s"
        eventually(lambda: world.told(receipt, ids["charge"]) == [(1,)], "the charge's receipt")
        assert world.told("select subject from wake.alarm") == []
