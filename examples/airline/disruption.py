"""The UPDATE that starts the story, and what the airline's own rules say about it: the yardstick for what follows.

AIRLINE_ADMIN_URL=… python -m examples.airline.disruption
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from decimal import Decimal
from typing import LiteralString

import psycopg
from psycopg.rows import class_row

from examples.airline.database import AIRLINE
from examples.database import wal_place
from examples.story import Beginning

FLIGHT: LiteralString = "1"
DELAY: LiteralString = "6 hours"
UPDATE: LiteralString = (
    f"update flight set status = 'delayed', departs_at = departs_at + interval '{DELAY}' where id = {FLIGHT}"
)

_BOOKINGS: LiteralString = """
select b.id, c.name as customer, b.customer_id, b.flight_id, f.flight_no, b.status, b.seat_no, b.fare_paid,
       p.difference_limit
from booking b join customer c on c.id = b.customer_id join flight f on f.id = b.flight_id
join change_policy p on p.id = b.policy_id order by b.id
"""
# Written apart from the configuration and in the airline's own tables, so that the one can be held against the other.
_ALLOWED: LiteralString = f"""
select b.id, new.id, new.flight_no, new.fare
from flight late
join booking b on b.flight_id = late.id and b.status = 'confirmed'
join change_policy p on p.id = b.policy_id
left join flight new on new.status = 'scheduled' and (new.origin, new.destination) = (late.origin, late.destination)
    and new.stops <= p.max_stops
    and new.departs_at > b.departure and new.departs_at <= b.departure + p.max_hours_later * interval '1 hour'
    and new.departs_at + new.minutes * interval '1 minute' < late.departs_at + late.minutes * interval '1 minute'
    and exists (select from seat s where s.flight_id = new.id and s.booking_id is null and not s.sold_elsewhere)
where late.id = {FLIGHT} and late.departs_at - b.departure >= interval '2 hours'
"""


@dataclass(frozen=True)
class Booking:
    """A booking as it stands."""

    id: int
    customer: str
    customer_id: int
    flight_id: int
    flight_no: str
    status: str
    seat_no: str | None
    fare_paid: Decimal
    difference_limit: Decimal


@dataclass(frozen=True)
class Flight:
    """A flight that somebody may be moved to."""

    id: int
    flight_no: str
    fare: Decimal


@dataclass(frozen=True)
class Disruption(Beginning):
    """What happened, and what is right for whom."""

    bookings: dict[int, Booking]
    """All of them, as they were before."""
    allowed: dict[int, dict[int, Flight]]
    """For each affected booking, the flights that the policy allows."""


def happen(owner: str) -> Disruption:
    """Delay the flight."""
    with psycopg.connect(owner) as connection:
        before = bookings(connection)
        connection.execute(UPDATE)
        allowed: dict[int, dict[int, Flight]] = {}
        for booking, *flight in connection.execute(_ALLOWED).fetchall():
            allowed.setdefault(booking, {})
            if flight[0] is not None:
                allowed[booking][flight[0]] = Flight(*flight)
        lsn, at = wal_place(connection), time.time()
        connection.commit()
    return Disruption(at, lsn, before, allowed)


def bookings(connection: psycopg.Connection) -> dict[int, Booking]:
    """All bookings as they stand."""
    with connection.cursor(row_factory=class_row(Booking)) as cursor:
        return {each.id: each for each in cursor.execute(_BOOKINGS).fetchall()}


def main() -> None:
    """Delay the flight, and say who is affected."""
    happened = happen(AIRLINE.owner_url())
    print(f"{UPDATE};")
    for booking, flights in happened.allowed.items():
        may = ", ".join(flight.flight_no for flight in flights.values()) or "no other flight"
        print(f"booking {booking} ({happened.bookings[booking].customer}) may go with {may}")


if __name__ == "__main__":
    main()
