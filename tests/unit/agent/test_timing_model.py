"""Random histories, clocks, backlogs and crashes: the agent's ledger against the reference, trigger by trigger."""

from __future__ import annotations

import os
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, ClassVar

import psycopg
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test
from psycopg import sql

import agent.intake
from agent.activations import Message
from agent.database import Ledger
from agent.intake import Intake
from tests.harness import timing_reference as reference
from tests.harness.timing_reference import Event, Item, Lost, Mark, Outcome, Pause, Rules
from tests.unit.agent import airline
from tests.unit.agent.conftest import Databases
from wakestream import config, events
from wakestream.errors import TransientError
from wakestream.program import Program, compile_program

PARTITIONS, SUBJECTS = 2, 4
BEGIN = datetime(2026, 11, 22, tzinfo=UTC)
SOAK = bool(os.environ.get("WAKE_SOAK"))

TRIGGERS = """
  enters: {when: late, conditions: {late: after.status == 'late'}, fire: enter, breaker: "off"}
  leaves: {when: after.status == 'late', fire: leave, breaker: "off"}
  changes: {when: "'fare' in changed", fire: change, breaker: "off", own_writes: true}
  held: {when: after.status == 'late', fire: enter, hold: 10s, breaker: "off"}
  gone: {when: after.status == 'late', fire: leave, hold: 10s, breaker: "off"}
  unanswered:
    {when: after.status == 'late', fire: enter, absent: {event: after.delay_min == 0, within: 15s}, breaker: "off"}
  silent: {when: op != 'delete', fire: change, absent: {event: op != 'delete', within: 20s}, breaker: "off"}
  burst: {when: "'fare' in changed", fire: change, debounce: {quiet: 5s, at_most: 12s}, breaker: "off"}
  settled: {when: after.status == 'late', fire: enter, debounce: {quiet: 5s, at_most: 12s}, breaker: "off"}
  together:
    {when: after.status == 'late', fire: enter, batch: {by: after.remarks, at_most: 3, within: 12s}, breaker: "off"}
  calm: {when: after.status == 'late', fire: enter, cooldown: 30s, breaker: "off"}
  broken: {when: after.delay_min > 0, fire: change, breaker: {runs: 2, within: 40s}}
  all_of_it:
    when: after.status == 'late'
    fire: enter
    hold: 4s
    batch: {by: after.remarks, at_most: 2, within: 8s}
    cooldown: 15s
    breaker: {runs: 3, within: 60s}
"""


def is_late(_: Event, image: reference.Row) -> bool:
    return image["status"] == "late"


def fare_changed(event: Event, _: reference.Row) -> bool | None:
    return "fare" in (event.changed or ()) if event.before_known else None


def is_there(event: Event, _: reference.Row) -> bool:
    return event.after is not None


def is_punctual(event: Event) -> bool:
    return event.after is not None and event.after["delay_min"] == 0


def is_delayed(event: Event, _: reference.Row) -> bool:
    return event.after is not None and event.after["delay_min"] > 0


def is_said(event: Event) -> bool:
    return event.after is not None


def remarks(event: Event) -> object:
    return (event.after or {}).get("remarks")


RULES = [
    Rules("enters", "enter", is_late),
    Rules("leaves", "leave", is_late),
    Rules("changes", "change", fare_changed, own_writes=True),
    Rules("held", "enter", is_late, hold=10),
    Rules("gone", "leave", is_late, hold=10),
    Rules(
        *("unanswered", "enter", is_late),
        absent=(is_punctual, 15),
    ),
    Rules("silent", "change", is_there, absent=(is_said, 20)),
    Rules("burst", "change", fare_changed, debounce=(5, 12)),
    Rules("settled", "enter", is_late, debounce=(5, 12)),
    Rules("together", "enter", is_late, batch=(remarks, 3, 12)),
    Rules("calm", "enter", is_late, cooldown=30),
    Rules(
        *("broken", "change", is_delayed),
        breaker=(2, 40),
    ),
    Rules("all_of_it", "enter", is_late, hold=4, batch=(remarks, 2, 8), cooldown=15, breaker=(3, 60)),
]


