"""Bad input and absent peers: each is visible in `wake` with its reason, and what is behind it goes on."""

from __future__ import annotations

import itertools
import os
import time
from collections.abc import Generator, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import KafkaError, Message

from agent.testing import Garbage, Hang, Reaction, Say, Status, decision
from console import views
from localstack import Stack
from tests.harness.agent import WakeProcess, World, attached_world
from tests.harness.models import PROMPT, Call, RuledModel
from tests.harness.waiting import eventually
from tests.harness.webhooks import Target
from wakestream import kafka, topics

SOAK = bool(os.environ.get("WAKE_SOAK"))
SILENCE = 120.0 if SOAK else 20.0  # seconds in which the model says nothing
ABSENCE = 180.0 if SOAK else 20.0  # seconds in which the source is away

DDL = """
    create table reading (id int primary key, say text not null default 'record', level int, payload jsonb);
    create table entry (number bigserial primary key, reading int not null);
"""

WAKE = """
sources:
  SOURCE:
    capture: "${DATABASE_URL}"
    admin: "${DATABASE_URL}"
    tables: {public.reading: {}}
triggers:
  arrived: {table: SOURCE.public.reading, when: inserted && after.say != 'slow', fire: change, agent: keeper}
  slow: {table: SOURCE.public.reading, when: inserted && after.say == 'slow', fire: change, agent: patient}
  high: {table: SOURCE.public.reading, when: after.level > 30, fire: enter, agent: keeper}
  nested: {table: SOURCE.public.reading, when: after.payload.level > 30, fire: enter, agent: keeper}
agents:
  keeper: {instructions: prompt.md, actions: [record, push], attempts: 12}
  patient: {model: patient, instructions: prompt.md, actions: [record]}
actions:
  record:
    kind: sql
    connection: ops
    statement: insert into entry (reading) values (:reading)
    rows: 1
    bind: {reading: after.id}
    approval: never
  push: {kind: webhook, url: "${TARGET_URL}", bind: {reading: after.id}, approval: never}
models:
  default: {base_url: "${MODEL_URL}", name: scripted, timeout: 2s, retries: 1}
  patient: {base_url: "${MODEL_URL}", name: scripted}
"""

REACTIONS: dict[str, Reaction] = {
    "record": decision(("record", {})),
    "slow": decision(("record", {})),
    "push": decision(("push", {})),
    "nothing": decision(),
    "prose": Say("Sure! I would record this reading, for it is a high one."),
    "half": Say('{"reason": "high", "actions": [{"action": "rec'),
    "500": Status(500),
    "garbage": Garbage(),
    "silence": Hang(),
}


@dataclass
class Station:
    """An attached source with its processes, a model that can be told to mend its ways, and a webhook target."""

    stack: Stack
    world: World
    model: RuledModel
    target: Target
    agent: WakeProcess
    consumer: WakeProcess
    numbers: Iterator[int] = field(default_factory=lambda: itertools.count(1))

    def read(self, say: str = "nothing", **values: Any) -> int:
        """A reading is taken; returns its number."""
        number = next(self.numbers)
        columns = {"id": number, "say": say, **values}
        names, places = ", ".join(columns), ", ".join(["%s"] * len(columns))
        self.world.execute(f"insert into reading ({names}) values ({places})", *columns.values())
        return number

    def runs(self, reading: int) -> list[views.RunRow]:
        return self.world.insights.runs(key=f"public.reading/{reading}")

    def wait_run(self, reading: int, state: str, *, within: float = 60.0) -> views.RunRow:
        """Until the only run about a reading is in this state."""

        def reached() -> views.RunRow | None:
            found = self.runs(reading)
            return found[0] if len(found) == 1 and found[0].state == state else None

        return eventually(reached, f"the run about reading {reading} {state}", within=within)

    def wait_goes_on(self) -> None:
        """Until a reading that is taken now is recorded."""
        reading = self.read("record")
        self.wait_run(reading, "succeeded")
        assert self.entries(reading) == 1

    def entries(self, reading: int) -> int:
        return len(self.world.rows(f"select 1 from entry where reading = {reading}"))

    def shown(self, reading: int) -> dict[str, Any]:
        """What `wake runs list` says about the only run over a reading."""
        (row,) = self.world.wake("runs", "list", "--key", f"public.reading/{reading}")
        return row

    def mended(self, say: str, reaction: Reaction) -> None:
        """From now on the model reacts to this word in another way."""

        def rule(call: Call) -> Reaction:
            return reaction if call.say == say else _rule(call)

        self.model.rule = rule


