"""Hard cases on the real stack: what a log can hold, and what may happen to the log, the ledger and the consumer.

Interleaved transactions, savepoints and COPY are part of the workload in `tests/faults/test_consumer_oracle.py`;
outages, a log that was cut and a frozen owner are in `tests/faults/test_consumer_outages.py`.
"""

from __future__ import annotations

import re
from collections.abc import Generator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, cast

import pytest

from connectors import topics_setup
from connectors.connect import Connect
from tests.harness.processes import ConsumerProcess
from tests.harness.server import small_server
from tests.harness.source import AttachedSource, attached, forget
from tests.harness.waiting import eventually
from wakestream import capture, kafka, topics

DDL = "create table item (id int primary key, n int, note text)"
LARGE = 60_000
NOTE = 3000  # bytes of each of its rows
MOST = 400  # MB of memory that the consumer may have, whatever it reads

pytestmark = pytest.mark.timeout(400)


@pytest.fixture(scope="module")
def source(env: dict[str, str]) -> Generator[AttachedSource]:
    with attached(env, DDL, ["public.item"]) as source:
        yield source


@pytest.fixture
def consumer(source: AttachedSource, tmp_path: Path) -> Generator[ConsumerProcess]:
    with ConsumerProcess(source.raw_config, tmp_path) as consumer:
        consumer.start()
        source.wait_mirrored()
        yield consumer
        assert consumer.stop() == 0


def told(source: AttachedSource, first: int, last: int) -> list[tuple[str, int, Any]]:
    """What the events say of the rows with these ids, in order: operation, id, new `n`."""
    context = source.context()
    context.verify_contract()
    rows = context.of_type("row.inserted", "row.updated", "row.deleted")
    return [
        (each.data["op"], each.data["key"]["id"], each.data["after"]["n"] if each.data["after"] else None)
        for each in rows
        if first <= each.data["key"]["id"] <= last
    ]


def test_two_transactions_at_once_with_savepoints(source: AttachedSource, consumer: ConsumerProcess) -> None:
    """Each is told whole, in the order of the commits; what was rolled back never was."""
    assert consumer.is_running
    with source.connect() as first, source.connect() as second:
        first.execute("begin; insert into item values (101, 1); savepoint a; insert into item values (102, 1)")
        second.execute("begin; insert into item values (111, 1); savepoint a")
        first.execute("rollback to a; insert into item values (103, 1)")
        second.execute("update item set n = 2 where id = 111; release a; insert into item values (112, 1)")
        second.execute("commit")
        first.execute("update item set n = 3 where id = 101; commit")
    source.wait_applied()
    assert told(source, 101, 112) == [
        ("insert", 111, 1),
        ("update", 111, 2),
        ("insert", 112, 1),
        ("insert", 101, 1),
        ("insert", 103, 1),
        ("update", 101, 3),
    ]


def test_rows_that_were_copied_in(source: AttachedSource, consumer: ConsumerProcess) -> None:
    assert consumer.is_running
    with source.connect() as connection, connection.cursor().copy("copy item (id, n) from stdin") as copy:
        for number in range(200, 300):
            copy.write_row((number, number))
    source.wait_applied()
    assert told(source, 200, 299) == [("insert", number, number) for number in range(200, 300)]


def test_messages_of_others_are_passed_over(source: AttachedSource, consumer: ConsumerProcess) -> None:
    """Transactional or not, whatever their prefix: they make no event, no dead letter and no gap."""
    assert consumer.is_running
    before = source.dead_letters()
    with source.connect() as connection:
        connection.execute("select pg_logical_emit_message(false, 'other', 'beside')")
        connection.execute("begin; insert into item values (301, 1)")
        connection.execute(
            "select pg_logical_emit_message(true, 'wakeful', 'inside'), "
            "pg_logical_emit_message(true, '', '\\x00ff'::bytea)"
        )
        connection.execute("select pg_logical_emit_message(false, 'other', 'beside')")
        connection.execute("insert into item values (302, 1); commit")
        connection.execute("select pg_logical_emit_message(true, 'other', repeat('x', 10000))")
    source.wait_applied()
    assert told(source, 301, 302) == [("insert", 301, 1), ("insert", 302, 1)]
    assert source.dead_letters() == before
    assert source.context().of_type("context.gap") == []


