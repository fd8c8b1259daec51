"""Two more scenes of the airline: a passenger who does not come, and a flight that is cancelled under everybody.

AIRLINE_ADMIN_URL=… python -m examples.airline.scenes
"""

from __future__ import annotations

from decimal import Decimal
from typing import LiteralString

import psycopg

from examples.airline.database import AIRLINE

BOARDING_FLIGHT, CANCELLED_FLIGHT = 2, 3
_SECOND: LiteralString = """
insert into booking (customer_id, flight_id, policy_id, fare_paid) values (5, %s, 3, 120) returning id
"""


def board(owner: str) -> int:
    """Boarding of a flight is called; returns the booking of who has not checked in."""
    with psycopg.connect(owner) as connection:
        connection.execute("update flight set status = 'boarding' where id = %s", (BOARDING_FLIGHT,))
        row = connection.execute("select id from booking where flight_id = %s", (BOARDING_FLIGHT,)).fetchone()
        return int(row[0]) if row else 0


def check_in(owner: str, booking: int) -> None:
    """A passenger comes after all."""
    with psycopg.connect(owner) as connection:
        connection.execute("update booking set checked_in = true where id = %s", (booking,))


def cancel(owner: str) -> dict[int, Decimal]:
    """A flight with two passengers is cancelled; returns what each booking of it has cost."""
    with psycopg.connect(owner, autocommit=True) as connection:
        connection.execute(_SECOND, (CANCELLED_FLIGHT,))
        connection.execute("update flight set status = 'cancelled' where id = %s", (CANCELLED_FLIGHT,))
        rows = connection.execute("select id, fare_paid from booking where flight_id = %s", (CANCELLED_FLIGHT,))
        return dict(rows.fetchall())


def vouchers(owner: str) -> dict[int, Decimal]:
    """What was given for which booking."""
    with psycopg.connect(owner) as connection:
        return dict(connection.execute("select booking_id, amount from voucher").fetchall())


if __name__ == "__main__":
    board(AIRLINE.owner_url())
    cancel(AIRLINE.owner_url())
