"""Dead letters that are tried again at a control record: exactly once, however the log is cut and whatever crashes."""

from __future__ import annotations

import json
import random
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import msgspec
import psycopg
import pytest

from cdc_consumer import retries
from cdc_consumer.plan import Plan
from tests.harness.context import ContextLog
from tests.harness.debezium import LogWriter, delete, insert
from tests.harness.replay import Recording
from tests.unit.cdc_consumer.tables import BOOKING, CUSTOMER, FLIGHT, SOURCE, NewLedger, column, plan, table
from tests.unit.cdc_consumer.test_batch import ENTITY, KEY, started, summary, whole
from wakestream import change_log, retrying

COMPILED = plan(FLIGHT, CUSTOMER, BOOKING, entities={"booking": ENTITY})
KEYS = [f'{{"id":{number}}}' for number in range(1, 6)]


class Ended(NamedTuple):
    """What became of one letter."""

    state: str
    outcome: str | None
    told: int
    pending: bool


class World:
    """What one replay left behind."""

    def __init__(self, context: ContextLog, connection: psycopg.Connection) -> None:
        self.context = context
        self._connection = connection

    def letter(self, number: int = 1) -> Ended:
        query = "select state, outcome, told, retrying is not null from wake.dead_letter where id = %s"
        row = self._connection.execute(query, (number,)).fetchone()
        assert row is not None
        return Ended(*row)

    def rows(self, query: str) -> list[tuple[Any, ...]]:
        return self._connection.execute(query.encode()).fetchall()


@contextmanager
def replayed(
    new_ledger: NewLedger,
    log: LogWriter,
    wishes: Sequence[dict[str, Any] | None],
    compiled: Plan = COMPILED,
    *,
    seed: int = 0,
    crashes: float = 0.0,
) -> Generator[World]:
    """Letters with these wishes, by number from one, met by a log that was written beside them."""
    revision = compiled.revision
    records = [(offset, key, whole(compiled, value)) for offset, key, value in log.records]
    recording = Recording(SOURCE, revision.catalogue, revision.capture, KEY, 3, records)
    with new_ledger() as url, psycopg.connect(url, autocommit=True) as connection:
        for number, wish in enumerate(wishes, 1):
            connection.execute(
                'insert into wake.dead_letter (stage, kind, reason, topic, "partition", "offset", digest, state,'
                " retrying) values ('consumer', 'a kind', '', %s, 0, %s, '', %s, %s)",
                (f"{SOURCE}.changes", -number, "retried" if wish else "open", wish and json.dumps(wish)),
            )
        context = recording.replay(url, random.Random(seed), largest=3 if crashes else 10**6, crashes=crashes)
        context.verify_contract()
        yield World(context, connection)


def booked(count: int = 5) -> LogWriter:
    log = started()
    log.transaction(insert("flight", {"id": 1}, {"status": "late"}))
    log.transaction(*(insert("booking", {"id": number}, {"flight_id": 1}) for number in range(1, count + 1)))
    return log


def anew(context: ContextLog) -> list[dict[str, Any]]:
    """The events of documents that were told again."""
    return [each.event for each in context.of_type("entity.changed") if each.data["snapshot"]]