def peak(consumer: ConsumerProcess) -> int:
    """The most memory that the process had at any time, in MB."""
    found = re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{consumer.pid}/status").read_text())
    assert found is not None
    return int(found[1]) // 1024


def test_a_transaction_too_large_for_memory_with_the_consumer_killed_in_it(
    source: AttachedSource, consumer: ConsumerProcess
) -> None:
    """Every row is told once by the reader's rule, and the consumer never holds them all."""
    with source.connect() as connection:
        connection.execute("insert into item values (501, 1)")
        source.wait_applied()
        steady = peak(consumer)
        connection.execute(
            "insert into item select n, n, repeat('x', %s) from generate_series(1000000, %s) n",
            (NOTE, 1_000_000 + LARGE - 1),
        )
    reader = kafka.reader(source.config.kafka, "test-ends")
    try:
        places = range(3)
        before = sum(kafka.watermarks(reader, topics.context(source.name), place)[1] for place in places)
        eventually(
            lambda: sum(kafka.watermarks(reader, topics.context(source.name), p)[1] for p in places) > before + 5000,
            "the first of its events",
        )
    finally:
        reader.close()
    highest = peak(consumer)
    consumer.kill()
    assert source.applied_offset() < len(source.change_log()) - 1000, "it was killed too late"
    consumer.start()
    source.wait_applied(within=180)
    highest = max(highest, peak(consumer))
    context = source.context()
    context.verify_contract()
    ids = [each.data["key"]["id"] for each in context.of_type("row.inserted") if each.data["key"]["id"] >= 1_000_000]
    assert ids == list(range(1_000_000, 1_000_000 + LARGE))
    assert context.repeats() >= 5000
    # Held whole, each row would be there as a message, as its image, as PostgreSQL prints it and as its event.
    assert 4 * LARGE * NOTE // 2**20 > MOST
    assert highest <= MOST, f"{steady} MB before, {highest} MB at most"


def test_a_ledger_lost_and_made_anew(source: AttachedSource, tmp_path: Path) -> None:
    """The change log is told once more from its beginning, under a new number, so that readers go on."""
    with ConsumerProcess(source.raw_config, tmp_path) as consumer:
        consumer.start()
        source.wait_mirrored()
        with source.connect() as connection:
            connection.execute("insert into item values (401, 1)")
        source.wait_applied()
        assert consumer.stop() == 0
        before = source.context()
        with source.ledger() as ledger:
            known = capture.load(ledger, source.name)
            assert known is not None
            forget(ledger, source.name)
            capture.store(ledger, known.catalogue, known.capture)
        consumer.start()
        source.wait_mirrored()
        with source.connect() as connection:
            connection.execute("update item set n = 2 where id = 401")
        source.wait_applied(within=180)
        assert consumer.stop() == 0
    context = source.context()
    context.verify_contract()
    logs = {each.position.log for each in context.unique}
    assert logs == {each.position.log for each in before.unique} | {max(logs)}
    assert max(logs) == max(each.position.log for each in before.unique) + 1
    again = [each for each in context.of_type("row.updated") if each.data["key"]["id"] == 401]
    assert [(each.position.log, each.data["before"]["n"], each.data["after"]["n"]) for each in again] == [
        (max(logs), 1, 2)
    ]
    of_new = [each for each in context.unique if each.position.log == max(logs)]
    assert {identity(each) for each in before.unique} <= {identity(each) for each in of_new}, "the same facts again"


def identity(each: Any) -> tuple[str, Any, Any]:
    return each.event["subject"], each.position.commit, each.position.order