class Agent(RuleBasedStateMachine):
    """A source whose rows change at random, and an intake that reads of it, now this much and now that."""

    program: ClassVar[Program]
    url: ClassVar[str]
    steps: ClassVar[int] = 0

    def __init__(self) -> None:
        super().__init__()
        with psycopg.connect(self.url) as connection:
            for table in ("run_step", "run", "activation", "wait", "batch", "paused_trigger", "open_breaker"):
                connection.execute(sql.SQL("delete from wake.{}").format(sql.Identifier(table)))
            for table in ("trigger_count", "partition_position", "dead_letter"):
                connection.execute(sql.SQL("delete from wake.{}").format(sql.Identifier(table)))
        self.history: list[Item] = []
        self.time = 0.0
        self.rows: dict[int, reference.Row] = {}
        self.lost_before: set[int] = set()
        self.offsets = [0] * PARTITIONS
        self.waiting: list[Message] = []
        self.number = 0
        self.ledger = Ledger(self.url, "model")
        self.restart()

    def teardown(self) -> None:
        try:
            self.read(len(self.waiting))
            self.agrees()
        finally:
            self.ledger.close()

    # What happens in the source.

    @rule(
        key=st.integers(1, SUBJECTS),
        status=st.sampled_from(["late", "on time"]),
        delay=st.sampled_from([0, 0, 30]),
        fare=st.sampled_from([1, 2]),
        remarks=st.sampled_from(["a", "b"]),
        cause=st.sampled_from([None, None, None, *("own", 1, 3)]),
    )
    def changes(self, key: int, status: str, delay: int, fare: int, remarks: str, cause: object) -> None:
        after = airline.flight(key, status=status, delay_min=delay, fare=fare, remarks=remarks)
        self._row(key, self.rows.get(key), after, cause)
        self.rows[key] = after

    @rule(key=st.integers(1, SUBJECTS))
    def goes(self, key: int) -> None:
        if key in self.rows:
            self._row(key, self.rows.pop(key), None, None)

    @rule(key=st.integers(1, SUBJECTS), status=st.sampled_from(["late", "on time"]))
    def changes_from_nobody_knows_what(self, key: int, status: str) -> None:
        after = airline.flight(key, status=status)
        self._row(key, None, after, None, known=False)
        self.rows[key] = after

    @rule(seconds=st.sampled_from([0.5, 1.0, 2.0, 5.0, 9.0]))
    def time_passes(self, seconds: float) -> None:
        self.time += seconds

    @rule(partition=st.integers(0, PARTITIONS - 1))
    def a_mark(self, partition: int) -> None:
        self._mark(partition)

    @rule()
    def marks(self) -> None:
        for partition in range(PARTITIONS):
            self._mark(partition)

    @rule(kind=st.sampled_from(["truncated", "gap"]), really=st.integers(0, 5))
    def is_lost(self, kind: Any, really: int) -> None:
        if really:
            return
        self.history.append(Lost(kind))
        for partition in range(PARTITIONS):
            if kind == "truncated":
                found = airline.event("public.flight", None, None, kind="table.truncated")
                found |= {"subject": "public.flight"}
            else:
                found = airline.event("public.flight", None, None, kind="context.gap")
                found["data"] |= {"state": "open", "tables": ["public.flight"], "number": 1, "reason": "?"}
            self._send(partition, found)
        if kind == "truncated":
            self.rows.clear()

    # What people and the process do; only when everything so far is read, for they are not in the log.

    @precondition(lambda self: not self.waiting)
    @rule(trigger=st.sampled_from([each.name for each in RULES]), paused=st.booleans())
    def is_paused(self, trigger: str, paused: bool) -> None:
        self.history.append(Pause(trigger, paused))
        with psycopg.connect(self.url) as connection:
            connection.execute("delete from wake.paused_trigger where trigger = %s", (trigger,))
            if paused:
                connection.execute("insert into wake.paused_trigger values (%s, 'me', 'because')", (trigger,))

    @rule(count=st.integers(1, 12))
    def read(self, count: int) -> None:
        found, self.waiting = self.waiting[:count], self.waiting[count:]
        if found:
            self.intake.process(found)

    @rule(count=st.integers(1, 12), point=st.sampled_from(["agent.3.before_commit", "agent.3.after_commit"]))
    def crash(self, count: int, point: str) -> None:
        found = self.waiting[:count]
        if not found:
            return
        reached: Callable[[str], None] = agent.intake.reach

        def fail(name: str) -> None:
            if name == point:
                raise TransientError("crash")

        agent.intake.reach = fail  # type: ignore[assignment]
        try:
            with pytest.raises(TransientError):
                self.intake.process(found)
        finally:
            agent.intake.reach = reached
        self.restart()

    @rule()
    def restart(self) -> None:
        self.ledger.close()
        self.intake = Intake(self.program, self.ledger, name="model", start="beginning", wake=lambda _: None)
        self.intake.own({(airline.TOPIC, each): (0, 10**9) for each in range(PARTITIONS)})

    @invariant()
    def is_counted(self) -> None:
        type(self).steps += 1

    @precondition(lambda self: not self.waiting)
    @rule()
    def agrees(self) -> None:
        with psycopg.connect(self.url) as connection:
            for rules in RULES:
                wanted, runs = reference.expected(self.history, rules, PARTITIONS)
                assert told(connection, rules.name) == wanted, rules.name
                assert told_runs(connection, rules.name) == runs, rules.name

    def _row(
        self,
        key: int,
        before: reference.Row | None,
        after: reference.Row | None,
        cause: object,
        *,
        known: bool = True,
    ) -> None:
        subject = f"public.flight/{key}"
        partition = events.partition_of(subject, PARTITIONS)
        found = airline.event("public.flight", before, after, missing=() if known else ("before",))
        if not known:
            found["data"] |= {"op": "update", "changed": None}
            found["type"] = "row.updated"
        if cause is not None:
            trigger, depth = ("settled", 1) if cause == "own" else ("another", cause)
            found["data"]["cause"] = {"action": "a", "run": "r", "trigger": trigger, "keys": [subject], "depth": depth}
        self._send(partition, found)
        known_cause = found["data"]["cause"]
        self.history.append(Event(found["id"], self.time, partition, subject, before, after, known, known_cause))

    def _mark(self, partition: int) -> None:
        self._send(partition, airline.event("airline", None, None, kind="context.clock"))
        self.history.append(Mark(self.time, partition))

    def _send(self, partition: int, found: dict[str, Any]) -> None:
        self.number += 1
        found["data"]["position"] |= {"offset": self.number}
        found["time"] = (BEGIN + timedelta(seconds=self.time)).isoformat()
        found["id"] = f"airline/1/{self.number}.1"
        self.waiting.append(Message(airline.TOPIC, partition, self.offsets[partition], airline.payload(found)))
        self.offsets[partition] += 1


