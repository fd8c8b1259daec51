"""Letters that are to be tried again are passed on once, and again where that seems to have had no effect."""

from __future__ import annotations

import json
from typing import Any

import psycopg
import pytest

from connectors import letters
from connectors.letters import Retrying
from tests.unit.connectors.source_server import MakeDatabase, make_database, source_server
from wakestream import kafka, ledger
from wakestream.config.models import Kafka

__all__ = ["make_database", "source_server"]

INSERT = (
    'insert into wake.dead_letter (stage, kind, reason, topic, "partition", "offset", digest, subject, state, retrying)'
    " values (%s, 'a kind', '', %s, 0, 1, '', gen_random_uuid()::text, %s, %s) returning id"
)


class World:
    """A ledger with letters, a clock, and what was written into the change log."""

    def __init__(self, ledger: psycopg.Connection[Any], monkeypatch: pytest.MonkeyPatch) -> None:
        self.ledger = ledger
        self.now = 1000.0
        self._sent: list[int] = []
        monkeypatch.setattr(letters.time, "monotonic", lambda: self.now)
        monkeypatch.setattr(kafka, "send", self._send)
        self.retrying = Retrying(Kafka(bootstrap_servers="nowhere:1"), "airline")

    def _send(self, _config: Kafka, _name: str, topic: str, records: list[tuple[bytes, bytes]]) -> None:
        assert topic == "airline.changes"
        assert {key for key, _ in records} == {b'{"wake":"letter"}'}
        self._sent += [json.loads(value)["letter"] for _, value in records]

    def letter(
        self, wish: object, state: str = "retried", topic: str = "airline.changes", stage: str = "consumer"
    ) -> int:
        row = self.ledger.execute(INSERT, (stage, topic, state, None if wish is None else json.dumps(wish))).fetchone()
        assert row is not None
        return int(row[0])

    def tell(self, number: int, told: int) -> None:
        self.ledger.execute("update wake.dead_letter set told = %s where id = %s", (told, number))

    def look(self) -> list[int]:
        """The letters of the records that one look sends."""
        self._sent = []
        self.retrying.look(self.ledger)
        return self._sent


@pytest.fixture
def world(make_database: MakeDatabase, monkeypatch: pytest.MonkeyPatch) -> Any:
    url = make_database("")
    ledger.migrate(url)
    with psycopg.connect(url, autocommit=True) as connection:
        yield World(connection, monkeypatch)


def test_only_what_the_consumer_of_this_source_is_to_do(world: World) -> None:
    wish = {"tables": ["public.flight"], "whole": True}
    world.letter(wish, state="open")
    world.letter(wish, topic="shop.changes")
    world.letter(wish, stage="agent")
    world.letter(None)
    assert world.retrying.look(world.ledger)
    assert world.look() == []
    number = world.letter(wish)
    assert world.look() == [number]
    assert not world.retrying.look(world.ledger)


def test_what_had_no_effect_is_sent_again(world: World) -> None:
    number = world.letter({"tables": ["public.flight"], "whole": True})
    assert world.look() == [number]
    assert world.look() == []
    world.now += letters.RESEND
    assert world.look() == [number]


def test_many_documents_take_many_records_a_part_at_a_time(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(letters, "DOCUMENTS_A_RECORD", 2)
    monkeypatch.setattr(letters, "RECORDS_AT_ONCE", 2)
    number = world.letter({"entity": "booking", "keys": [f'{{"id":{n}}}' for n in range(7)]})
    assert world.look() == [number, number]
    world.tell(number, 2)
    assert world.look() == []
    world.tell(number, 4)
    assert world.look() == [number, number]
    world.tell(number, 6)
    assert world.look() == []
    world.now += letters.RESEND
    assert world.look() == [number]
