"""What a retry of the consumer's letters means, by kind, beside a store as the consumer has it."""

from __future__ import annotations

import json
from collections.abc import Generator
from typing import Any

import psycopg
import pytest
from psycopg import sql

from cdc_consumer import decode, mirror_tables, position
from cdc_consumer.decode import Change
from cdc_consumer.plan import Plan
from cdc_consumer.position import Position
from console import letters, rereading
from console.operations import Operations
from tests.unit.cdc_consumer.tables import BOOKING, CUSTOMER, FLIGHT, column, table
from tests.unit.cdc_consumer.test_batch import ENTITY
from tests.unit.console.seeds import Seed
from wakestream import capture
from wakestream.capture import Capture, CapturedTable
from wakestream.catalogue import Catalogue
from wakestream.config import Config
from wakestream.errors import RefusedError
from wakestream.ledger.models import Audit, DeadLetter

SOURCE = "airline"
NOTE = table("note", "", column("text", "text"))
BLANK = table("seat map", "id", column("id", "int4"))
TABLES = (FLIGHT, CUSTOMER, BOOKING, NOTE, BLANK)
FLIGHT_7 = {"op": "u", "after": {"id": 7}, "source": {"schema": "public", "table": "flight"}, "transaction": None}


class Station:
    """An operator beside a store that has two bookings of flight 7 and one of flight 8."""

    def __init__(self, seed: Seed, token: str, config: Config) -> None:
        self.seed = seed
        self.operations = Operations(seed.engine, token, config)

    def letter(self, kind: str, subject: str = "", **fields: Any) -> int:
        place = {"topic": f"{SOURCE}.changes", "partition": 0, "offset": 40, "digest": ""}
        return self.seed.letter("consumer", **{**place, "kind": kind, "subject": subject, **fields})

    def row(self, number: int) -> DeadLetter:
        return self.seed.get(DeadLetter, number)

    def wish(self, number: int) -> dict[str, Any]:
        """What the consumer is told to do, once a person has said to retry."""
        assert self.operations.retry_letter(number).state == "retried"
        found = self.row(number)
        assert (found.state, found.attempts, found.told) == ("retried", 2, 0)
        assert found.outcome == letters.WAITING
        assert found.retrying is not None
        return found.retrying

    def fails(self, number: int) -> str:
        """Why trying it fails; the letter stays open and says so."""
        with pytest.raises(RefusedError, match=f"letter {number} stays open: "):
            self.operations.retry_letter(number)
        found = self.row(number)
        assert (found.state, found.attempts, found.retrying) == ("open", 2, None)
        return found.outcome or ""


@pytest.fixture
def station(seed: Seed, token: str) -> Generator[Station]:
    raw = {
        "kafka": {"bootstrap_servers": "127.0.0.1:9"},
        "connect": {"url": "http://127.0.0.1:9", "secrets": "/etc/wake/secrets.properties"},
        "ledger": {"url": seed.url},
        "sources": {
            SOURCE: {"capture": "postgresql://x", "tables": {"public.flight": {}}},
            "theirs": {"capture": "postgresql://x", "tables": {"public.flight": {}}, "adopt": "their-connector"},
        },
    }
    with psycopg.connect(seed.url, autocommit=True) as connection:
        _fill(connection)
        yield Station(seed, token, Config.model_validate(raw))
        connection.execute(sql.SQL("drop schema {} cascade").format(sql.Identifier(f"{SOURCE}__public")))


def _fill(connection: psycopg.Connection[Any]) -> None:
    catalogue = Catalogue(SOURCE, "1", 1, 180000, {each.label: each for each in TABLES})
    captured = {each.label: CapturedTable(mirror=bool(each.key)) for each in TABLES}
    number = capture.store(connection, catalogue, Capture(captured, {"booking": ENTITY}, "placeholder"))
    position.create(connection, SOURCE, Position(1, "", "1", 1, 50, None, 0, number, 1))
    revision = capture.load(connection, SOURCE, number)
    assert revision is not None
    mirror_tables.prepare(connection, Plan(revision))
    connection.execute("insert into airline__public.flight (id) values (7), (8)")
    connection.execute("insert into airline__public.booking (id, flight_id) values (1, 7), (2, 7), (3, 8)")


def _stands(monkeypatch: pytest.MonkeyPatch, key: bytes | None, value: bytes | None) -> None:
    """What Kafka has where the letter's message stood."""
    monkeypatch.setattr(rereading, "message", lambda *_: (key, value))


def _touched(monkeypatch: pytest.MonkeyPatch, *changes: Change | str) -> None:
    """What Kafka has of the letter's transaction; a text is why it has nothing."""

    def transaction(*_: object) -> list[Change]:
        if isinstance(changes[0], str):
            raise RefusedError(changes[0])
        return [each for each in changes if isinstance(each, Change)]

    monkeypatch.setattr(rereading, "transaction", transaction)


def test_a_document_that_was_too_large_is_told_as_it_is(station: Station) -> None:
    wish = station.wish(station.letter("document too large", "booking/2"))
    assert wish == {"entity": "booking", "key": {"id": "integer"}, "keys": ['{"id":2}']}
    gone = station.letter("document too large", "booking/9")
    decided = station.operations.retry_letter(gone)
    assert decided.note is not None
    assert "booking/9 is gone" in decided.note
    assert (station.row(gone).state, station.row(gone).retrying) == ("retried", None)


