"""A connector that somebody else runs: everything of it arrives, in order for each key; nothing of it is touched."""

from __future__ import annotations

import itertools
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg
import pytest

from connectors import doctor, repair, roles, snapshot_run, status
from connectors.apply import apply, planning
from connectors.detach import detach
from console import verifying
from localstack import Stack
from tests.harness.agent import WakeProcess
from tests.harness.context import exact
from tests.harness.foreign import AS_EVENTS, JSON, Foreign, History, differing, foreign
from tests.harness.processes import ADOPTED_FAILPOINTS, ConsumerProcess
from tests.harness.waiting import eventually
from wakestream import kafka, topics
from wakestream.errors import RefusedError

DDL = """
    create type mood as enum ('glad', 'sad');
    create table flight (
        id int primary key, origin text not null, status text, fare numeric(10, 2), delay int default 5,
        departs_at timestamptz, landed timestamp, day date, at time(3), mood mood, raw bytea, wait interval,
        free numeric, note text
    );
    create table seat (flight_id int, seat_no text, taken boolean, primary key (flight_id, seat_no));
    create table remark (id int primary key, body text);
"""
FILL = """
    insert into flight select n, 'VIE', 'on time', n * 10.5, n, '2026-11-22 10:00Z', '2026-11-22 12:00:00.123456',
        '2026-11-22', '09:30:00.125', 'glad', '\\xdeadbeef', '1 hour', n, 'short' from generate_series(1, 30) n;
    insert into seat select f, s || 'A', false from generate_series(1, 5) f, generate_series(1, 4) s;
"""
LONG = "repeat(md5(random()::text), 300) || repeat(md5('x'), 300)"  # stored out of line
LOST = frozenset({"delay", "wait", "free"})

WAKE = """
sources:
  SOURCE:
    capture: "${CAPTURE_URL}"
    adopt: CONNECTOR
    tables: {public.flight: {}, public.seat: {}, public.remark: {}}
"""

SCHEMALESS = {"key.converter": JSON, "value.converter": JSON}
FORMS = {
    "plain": {f"{side}.schemas.enable": "false" for side in SCHEMALESS} | SCHEMALESS,
    "schemas": {f"{side}.schemas.enable": "true" for side in SCHEMALESS} | SCHEMALESS,
}


@contextmanager
def writing(theirs: Foreign) -> Generator[psycopg.Connection[Any]]:
    with psycopg.connect(theirs.world.url, autocommit=True, options=AS_EVENTS) as connection:
        yield connection


def filled(connection: psycopg.Connection[Any], history: History) -> None:
    """The rows that are there before anybody looks."""
    for number in range(1, 31):
        history.read(connection, "flight", f"id = {number}")
    for flight in range(1, 6):
        for row in range(1, 5):
            history.read(connection, "seat", f"flight_id = {flight} and seat_no = '{row}A'")


def change_much(connection: psycopg.Connection[Any], other: psycopg.Connection[Any], history: History, at: int) -> None:
    """One round of changes; `at` makes its keys its own where rows are made or go."""
    one, two = f"id = {at}", f"id = {at + 1}"
    history.change(connection, "flight", one, f"update flight set status = 'delayed', note = {LONG} where {one}")
    with other.transaction():  # overlaps the next ones, and commits after them
        history.change(other, "flight", two, f"update flight set fare = fare + 0.01 where {two}")
        history.change(connection, "flight", one, f"update flight set status = 'late' where {one}")
        history.change(other, "flight", two, f"update flight set fare = -fare, note = null where {two}")
    with connection.transaction():  # several changes of one key
        for number in range(3):
            history.change(connection, "flight", one, f"update flight set fare = {number}.50 where {one}")
        history.change(connection, "flight", one, f"delete from flight where {one}")
        insert = f"insert into flight (id, origin, fare, landed) values ({at}, 'GRZ', 1e7, '2026-01-01')"
        history.change(connection, "flight", one, insert)
    moved, seat = f"flight_id = {100 + at} and seat_no = 'X'", f"flight_id = {at} and seat_no = 'Y'"
    history.change(connection, "seat", seat, f"insert into seat values ({at}, 'Y', true)")
    history.move(connection, "seat", seat, moved, f"update seat set flight_id = {100 + at}, seat_no = 'X' where {seat}")
    history.change(connection, "seat", moved, f"delete from seat where {moved}")
    said = f"insert into remark values ({at}, 'öÄ \"quoted\"') on conflict (id) do update set body = remark.body || '!'"
    history.change(connection, "remark", one, said)


