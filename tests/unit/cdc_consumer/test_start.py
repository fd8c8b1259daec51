"""Where a consumer starts, over what the ledger and the change log say of each other."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any, cast

import msgspec
import pytest

from cdc_consumer import position, start
from cdc_consumer.position import Ownership, Position
from tests.harness import replay
from tests.unit.cdc_consumer.tables import FLIGHT, SOURCE, NewLedger, plan
from wakestream import capture, kafka
from wakestream.ledger import Connection

REVISION = plan(FLIGHT).revision


class Ends:
    """A context topic whose newest event is of the first log."""

    def read_ends(self) -> None:
        return

    def highest_log(self) -> int:
        return 1


@pytest.fixture
def ledger(new_ledger: NewLedger) -> Generator[Connection]:
    """One in which record 5000 was the last to be applied, the next to be read being 4990."""
    with new_ledger() as url, replay.ledger_session(url) as connection:
        first = capture.store(connection, REVISION.catalogue, REVISION.capture)
        catalogue = REVISION.catalogue
        at = Position(1, "topic", catalogue.system_identifier, catalogue.timeline, 5000, 123456, 4990, first, 1)
        position.create(connection, SOURCE, at)
        connection.commit()
        yield connection


def opened(
    monkeypatch: pytest.MonkeyPatch, ledger: Connection, *, low: int = 0, high: int = 6000, topic: str = "topic"
) -> start.Opened:
    monkeypatch.setattr(start, "_topic_id", lambda *_: topic)
    monkeypatch.setattr(kafka, "watermarks", lambda *_: (low, high))
    nothing = cast("Any", None)
    return start.open_position(ledger, nothing, cast("Any", Ends()), nothing, SOURCE, Ownership())


def test_it_goes_on_where_it_stood(monkeypatch: pytest.MonkeyPatch, ledger: Connection) -> None:
    found = opened(monkeypatch, ledger)
    assert found.gap is None
    assert (found.position.log, found.position.offset, found.position.read_from) == (1, 5000, 4990)


def test_a_log_that_ends_where_it_stood(monkeypatch: pytest.MonkeyPatch, ledger: Connection) -> None:
    assert opened(monkeypatch, ledger, high=5001).gap is None


@pytest.mark.parametrize("end", [5000, 4995, 4000])
def test_a_log_whose_end_the_broker_has_lost(monkeypatch: pytest.MonkeyPatch, ledger: Connection, end: int) -> None:
    """What comes at those offsets now is new, and must not be taken for what was there."""
    found = opened(monkeypatch, ledger, high=end)
    assert found.gap == f"the change log ends at offset {end}, and 5000 was applied: the broker has lost its end"
    at = found.position
    assert (at.log, at.offset, at.read_from, at.commit) == (2, end - 1, end, 123456)


@pytest.mark.parametrize(
    ("low", "high", "offset", "read_from"), [(0, 6000, 5000, 4990), (4995, 6000, 5000, 4995), (0, 4000, 3999, 4000)]
)
def test_another_database_tells_nothing_of_the_old_one_again(
    monkeypatch: pytest.MonkeyPatch, ledger: Connection, low: int, high: int, offset: int, read_from: int
) -> None:
    """The log goes on in its topic: what was applied of it stays so."""
    later = msgspec.structs.replace(REVISION.catalogue, timeline=REVISION.catalogue.timeline + 1)
    capture.store(ledger, later, REVISION.capture)
    ledger.commit()
    found = opened(monkeypatch, ledger, low=low, high=high)
    assert found.gap == "the source is another database, or was restored or failed over"
    at = found.position
    assert (at.log, at.offset, at.read_from, at.commit) == (2, offset, read_from, None)
    assert (at.timeline, at.system_identifier) == (later.timeline, later.system_identifier)


def test_a_topic_that_was_made_anew_is_read_from_its_beginning(
    monkeypatch: pytest.MonkeyPatch, ledger: Connection
) -> None:
    found = opened(monkeypatch, ledger, high=10, topic="another")
    assert found.gap == f"topic {SOURCE}.changes was made anew"
    at = found.position
    assert (at.log, at.offset, at.read_from, at.commit) == (2, -1, 0, 123456)