def test_the_documents_that_a_transaction_touched(station: Station, monkeypatch: pytest.MonkeyPatch) -> None:
    flights = [Change("u", "public.flight", b'{"id":%d}' % number, b"{}") for number in (7, 7, 5)]
    _touched(monkeypatch, *flights, Change("u", "public.customer", b'{"code":"x"}', b"{}"))
    number = station.letter("fan-out too large", "booking.flight")
    assert station.operations.foretell_retry(number).startswith("the 2 documents of `booking` that it touched")
    assert [json.loads(key) for key in station.wish(number)["keys"]] == [{"id": 1}, {"id": 2}]


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        (["Kafka no longer has it: retention has deleted it"], "retention has deleted it"),
        ([Change("t", "public.flight", b"", None)], "cannot be told from its changes"),
        ([Change("u", "public.customer", b'{"code":"x"}', b"{}")], "cannot be told from its changes"),
    ],
)
def test_all_documents_where_the_log_does_not_say_which(
    station: Station, monkeypatch: pytest.MonkeyPatch, changes: list[Change | str], why: str
) -> None:
    _touched(monkeypatch, *changes)
    number = station.letter("fan-out too large", "booking.flight")
    meaning = station.operations.foretell_retry(number)
    assert meaning.startswith("all 3 documents of `booking` are told as they are now: ")
    assert why in meaning
    assert len(station.wish(number)["keys"]) == 3


def test_a_member_that_is_watched_no_more(station: Station) -> None:
    assert "`aircraft` is watched no more" in station.fails(station.letter("fan-out too large", "booking.aircraft"))


def test_tables_are_read_again(station: Station) -> None:
    values = station.wish(station.letter("unreadable value", "public.flight/7"))
    assert values == {"tables": ["public.flight"], "whole": False}
    late = station.wish(station.letter("unknown table", "public.flight", offset=41))
    assert late == {"tables": ["public.flight"], "whole": True}


@pytest.mark.parametrize(
    ("kind", "subject", "why"),
    [
        ("unknown table", "public.seat", "public.seat is not captured; name it in the file and `wake apply`"),
        ("unreadable value", "public.seat/1", "the table of public.seat/1 is not captured any more"),
        ("unreadable value", "public.note", "public.note has no primary key"),
        ("unknown table", "public.seat map", "Debezium cannot read public.seat map by an incremental snapshot"),
    ],
)
def test_a_table_that_cannot_be_read_again(station: Station, kind: str, subject: str, why: str) -> None:
    assert why in station.fails(station.letter(kind, subject))


def test_a_message_that_is_understood_now(station: Station, monkeypatch: pytest.MonkeyPatch) -> None:
    _stands(monkeypatch, b'{"id":7}', json.dumps({**FLIGHT_7, "op": "r"}).encode())
    assert station.wish(station.letter("unknown operation")) == {"tables": ["public.flight"], "whole": True}
    _stands(monkeypatch, b"{}", b'{"status":"BEGIN","id":"7:1"}')
    border = station.letter("incomplete change")
    station.operations.retry_letter(border)
    assert (station.row(border).outcome or "").startswith("it is understood now and tells of no row")


@pytest.mark.parametrize(
    ("value", "why"),
    [
        (b"hello", "not a change"),
        (None, "no value"),
        (b"{}", "unknown message"),
        (json.dumps(FLIGHT_7).encode(), "incomplete change: u of public.flight has no transaction"),
    ],
)
def test_a_message_that_still_says_nothing(
    station: Station, monkeypatch: pytest.MonkeyPatch, value: bytes | None, why: str
) -> None:
    _stands(monkeypatch, b'{"id":7}', value)
    number = station.letter("not a change", digest=decode.digest(value))
    said = station.fails(number)
    assert said.startswith("airline.changes[0] at 40 was read again, and still says nothing that is understood: ")
    assert why in said


def test_control_records(station: Station, monkeypatch: pytest.MonkeyPatch) -> None:
    number = station.letter("unknown control record")
    _stands(monkeypatch, b'{"wake":"gap"}', b'{"tables":["public.flight"]}')
    assert station.wish(number) == {"tables": ["public.flight"], "whole": True}
    other = station.letter("unknown control record", offset=41)
    _stands(monkeypatch, b'{"wake":"revision"}', b'{"revision":"x"}')
    assert "counts in its place only" in station.fails(other)
    _stands(monkeypatch, b'{"wake":"gap"}', b"no json")
    with pytest.raises(RefusedError, match="broken control record"):
        station.operations.retry_letter(other)


@pytest.mark.parametrize("kind", ["forged mark", "expired relay token"])
def test_a_mark_that_is_not_ours_has_left_nothing_behind(station: Station, kind: str) -> None:
    number = station.letter(kind)
    with pytest.raises(RefusedError, match="has left nothing behind"):
        station.operations.retry_letter(number)
    assert (station.row(number).attempts, station.row(number).outcome) == (1, None)


@pytest.mark.parametrize("topic", ["server.public.flight", "theirs.changes", "unheard.changes"])
def test_of_an_adopted_connector_nothing_can_be_read_again(station: Station, topic: str) -> None:
    number = station.letter("not a change", topic=topic)
    with pytest.raises(RefusedError, match="is the topic of a connector that is not ours"):
        station.operations.retry_letter(number)


def test_a_retry_that_failed_is_audited_and_may_be_repeated(station: Station) -> None:
    number = station.letter("unknown table", "public.seat")
    for attempt in (2, 3):
        with pytest.raises(RefusedError):
            station.operations.retry_letter(number, "now it should")
        assert station.row(number).attempts == attempt
    deed = station.seed.get(Audit, _newest(station))
    assert (deed.who, deed.what, deed.ids, deed.reason) == (
        "alice",
        "letter.retry",
        [f"letter/{number}"],
        "now it should",
    )


def _newest(station: Station) -> int:
    with psycopg.connect(station.seed.url) as connection:
        row = connection.execute("select max(id) from wake.audit").fetchone()
    assert row is not None
    return int(row[0])
