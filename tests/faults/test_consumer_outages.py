"""The broker, the ledger or another consumer in the way of a cycle: nothing lost, nothing out of order."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import closing
from pathlib import Path

import pytest
from confluent_kafka import Consumer

from localstack import Stack
from tests.harness.context import ContextLog
from tests.harness.processes import ConsumerProcess
from tests.harness.source import AttachedSource, attached
from tests.harness.waiting import eventually
from wakestream import kafka, topics

DDL = "create table item (id int primary key, n int, note text)"
FEW, MANY = 200, 4000
INSERT = "insert into item select n, 0, repeat('x', 300) from generate_series(%(first)s::int, %(last)s) n"

pytestmark = pytest.mark.timeout(300)


class Items:
    """A source with one table, and how often rows were put into it."""

    def __init__(self, source: AttachedSource) -> None:
        self.source = source
        self._last = 0

    def add(self, count: int) -> None:
        """Rows in transactions of a hundred, and one change of each row."""
        with self.source.connect() as connection:
            for _ in range(0, count, 100):
                first = self._last + 1
                self._last += 100
                rows = {"first": first, "last": self._last}
                with connection.transaction():
                    connection.execute(INSERT, rows)
                    connection.execute("update item set n = id where id between %(first)s and %(last)s", rows)

    def verify(self) -> ContextLog:
        """Every row was inserted and changed once, and the store is what the source is."""
        self.source.wait_applied(within=120)
        context = self.source.context()
        context.verify_contract()
        ids = list(range(1, self._last + 1))
        for kind in ("row.inserted", "row.updated"):
            assert [each.data["key"]["id"] for each in context.of_type(kind)] == ids
        assert all(each.data["missing"] == [] for each in context.of_type("row.inserted", "row.updated"))
        with self.source.ledger() as connection:
            query = f"select count(*), sum(n) from {self.source.name}__public.item"
            assert connection.execute(query.encode()).fetchone() == (self._last, sum(ids))
        return context


@pytest.fixture(scope="module")
def items(env: dict[str, str]) -> Generator[Items]:
    with attached(env, DDL, ["public.item"]) as source:
        yield Items(source)


@pytest.fixture
def consumer(items: Items, stack: Stack, tmp_path: Path) -> Generator[ConsumerProcess]:
    with ConsumerProcess(items.source.raw_config, tmp_path) as consumer:
        consumer.start()
        items.source.wait_mirrored()
        yield consumer
        stack.up()  # whatever a test has left


def test_the_broker_frozen_in_the_middle_of_a_publish(stack: Stack, items: Items, consumer: ConsumerProcess) -> None:
    consumer.hold("consume.3.claimed")
    items.add(100)
    consumer.wait_held("consume.3.claimed")
    stack.pause("kafka")
    consumer.release("consume.3.claimed")
    eventually(lambda: "Kafka does not take events" in consumer.log, "the end of the consumer's patience")
    stack.resume("kafka")
    items.add(FEW)
    items.verify()
    assert consumer.stop() == 0


def test_the_broker_killed_in_the_middle_of_a_publish(stack: Stack, items: Items, consumer: ConsumerProcess) -> None:
    with closing(kafka.reader(items.source.config.kafka, "test")) as reader:
        before = published(items.source, reader)
        consumer.hold("consume.3.claimed")
        items.add(MANY)
        consumer.wait_held("consume.3.claimed")
        consumer.release("consume.3.claimed")
        eventually(lambda: published(items.source, reader) > before, "a part of the events in the topic")
        consumer.pause()
        assert published(items.source, reader) < before + MANY
    stack.kill("kafka")
    consumer.resume()
    stack.start_part("kafka")
    items.add(FEW)
    items.verify()
    assert consumer.stop() == 0


def test_the_broker_killed_while_the_consumer_waits_for_it(
    stack: Stack, items: Items, consumer: ConsumerProcess
) -> None:
    consumer.hold("consume.4.before_wait")
    items.add(100)
    consumer.wait_held("consume.4.before_wait")
    stack.kill("kafka")
    consumer.release("consume.4.before_wait")
    stack.start_part("kafka")
    items.add(FEW)
    items.verify()
    assert consumer.stop() == 0


@pytest.mark.parametrize("point", ["consume.4.published", "consume.5.committed"])
def test_the_ledger_killed(stack: Stack, items: Items, consumer: ConsumerProcess, point: str) -> None:
    """A cycle is committed without waiting for the disk: what a crash takes away it takes away whole."""
    consumer.hold(point)
    items.add(100)
    consumer.wait_held(point)
    before = items.source.context().repeats()
    stack.kill("ledger-db")
    stack.start_part("ledger-db")
    consumer.release(point)
    items.add(FEW)
    context = items.verify()
    if point == "consume.4.published":
        assert context.repeats() > before
    assert consumer.stop() == 0


def test_a_log_that_was_cut_while_the_consumer_was_away(env: dict[str, str], tmp_path: Path) -> None:
    """What may be missing is declared before anything behind it; the half of an open transaction is not."""
    with (
        attached(env, DDL, ["public.item"]) as source,
        ConsumerProcess(source.raw_config, tmp_path) as consumer,
        source.connect() as connection,
    ):
        consumer.start()
        source.wait_mirrored()
        connection.execute("insert into item values (1, 1)")
        source.wait_applied()
        consumer.stop()
        with source.ledger() as ledger:  # as if it had stopped in the middle of a transaction
            ledger.execute("update wake.source_position set read_from = 0 where source = %s", (source.name,))
        source.cut_change_log(source.applied_offset() + 1)
        consumer.start()
        connection.execute("update item set n = 2")
        source.wait_applied()
        assert source.context().of_type("context.gap") == []
        consumer.stop()
        connection.execute("update item set n = 3")
        source.wait_logged()
        cut = (source.change_log()[-1].offset() or 0) + 1
        source.cut_change_log(cut)
        consumer.start()
        connection.execute("update item set n = 4")
        source.wait_applied()
        assert consumer.stop() == 0
        context = source.context()
    context.verify_contract()
    (gap,) = context.of_type("context.gap")
    assert (gap.data["state"], gap.data["tables"]) == ("open", ["public.item"])
    assert f"to {cut - 1}: the consumer was away too long" in gap.data["reason"]
    known, behind = context.of_type("row.updated")
    assert (known.data["before"]["n"], known.data["missing"]) == (1, [])
    assert (behind.data["before"], behind.data["missing"], behind.data["after"]["n"]) == (None, ["before"], 4)
    assert gap.position.rank < behind.position.rank


@pytest.mark.parametrize("point", ["consume.3.claimed", "consume.5.before_commit"])
def test_a_frozen_consumer_whose_source_was_taken_over(
    items: Items, consumer: ConsumerProcess, tmp_path: Path, point: str
) -> None:
    """It stops with its reason, publishes nothing more, and does not take its source back."""
    consumer.hold(point)
    items.add(100)
    consumer.wait_held(point)
    consumer.pause()
    with ConsumerProcess(items.source.raw_config, tmp_path, "other") as other:
        other.start()
        items.add(FEW)
        items.verify()
        before = items.source.context()
        consumer.release(point)
        consumer.resume()
        assert consumer.wait() == 1
        assert consumer.log.splitlines()[-1].endswith(
            f"another consumer has taken over {items.source.name}; this one stops"
        )
        items.add(100)
        after = items.verify()
        assert after.repeats() == before.repeats()
        assert other.is_running
        assert "taken over" not in other.log
        assert other.stop() == 0


def published(source: AttachedSource, reader: Consumer) -> int:
    """How many messages the context topic has."""
    return sum(kafka.watermarks(reader, topics.context(source.name), number)[1] for number in range(3))