def mirrored(theirs: Foreign, table: str) -> list[Any]:
    with psycopg.connect(theirs.world.variables["LEDGER_URL"], options=AS_EVENTS) as connection:
        rows = connection.execute(f'select to_jsonb(m)::text from "{theirs.source}__public".{table} m'.encode())
        return sorted((exact(text) for (text,) in rows.fetchall()), key=str)


def stored(connection: psycopg.Connection[Any], table: str) -> list[Any]:
    rows = connection.execute(f"select to_jsonb(t)::text from {table} t".encode()).fetchall()
    return sorted(({k: v for k, v in exact(text).items() if k not in LOST} for (text,) in rows), key=str)


@pytest.mark.parametrize("form", FORMS)
def test_everything_arrives_in_order_while_the_consumer_is_killed_and_nothing_of_theirs_changes(
    form: str, stack: Stack, env: dict[str, str], tmp_path: Path
) -> None:
    with foreign(stack, env, tmp_path, ddl=DDL + FILL, wake=WAKE, settings=FORMS[form]) as theirs:
        before, history = theirs.config(), History(LOST, frozenset({"fare"}))
        with writing(theirs) as connection, writing(theirs) as other:
            filled(connection, history)
            eventually(lambda: len(theirs.messages("flight")) == 30, "the snapshot of flight")
            with planning(theirs.world.loaded) as plan:
                assert [step.object for step in plan.steps if step.object != "ledger"] == [
                    f"topic {topics.context(theirs.source)}",
                    f"revision of {theirs.source}",
                ]
            apply(theirs.world.loaded)
            assert apply(theirs.world.loaded) == []
            with ConsumerProcess(theirs.raw_config(), tmp_path) as consumer:
                consumer.start()
                for number, point in enumerate(ADOPTED_FAILPOINTS):
                    consumer.hold(point)
                    change_much(connection, other, history, 3 * number + 1)
                    consumer.wait_held(point)
                    if number % 2:
                        theirs.send_again("flight", 7)
                    consumer.kill()
                    change_much(connection, other, history, 3 * number + 1)
                    consumer.release(point)
                    consumer.start()
                history.change(connection, "flight", "id = 999", "insert into flight values (999, 'END')")
                history.change(
                    connection, "seat", "flight_id = 999 and seat_no = 'Z'", "insert into seat values (999, 'Z')"
                )
                history.change(connection, "remark", "id = 999", "insert into remark values (999, 'end')")
                context = theirs.wait_read("public.flight/999", "public.seat/999,Z", "public.remark/999")
                assert consumer.stop() == 0
            context.verify_contract()
            assert differing(context, history) == {}
            for table in ("flight", "seat", "remark"):
                assert mirrored(theirs, table) == stored(connection, table)
        for each in context.of_type("row.updated"):
            assert each.data["cause"] is None
            if each.event["subject"].startswith("public.flight/"):
                assert {f"after.{name}" for name in LOST} <= set(each.data["missing"])
        status.status(theirs.world.loaded)
        doctor.examine(theirs.world.loaded)
        slots = theirs.world.rows(
            "select slot_name, active from pg_replication_slots where database = current_database()"
        )
        detach(theirs.world.loaded, theirs.source, with_topics=True)
        assert theirs.config() == before
        assert theirs.client.status(theirs.connector).running
        assert slots == [(f"{theirs.source}_their", True)]
        assert theirs.world.rows("select pubname::text from pg_publication") == [(f"{theirs.source}_their",)]
        assert kafka.partition_count(kafka.admin(theirs.world.loaded.config.kafka), theirs.topic("flight")) == 3


