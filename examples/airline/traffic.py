"""Ordinary traffic of the airline: bookings, check-ins, cancellations, small delays. None of it wakes the agent.

AIRLINE_ADMIN_URL=… python -m examples.airline.traffic --rate 20 --seconds 60
"""

from __future__ import annotations

import random
from collections import Counter
from datetime import datetime, timedelta
from typing import LiteralString

import psycopg

from examples import traffic
from examples.airline.database import AIRLINE

HARMLESS_DELAY = timedelta(minutes=45)  # the agent wakes at two hours
FEWEST_SEATS = 8  # stay free on every flight, for those who are rebooked

_BOOK: LiteralString = """
insert into booking (customer_id, flight_id, policy_id, fare_paid)
select c.id, f.id, p.id, f.fare
from (select id from customer order by random() limit 1) c,
     (select id, fare from flight where status = 'scheduled' and seats_free > %(fewest)s order by random() limit 1) f,
     (select id from change_policy order by random() limit 1) p
"""
_CHECK_IN: LiteralString = """
update booking set checked_in = true where id = (
    select id from booking where status = 'confirmed' and not checked_in and id > %(kept)s
    order by random() limit 1 for update skip locked)
"""
_CANCEL: LiteralString = """
update booking set status = 'cancelled' where id = (
    select id from booking where status = 'confirmed' and id > %(kept)s
    order by random() limit 1 for update skip locked)
"""
_DELAY: LiteralString = """
update flight set departs_at = case when departs_at > %(scheduled)s then %(scheduled)s else %(late)s end
where id = %(flight)s and status = 'scheduled'
"""
_REMARK: LiteralString = """
update customer set remarks = %(remark)s where id = (select id from customer order by random() limit 1)
"""
REMARKS = ("Vegetarian meal, please.", "Travels with a small child.", "Prefers quiet seats.", "Has a guitar.")
SHARES: dict[LiteralString, int] = {_BOOK: 40, _CHECK_IN: 25, _CANCEL: 20, _DELAY: 10, _REMARK: 5}
NAMES: dict[LiteralString, str] = {
    _BOOK: "bookings",
    _CHECK_IN: "check-ins",
    _CANCEL: "cancellations",
    _DELAY: "small delays",
    _REMARK: "remarks",
}


class Traffic:
    """Makes one small transaction after another. Bookings that were there before are left alone."""

    def __init__(self, connection: psycopg.Connection, seed: int) -> None:
        self._connection = connection
        self._random = random.Random(seed)  # noqa: S311 - only the kinds are chosen with it
        row = connection.execute("select coalesce(max(id), 0) from booking").fetchone()
        self._kept = int(row[0]) if row else 0
        known = connection.execute("select id, departs_at from flight").fetchall()
        self._schedule: list[tuple[int, datetime]] = [(number, departs_at) for number, departs_at in known]
        self.done: Counter[str] = Counter()
        """How many rows of each kind were changed."""

    def step(self) -> None:
        """One transaction; what finds nothing to do changes nothing."""
        statement = self._random.choices(list(SHARES), list(SHARES.values()))[0]
        flight, scheduled = self._random.choice(self._schedule)
        values = {
            "kept": self._kept,
            "fewest": FEWEST_SEATS,
            "flight": flight,
            "scheduled": scheduled,
            "late": scheduled + HARMLESS_DELAY,
            "remark": self._random.choice(REMARKS),
        }
        self.done[NAMES[statement]] += self._connection.execute(statement, values).rowcount


if __name__ == "__main__":
    traffic.main(Traffic, AIRLINE, __doc__ or "")