def _rule(call: Call) -> Reaction:
    return REACTIONS[call.say]


@pytest.fixture(scope="module")
def running(stack: Stack, env: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Generator[Station]:
    directory: Path = tmp_path_factory.mktemp("bad_input")
    with ExitStack() as undo:
        model, target = undo.enter_context(RuledModel(_rule)), undo.enter_context(Target())
        urls = {"MODEL_URL": model.url, "TARGET_URL": target.url}
        world = undo.enter_context(attached_world(stack, env, directory, ddl=DDL, wake=WAKE, prompt=PROMPT, **urls))
        consumer = undo.enter_context(WakeProcess(world, "consume"))
        agent = undo.enter_context(WakeProcess(world, "agent", "--from", "beginning"))
        undo.enter_context(WakeProcess(world, "guard"))
        world.wait_mirrored()
        yield Station(stack, world, model, target, agent, consumer)


@pytest.fixture
def station(running: Station) -> Generator[Station]:
    """The station with a model that keeps to its rule; at the end of each test the processes are those of its start."""
    running.model.rule = _rule
    pids = running.agent.pid, running.consumer.pid
    yield running
    assert running.agent.is_running, running.agent.log[-3000:]
    assert running.consumer.is_running, running.consumer.log[-3000:]
    assert (running.agent.pid, running.consumer.pid) == pids


def test_a_condition_that_fails_is_a_dead_letter_with_its_event(station: Station) -> None:
    reading = station.read(payload='{"level": "high"}')
    station.wait_goes_on()
    (letter,) = [each for each in station.world.wake("letters", "list") if each["subject"] == "nested"]
    assert (letter["stage"], letter["kind"], letter["state"]) == ("agent", "condition", "open")
    assert "_>_(string, int64)" in letter["reason"]
    (shown,) = station.world.wake("letters", "show", str(letter["id"]))
    assert shown["event"]["data"]["after"]["payload"] == {"level": "high"}
    (why,) = station.world.wake("why", f"public.reading/{reading}")
    assert [each["id"] for each in why["letters"]] == [letter["id"]]
    assert [each["trigger"] for each in why["activations"]] == ["arrived"]

    station.world.wake("letters", "retry", str(letter["id"]))
    eventually(lambda: station.world.insights.letter(letter["id"]).attempts == 2, "the letter, tried again")
    assert station.world.insights.letter(letter["id"]).state == "open"


def test_a_null_under_a_comparison_is_counted_and_wakes_nobody(station: Station) -> None:
    reading = station.read(level=None)
    station.read(level=31)
    station.wait_goes_on()
    (why,) = station.world.wake("why", f"public.reading/{reading}")
    assert [each["trigger"] for each in why["activations"]] == ["arrived"]
    counts = {(each["trigger"], each["outcome"]): each["count"] for each in why["counts"]}
    assert counts["high", "null"] >= 1
    assert counts["high", "opened"] == 1


@pytest.mark.parametrize("say", ["prose", "half"])
def test_an_answer_that_is_no_decision_fails_its_run(station: Station, say: str) -> None:
    reading = station.read(say)
    station.wait_goes_on()
    run = station.wait_run(reading, "failed")
    assert "the answer is not one JSON object" in station.shown(reading)["error"]
    assert len(station.model.calls_about(reading)) == 2  # asked, and asked once to repair it

    station.mended(say, REACTIONS["record"])
    station.world.wake("runs", "retry", run.id)
    station.wait_run(reading, "succeeded")
    assert station.entries(reading) == 1


@pytest.mark.parametrize(("say", "reason"), [("500", "answers 500"), ("garbage", "sent no completion")])
def test_a_model_in_trouble_is_asked_again_until_it_recovers(station: Station, say: str, reason: str) -> None:
    reading = station.read(say)
    station.wait_goes_on()
    eventually(lambda: any(run.error and run.attempts >= 2 for run in station.runs(reading)), "a second attempt")
    shown = station.shown(reading)
    assert reason in shown["error"]
    assert shown["state"] in ("pending", "running")
    station.mended(say, REACTIONS["record"])
    station.wait_run(reading, "succeeded")
    assert station.entries(reading) == 1


def test_a_model_that_says_nothing_holds_up_nobody_else(station: Station) -> None:
    reading, began = station.read("silence"), time.monotonic()
    while time.monotonic() - began < SILENCE:
        station.wait_goes_on()
        assert station.entries(reading) == 0
    assert "the model did not answer in time" in station.shown(reading)["error"]
    station.mended("silence", REACTIONS["record"])
    station.wait_run(reading, "succeeded", within=120)
    assert station.entries(reading) == 1
    assert len(station.model.calls_about(reading)) >= 3


def test_a_webhook_whose_target_is_down_arrives_once_it_is_up(station: Station) -> None:
    reading = station.read("push")
    station.wait_goes_on()
    tried = eventually(
        lambda: [each for each in station.world.insights.actions(key=str(reading)) if each.attempts >= 2],
        "a second attempt at the webhook",
    )
    (shown,) = station.world.wake("actions", "list", "--key", str(reading))
    assert (shown["id"], shown["state"]) == (tried[0].id, "approved")
    assert "the receiver cannot be reached" in shown["reason"]
    station.target.open()
    station.wait_run(reading, "succeeded")
    assert station.target.deliveries() == {tried[0].id: [{"reading": reading}]}


def test_a_foreign_message_in_the_context_topic_is_a_dead_letter(station: Station) -> None:
    known = {letter["id"] for letter in station.world.wake("letters", "list")}
    for payload in (b"not JSON", b'{"specversion": "1.0"}', b""):
        _produce(station.world, payload)
    station.wait_goes_on()

    def found() -> list[dict[str, Any]] | None:
        new = [letter for letter in station.world.wake("letters", "list") if letter["id"] not in known]
        return new if len(new) >= 3 else None

    letters = eventually(found, "three letters")
    assert [(each["stage"], each["kind"]) for each in letters] == [("agent", "message")] * 3
    assert all(each["reason"].startswith("not a context event: ") for each in letters)
    assert {each["topic"] for each in letters} == {topics.context(station.world.source)}


def test_the_source_away_holds_up_its_actions_and_loses_nothing(station: Station) -> None:
    station.model.hold()
    reading = station.read("slow")
    assert station.model.wait_held() == [reading]
    with _away(station, "source-db"):
        began = time.monotonic()
        station.model.release()

        def seen() -> list[views.ActionRow] | None:
            found = station.world.insights.actions(states=["approved"], key=f"public.reading/{reading}")
            away = time.monotonic() - began
            return [each for each in found if each.attempts >= 3 and away >= ABSENCE] or None

        (action,) = eventually(seen, f"a third attempt, and {ABSENCE:.0f} s", within=ABSENCE + 60)
        (shown,) = station.world.wake("actions", "list", "--key", f"public.reading/{reading}")
        assert "connection failed" in shown["reason"] or "refused" in shown["reason"], shown["reason"]
    station.wait_run(reading, "succeeded", within=2 * ABSENCE + 60)
    assert station.entries(reading) == 1
    station.wait_goes_on()
    receipt = "select 1 from wake.receipt where action = %s"
    eventually(lambda: station.world.told(receipt, action.id), "the receipt of the action that waited")


def test_the_ledger_away_loses_neither_an_answer_nor_an_event(station: Station) -> None:
    station.model.hold()
    reading, kept = station.read("slow"), station.agent.log.count("result_kept")
    assert station.model.wait_held() == [reading]
    # The claim is durable a moment after it is made; a crash that took it back would rightly have it made again.
    station.world.told("select pg_logical_emit_message(false, 'test', ''::text, true)")
    with _away(station, "ledger-db"):
        station.model.release()
        behind = station.read("record")
        eventually(
            lambda: station.agent.log.count("result_kept") > kept, "an answer that is kept until the ledger is back"
        )
    for each in (reading, behind):
        station.wait_run(each, "succeeded")
        assert station.entries(each) == 1
    assert len(station.model.calls_about(reading)) == 1  # what was answered is not asked again


@contextmanager
def _away(station: Station, part: Any) -> Generator[None]:
    """A part of the stack is gone, as when its machine went down, and comes back."""
    station.stack.kill(part)
    try:
        yield
    finally:
        station.model.release()
        station.stack.start_part(part)


def _produce(world: World, payload: bytes) -> None:
    failures: list[KafkaError | None] = []

    def failed(error: KafkaError | None, _: Message) -> None:
        failures.append(error)

    producer = kafka.publisher(world.loaded.config.kafka, "test", failed)
    producer.produce(topics.context(world.source), payload, b"foreign", 0)
    assert producer.flush(30) == 0
    assert not any(failures)