def test_what_its_settings_lose_is_named_with_the_setting_and_its_owner_can_mend_it(
    stack: Stack, env: dict[str, str], tmp_path: Path
) -> None:
    with foreign(stack, env, tmp_path, ddl=DDL + FILL, wake=WAKE) as theirs:
        loaded, name = theirs.world.loaded, theirs.source
        eventually(lambda: len(theirs.messages("flight")) == 30, "the snapshot of flight")
        apply(loaded)
        found = {(each.id, each.object, each.remedy) for each in doctor.examine(loaded) if each.group == "adopt"}
        flight, connector = f"{name}.public.flight", f"{name}.connector {theirs.connector}"
        nulls = f"connector: value.converter={JSON}\nconnector: value.converter.replace.null.with.default=false"
        assert found == {
            ("adopt.values", flight, "connector: interval.handling.mode=string"),
            ("adopt.values", flight, "connector: decimal.handling.mode=string"),
            ("adopt.values", flight, nulls),
            ("adopt.truncates", connector, "connector: skipped.operations=none"),
            ("adopt.placeholder", connector, "connector: unavailable.value.placeholder=<a long random text>"),
            ("adopt.topic_missing", f"{name}.public.remark", NO_TOPIC),
        }
        (seen,) = status.status(loaded)
        checks = {check.name: check for check in seen.checks}
        assert checks["connector"].ok
        assert "no consumer has read its topics yet" in checks["consumer"].detail
        assert "decimal.handling.mode=string" in " ".join(check.detail for check in seen.checks)
        assert "causes, entities" in checks["missing"].detail
        mended = {
            **SCHEMALESS,
            **{
                f"{side}.{key}": "false"
                for side in SCHEMALESS
                for key in ("schemas.enable", "replace.null.with.default")
            },
            **{"decimal.handling.mode": "string", "interval.handling.mode": "string", "skipped.operations": "none"},
            **{"unavailable.value.placeholder": "a long random text"},
        }
        theirs.client.put_config(theirs.connector, {**theirs.client.config(theirs.connector), **mended})
        theirs.client.wait_running(theirs.connector)
        assert [(each.id, each.remedy) for each in doctor.examine(loaded) if each.level == "error"] == [
            ("adopt.changed", "run: wake apply --yes")
        ]
        theirs.world.execute("alter table remark add column at timestamp")
        (finding,) = [each for each in doctor.examine(loaded) if each.level == "error"]
        assert "public.remark: column at added" in finding.evidence
        apply(loaded)
        ids = [(each.id, each.object) for each in doctor.examine(loaded) if each.group == "adopt"]
        assert ids == [
            ("adopt.truncates", flight),  # in order in one partition only
            ("adopt.truncates", f"{name}.public.seat"),
            ("adopt.topic_missing", f"{name}.public.remark"),
        ]


NO_TOPIC = "none: it comes with the first row, if the connector captures the table"


def test_what_cannot_be_read_or_is_not_ours_to_do_is_refused(stack: Stack, env: dict[str, str], tmp_path: Path) -> None:
    unwrapped = {"transforms": "flat", "transforms.flat.type": "io.debezium.transforms.ExtractNewRecordState"}
    with foreign(stack, env, tmp_path, ddl=DDL, wake=WAKE, settings=unwrapped) as theirs:
        loaded, before = theirs.world.loaded, theirs.config()
        with pytest.raises(
            RefusedError, match=r"transform flat \(io.debezium.transforms.ExtractNewRecordState\) changes"
        ):
            apply(loaded)
        assert {each.id for each in doctor.examine(loaded) if each.level == "error"} == {"adopt.unreadable"}
        for forbidden in (
            lambda: repair.examine(loaded, theirs.source),
            lambda: snapshot_run.check(loaded, theirs.source, ["public.flight"]),
            lambda: roles.configured(loaded, theirs.source),
            lambda: list(verifying.verify(loaded, theirs.source, None, 10)),
        ):
            with pytest.raises(RefusedError, match="whose topics are read and nothing else"):
                forbidden()
        assert theirs.config() == before


TRIGGERS = (
    WAKE
    + """
triggers:
  delayed:
    {table: SOURCE.public.flight, when: after.status == 'delayed', fire: enter, agent: watcher, own_writes: true}
  undelayed:
    {table: SOURCE.public.flight, when: after.status == 'delayed', fire: leave, agent: watcher, own_writes: true}
agents:
  watcher: {instructions: prompt.md}
models:
  default: {base_url: "http://127.0.0.1:9/v1", name: nobody}
"""
)


def test_triggers_over_its_tables_wake_the_agent_and_a_lost_stretch_is_a_gap(
    stack: Stack, env: dict[str, str], tmp_path: Path
) -> None:
    with foreign(stack, env, tmp_path, ddl=DDL + FILL, wake=TRIGGERS) as theirs:
        world = theirs.world
        eventually(lambda: len(theirs.messages("flight")) == 30, "the snapshot of flight")
        apply(world.loaded)
        with (
            WakeProcess(world, "agent", "--from", "beginning"),
            ConsumerProcess(theirs.raw_config(), tmp_path) as consumer,
        ):
            consumer.start()
            world.execute("update flight set status = 'delayed' where id = 7")
            world.execute("update flight set delay = 90 where id = 7")
            world.execute("update flight set status = 'on time' where id = 7")
            fired = "select trigger, subject from wake.activation order by created_at"
            eventually(lambda: len(world.told(fired)) == 2, "two activations")
            assert world.told(fired) == [("delayed", "public.flight/7"), ("undelayed", "public.flight/7")]
            theirs.wait_read("public.flight/7")
            consumer.stop()
            world.execute("update flight set origin = 'LNZ' where id = 8")
            eventually(lambda: len(theirs.messages("flight")) == 34, "the last change")
            theirs.cut("flight")
            consumer.start()
            world.execute("update flight set status = 'delayed' where id = 8")
            world.execute("update flight set status = 'late' where id = 8")
            context = theirs.wait_read("public.flight/8", f"{theirs.source}/gap")
            consumer.stop()
        (gap,) = context.of_type("context.gap")
        assert gap.data["tables"] == ["public.flight"]
        assert "the consumer was away too long" in gap.data["reason"]
        behind = [each.data for each in context.unique if each.event["subject"] == "public.flight/8"][-2:]
        assert [data["before"] is None and "before" in data["missing"] for data in behind] == [True, False]
        detach(world.loaded, theirs.source, with_topics=True)


