from __future__ import annotations

from cdc_consumer.mirrors import Mirrors
from tests.harness.source import Connection
from tests.unit.cdc_consumer.tables import CUSTOMER, FLIGHT, SOURCE, complete_store, plan

EVENT = '{"data":{"position":{"log":1,"offset":10}}}'


def test_a_gap_does_not_wait_for_tables_that_are_captured_no_more(connection: Connection) -> None:
    both, one = plan(FLIGHT, CUSTOMER), plan(FLIGHT)
    complete_store(connection, both)
    before = Mirrors(connection, SOURCE, 1, both.tables)
    number = before.open_gap(sorted(both.tables), "slot lost", 10)
    before.keep_event(number, EVENT)
    assert Mirrors(connection, SOURCE, 1, both.tables).close_gaps({"public.flight": 20}) == []
    after = Mirrors(connection, SOURCE, 1, one.tables)
    assert after.close_gaps({"public.flight": 9}) == [], "that snapshot had begun before"
    assert after.close_gaps({"public.flight": 20}) == [(number, sorted(both.tables))]
    assert after.close_gaps({"public.flight": 30}) == []