def test_a_topic_made_anew_while_the_consumer_was_off(env: dict[str, str], tmp_path: Path) -> None:
    """A gap is told before anything behind it, and nothing behind it claims to know the row before."""
    with (
        attached(env, DDL, ["public.item"]) as source,
        ConsumerProcess(source.raw_config, tmp_path) as consumer,
        source.connect() as connection,
    ):
        consumer.start()
        source.wait_mirrored()
        connection.execute("insert into item values (1, 1)")
        source.wait_applied()
        assert consumer.stop() == 0
        remake(source)
        connection.execute("update item set n = 2")
        consumer.start()
        source.wait_applied(within=180)
        assert consumer.stop() == 0
        context = source.context()
    context.verify_contract()
    (gap,) = context.of_type("context.gap")
    (updated,) = context.of_type("row.updated")
    assert gap.data["reason"].endswith(f"topic {topics.changes(source.name)} was made anew")
    assert (updated.data["before"], updated.data["missing"], updated.data["after"]["n"]) == (None, ["before"], 2)
    assert gap.position.rank < updated.position.rank
    assert updated.position.log == context.of_type("row.inserted")[0].position.log + 1


def remake(source: AttachedSource) -> None:
    """Delete the change log while the connector is stopped, make it again, and let the connector go on."""
    topic = topics.changes(source.name)
    client = kafka.admin(source.config.kafka)
    untyped = cast("Any", client)
    with Connect(source.env["CONNECT_URL"]) as connect:
        connect.stop(source.connector)
        eventually(lambda: connect.status_now(source.connector).connector.state == "STOPPED", "a stopped connector")
        untyped.delete_topics([topic])[topic].result()
        eventually(lambda: kafka.partition_count(client, topic) == 0, f"{topic} gone")
        wanted = source.config.kafka.topics.model_copy(update={"context_partitions": 3, "replication": 1})
        for step in topics_setup.steps(client, source.name, wanted):
            step.do()
        connect.resume(source.connector)
    source.wait_streaming()


def test_several_sources_in_one_consumer(env: dict[str, str], tmp_path: Path) -> None:
    """Each goes on for itself: a log of one that cannot go on holds up nobody else's."""
    with ExitStack() as stack:
        sources = [stack.enter_context(attached(env, DDL, ["public.item"])) for _ in range(2)]
        config = {**sources[0].raw_config, "sources": {s.name: s.raw_config["sources"][s.name] for s in sources}}
        consumer = stack.enter_context(ConsumerProcess(config, tmp_path))
        consumer.start()
        for number, each in enumerate(sources):
            each.wait_mirrored()
            with each.connect() as connection:
                connection.execute("insert into item select i, %s from generate_series(1, 50) i", (number,))
        consumer.kill()
        for each in sources:
            with each.connect() as connection:
                connection.execute("update item set n = n + 10")
        consumer.start()
        for number, each in enumerate(sources):
            each.wait_applied()
            assert told(each, 1, 50) == [
                *(("insert", i, number) for i in range(1, 51)),
                *(("update", i, number + 10) for i in range(1, 51)),
            ]
        assert consumer.stop() == 0


def test_transactions_that_are_prepared_first(env: dict[str, str], tmp_path: Path) -> None:
    """They happen when they are committed, in that order and once; what is rolled back never did."""
    with (
        small_server() as server,
        attached({**env, "POSTGRES_URL": server.url()}, DDL, ["public.item"]) as source,
        ConsumerProcess(source.raw_config, tmp_path) as consumer,
        source.connect() as connection,
    ):
        consumer.start()
        source.wait_mirrored()
        connection.execute("begin; insert into item values (1, 1), (2, 1); prepare transaction 'kept'")
        connection.execute("begin; insert into item values (3, 1); prepare transaction 'dropped'")
        connection.execute("insert into item values (4, 1)")
        source.wait_applied()
        assert told(source, 1, 9) == [("insert", 4, 1)]
        consumer.kill()
        consumer.start()
        connection.execute("rollback prepared 'dropped'")
        connection.execute("commit prepared 'kept'")
        connection.execute("update item set n = 2 where id = 1")
        source.wait_applied()
        assert told(source, 1, 9) == [("insert", 4, 1), ("insert", 1, 1), ("insert", 2, 1), ("update", 1, 2)]
        assert source.context().of_type("context.gap") == []
        assert consumer.stop() == 0
