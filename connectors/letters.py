"""Passes on to the consumer which of its dead letters are to be tried again: a control record for each in its log."""

from __future__ import annotations

import math
import time
from typing import Any, NamedTuple

import psycopg

from wakestream import change_log, kafka, topics
from wakestream.change_log import DOCUMENTS_A_RECORD, Control
from wakestream.config.models import Kafka

RESEND = 10.0  # seconds until records are sent again that seem to have had no effect
LETTERS_AT_ONCE = 100
RECORDS_AT_ONCE = 20  # for one letter


class _Sent(NamedTuple):
    at: float
    told: int
    """How many documents are told once the consumer has seen what was sent."""


class Retrying:
    """Follows the letters of one source that are to be tried again, until the consumer has dealt with them.

    What is sent without need, by a guard that was killed or beside another one, does nothing: the consumer looks into
    the ledger what is left to do.
    """

    def __init__(self, config: Kafka, source: str) -> None:
        self._config = config
        self._topic = topics.changes(source)
        self._sent: dict[int, _Sent] = {}

    def look(self, ledger: psycopg.Connection[Any]) -> bool:
        """Do what can be done now; whether no letter is left."""
        rows = ledger.execute(
            "select id, told, coalesce(jsonb_array_length(retrying -> 'keys'), 1) from wake.dead_letter"
            " where stage = 'consumer' and topic = %s and state = 'retried' and retrying is not null"
            " order by id limit %s",
            (self._topic, LETTERS_AT_ONCE),
        ).fetchall()
        self._sent = {number: self._sent[number] for number, _, _ in rows if number in self._sent}
        records: list[tuple[bytes, bytes]] = []
        for number, told, count in rows:
            if self._is_due(number, told):
                records += self._records(number, told, count)
        if records:
            kafka.send(self._config, "control", self._topic, records)
        return not rows

    def _is_due(self, number: int, told: int) -> bool:
        sent = self._sent.get(number)
        return sent is None or told >= sent.told or time.monotonic() - sent.at >= RESEND

    def _records(self, number: int, told: int, count: int) -> list[tuple[bytes, bytes]]:
        needed = min(RECORDS_AT_ONCE, math.ceil((count - told) / DOCUMENTS_A_RECORD))
        self._sent[number] = _Sent(time.monotonic(), told + needed * DOCUMENTS_A_RECORD)
        control = Control(letter=number, ts_ms=time.time_ns() // 1_000_000)
        return [(change_log.key("letter"), change_log.encode(control))] * needed