def test_a_long_value_that_a_change_of_the_key_leaves_alone_is_not_told_as_null(
    stack: Stack, env: dict[str, str], tmp_path: Path
) -> None:
    """The two halves of such a change come in two partitions, and the one with the new key looks like an insert."""
    curve = "(select array_agg(sin(n)) from generate_series(1, 1000) n)"
    ddl = DDL + FILL + "alter table flight add curve float8[];"
    with foreign(stack, env, tmp_path, ddl=ddl, wake=WAKE, settings=FORMS["plain"]) as theirs:
        eventually(lambda: len(theirs.messages("flight")) == 30, "the snapshot of flight")
        apply(theirs.world.loaded)
        with writing(theirs) as connection, ConsumerProcess(theirs.raw_config(), tmp_path) as consumer:
            consumer.start()
            connection.execute(f"update flight set curve = {curve} where id <= 12".encode())
            connection.execute(b"update flight set id = id + 5000 where id <= 12")
            connection.execute(b"insert into flight (id, origin) values (6000, 'END')")
            context = theirs.wait_read(*(f"public.flight/{n + 5000}" for n in range(1, 13)), "public.flight/6000")
            assert consumer.stop() == 0
        told = {each.event["subject"]: each.data for each in context.of_type("row.inserted")}
        assert told.pop("public.flight/6000")["after"]["curve"] is None
        assert len(told) == 12
        for subject, data in told.items():
            assert ("curve" in data["after"], "after.curve" in data["missing"]) == (False, True), subject


def test_a_topic_that_gets_partitions_keeps_the_order_of_every_key(
    stack: Stack, env: dict[str, str], tmp_path: Path
) -> None:
    settings = {"producer.override.metadata.max.age.ms": "1000"}  # how soon their producer sees new partitions
    with foreign(stack, env, tmp_path, ddl=DDL + FILL, wake=WAKE, settings=settings) as theirs:
        history, count = History(LOST, frozenset({"fare"})), itertools.count()
        with writing(theirs) as connection, ConsumerProcess(theirs.raw_config(), tmp_path) as consumer:
            filled(connection, history)
            eventually(lambda: len(theirs.messages("flight")) == 30, "the snapshot of flight")
            apply(theirs.world.loaded)
            consumer.start()

            def change() -> None:
                number = next(count) % 30 + 1
                history.change(
                    connection, "flight", f"id = {number}", f"update flight set fare = {number} where id = {number}"
                )

            change()
            theirs.wait_read("public.flight/1")
            theirs.add_partitions("flight", 6)

            def moved() -> bool:
                change()
                return any((message.partition() or 0) >= 3 for message in theirs.messages("flight"))

            eventually(moved, "a key in a new partition")
            for _ in range(60):
                change()
            history.change(connection, "flight", "id = 999", "insert into flight values (999, 'END')")
            context = theirs.wait_read("public.flight/999")
            assert consumer.stop() == 0
        context.verify_contract()
        assert differing(context, history) == {}
        detach(theirs.world.loaded, theirs.source, with_topics=True)


def test_a_converter_that_only_the_messages_show_is_refused(stack: Stack, env: dict[str, str], tmp_path: Path) -> None:
    with foreign(stack, env, tmp_path, ddl=DDL, wake=WAKE) as theirs:
        theirs.world.execute("insert into seat values (1, '1A', true)")
        eventually(lambda: theirs.messages("seat"), "the first change")
        theirs.produce("seat", b"\x00\x00\x00\x00\x01Avro")
        with pytest.raises(RefusedError, match=r"seat are not Debezium's envelopes as JSON, as its worker's own"):
            apply(theirs.world.loaded)
        found = [each for each in doctor.examine(theirs.world.loaded) if each.level == "error"]
        assert [(each.id, each.remedy) for each in found] == [
            ("adopt.unreadable", f"connector: value.converter={JSON}")
        ]