@pytest.mark.parametrize("seed", range(5))
def test_documents_are_told_as_they_are_once_each(
    new_ledger: NewLedger, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    monkeypatch.setattr(retries, "DOCUMENTS_A_RECORD", 2)
    log = booked()
    for _ in range(2):
        log.retry(1)
    log.transaction(delete("booking", {"id": 5}))
    for _ in range(4):  # more than are needed
        log.retry(1)
    wish = retrying.documents("booking", BOOKING, KEYS)
    with replayed(new_ledger, log, [wish], seed=seed, crashes=0.4) as world:
        told = anew(world.context)
        assert [each["subject"] for each in told] == [f"booking/{number}" for number in range(1, 5)]
        assert all(each["data"]["after"]["flight"]["status"] == "late" for each in told)
        assert {json.dumps(each["data"]["missing"]) for each in told} == {'["before"]'}
        assert {(each["data"]["before"], each["data"]["changed"], each["data"]["cause"]) for each in told} == {
            (None, None, None)
        }
        assert told[0]["data"]["rows"] == []
        assert world.letter() == Ended("retried", "told anew: 5 documents of `booking`", 0, False)


def test_half_of_them_are_told_where_half_of_the_records_have_come(
    new_ledger: NewLedger, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retries, "DOCUMENTS_A_RECORD", 2)
    log = booked()
    log.retry(1)
    with replayed(new_ledger, log, [retrying.documents("booking", BOOKING, KEYS)]) as world:
        assert len(anew(world.context)) == 2
        assert world.letter() == Ended("retried", "2 of 5 documents of `booking` are told anew", 2, True)


def test_a_document_that_is_too_large_still_has_a_letter_of_its_own(new_ledger: NewLedger) -> None:
    small = msgspec.structs.replace(ENTITY, max_size=1024)
    compiled = plan(FLIGHT, CUSTOMER, BOOKING, entities={"booking": small})
    log = started()
    log.transaction(insert("booking", {"id": 1}, {"note": "x" * 2000}))
    log.retry(1)
    with replayed(new_ledger, log, [retrying.documents("booking", BOOKING, KEYS[:1])], compiled) as world:
        assert anew(world.context) == []
        assert world.letter().outcome == "the document cannot be told still: a letter of its own says why"
        letters = world.rows("select kind, subject, state from wake.dead_letter order by id")[1:]
        assert letters == [("document too large", "booking/1", "open")] * 2


@pytest.mark.parametrize(
    ("wish", "state", "outcome"),
    [
        (
            retrying.documents("booking", BOOKING, ['{"id":9}']),
            "retried",
            "the document is gone, which was told when its root was deleted",
        ),
        (retrying.documents("trip", BOOKING, KEYS), "open", "the key of entity `trip` is another now, or it is gone"),
        (
            retrying.documents("booking", CUSTOMER, ['{"code":"x"}']),
            "open",
            "the key of entity `booking` is another now, or it is gone",
        ),
        (retrying.tables(["public.seat"], whole=True), "open", "public.seat is captured no more"),
    ],
)
def test_what_cannot_be_told_makes_no_event_and_says_why(
    new_ledger: NewLedger, wish: dict[str, Any], state: str, outcome: str
) -> None:
    log = booked(1)
    before = len(log.records)
    log.retry(1)
    with replayed(new_ledger, log, [wish]) as world:
        assert world.letter() == Ended(state, outcome, 0, False)
        assert [each for each in world.context.unique if each.position.offset >= before] == []


@pytest.mark.parametrize("seed", range(3))
def test_a_table_is_read_again_behind_one_gap(new_ledger: NewLedger, seed: int) -> None:
    log = booked(1)
    log.retry(1)
    log.retry(1)
    wish = retrying.tables(["public.flight"], whole=True)
    with replayed(new_ledger, log, [wish], seed=seed, crashes=0.4) as world:
        (gap,) = world.context.of_type("context.gap")
        assert (gap.data["tables"], gap.data["reason"]) == (["public.flight"], "dead letter 1 is tried again")
        doubts = world.rows('select "table", doubt from wake.mirror_state where doubt is not null')
        assert doubts == [("public.flight", "dead letter 1 is tried again")]
        assert world.letter().outcome == "a snapshot reads public.flight again, and a gap is open until it has"
    log.snapshot(("flight",), [insert("flight", {"id": 1}, {"status": "late"})], kind="Incremental Snapshot")
    with replayed(new_ledger, log, [wish], seed=seed, crashes=0.4) as world:
        assert [each.data["state"] for each in world.context.of_type("context.gap")] == ["open", "closed"]
        assert world.rows("select 1 from wake.mirror_state where doubt is not null") == []


def test_values_are_read_again_without_a_gap(new_ledger: NewLedger) -> None:
    log = booked(1)
    log.retry(1)
    log.retry(2)
    wishes = [retrying.tables(["public.flight"], whole=False), retrying.tables(["public.booking"], whole=True)]
    with replayed(new_ledger, log, wishes) as world:
        doubts = dict(world.rows('select "table", doubt from wake.mirror_state where doubt is not null'))
        assert doubts == {
            "public.flight": "in part: dead letter 1 is tried again",
            "public.booking": "dead letter 2 is tried again",
        }
        assert [each.data["tables"] for each in world.context.of_type("context.gap")] == [["public.booking"]]


def test_a_value_that_can_be_read_by_now_is_told(new_ledger: NewLedger) -> None:
    paper = table("paper", "id", column("id", "int4"), column("doc", "json"))
    log = started("paper")
    log.transaction(insert("paper", {"id": 1}, {"doc": '"\\u0000"'}), insert("paper", {"id": 2}, {"doc": "1"}))
    log.retry(1)
    log.snapshot_id = f"{change_log.PART}1"
    log.snapshot(("paper",), [insert("paper", {"id": 1}, {"doc": "2"})], kind="Incremental Snapshot")
    with replayed(new_ledger, log, [retrying.tables(["public.paper"], whole=False)], plan(paper)) as world:
        assert [(each.type, each.event["subject"], each.data["missing"]) for each in world.context.unique] == [
            ("row.inserted", "public.paper/1", ["after"]),
            ("row.inserted", "public.paper/2", []),
            ("row.read", "public.paper/1", ["before"]),
        ]
        assert world.rows("select 1 from wake.missing_value") == []
        assert world.letter().outcome == "a snapshot reads public.paper again"


def test_what_is_wanted_for_its_values_never_takes_the_place_of_what_is_wanted_whole(new_ledger: NewLedger) -> None:
    log = booked(1)
    log.retry(1)
    log.retry(2)
    wishes = [retrying.tables(["public.flight"], whole=whole) for whole in (True, False)]
    with replayed(new_ledger, log, wishes) as world:
        assert world.rows("select doubt from wake.mirror_state where doubt is not null") == [
            ("dead letter 1 is tried again",)
        ]


def test_a_letter_that_nobody_wants_tried_makes_nothing(new_ledger: NewLedger) -> None:
    log = booked(1)
    before = summary(_context(new_ledger, log).unique)
    log.retry(1)
    log.retry(77)
    with replayed(new_ledger, log, [None]) as world:
        assert summary(world.context.unique) == before
        assert world.letter() == Ended("open", None, 0, False)


def _context(new_ledger: NewLedger, log: LogWriter) -> ContextLog:
    with replayed(new_ledger, log, []) as world:
        return world.context