WAITS = ("hold:", "absent:", "debounce:")


def told(connection: psycopg.Connection[Any], trigger: str) -> dict[str, Outcome]:
    """The ledger's activations in the reference's words."""
    rows = connection.execute(
        "select id, state, reason, opened_at, batch, event from wake.activation where trigger = %s", (trigger,)
    ).fetchall()
    found = dict[str, Outcome]()
    for identity, state, reason, opened_at, batch, event in rows:
        word = (reason or "").partition(" ")[0]
        word = word.rstrip(":") if state == "suppressed" else word
        data = event["data"]
        found[identity] = Outcome(
            *(state, "" if word in WAITS else word, None if opened_at is None else (opened_at - BEGIN).total_seconds()),
            *(batch, data["before"], data["after"], data["changed"] and sorted(data["changed"])),
            [step["id"] for step in data.get("steps", ())],
        )
    return found


def told_runs(connection: psycopg.Connection[Any], trigger: str) -> dict[str, list[str]]:
    rows = connection.execute(
        "select r.id, array_agg(a.id order by a.committed_at, a.id) from wake.run r"
        " join wake.activation a on a.id = r.activation or a.batch = r.id where r.trigger = %s group by 1",
        (trigger,),
    ).fetchall()
    return dict(rows)


def test_triggers_fire_when_the_reference_says(databases: Databases, scratch_ledger: str, tmp_path: Path) -> None:
    text = airline.CONFIG.format(ledger=scratch_ledger, lookups=scratch_ledger, ops="", webhook="", model="http://x")
    begin, end = text.index("triggers:\n"), text.index("lookups:\n")
    lines = TRIGGERS.replace("{when", "{table: airline.public.flight, agent: watcher, when")
    lines = lines.replace("    when: after", "    table: airline.public.flight\n    agent: watcher\n    when: after")
    text = f"{text[:begin]}triggers:{lines}{text[end:]}".replace(
        "agents:\n", "agents:\n  watcher: {model: default, instructions: rebooker.md}\n"
    )
    (tmp_path / "rebooker.md").write_text("Watch.")
    (tmp_path / "wake.yaml").write_text(text)
    Agent.program = compile_program(config.load(tmp_path / "wake.yaml", {}), {"airline": airline.REVISION})
    Agent.url = scratch_ledger
    limits = settings(
        max_examples=400 if SOAK else 25,
        stateful_step_count=80,
        deadline=None,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much],
        print_blob=True,
    )
    run_state_machine_as_test(Agent, settings=limits)
    assert Agent.steps > (20_000 if SOAK else 500)
