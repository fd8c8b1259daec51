"""A busy day of the payment service: payments, mostly harmless, and the nightly run that books what nobody holds.

FRAUD_ADMIN_URL=… python -m examples.fraud.traffic --rate 20 --seconds 60
"""

from __future__ import annotations

import random
from collections import Counter
from typing import LiteralString

import psycopg

from examples import traffic
from examples.fraud.database import FRAUD

_CUSTOMER: LiteralString = """
with made as (insert into customer (name, country, email) values ('Customer', 'SE', 'c@example.com') returning id)
insert into device (customer_id, first_seen) select id, now() - interval '90 days' from made
"""
# Nobody who has paid within the last minutes: that would be suspicious.
_PAYMENT: LiteralString = """
insert into payment (customer_id, device_id, merchant, country, amount)
select c.id, d.id, 'Grocer', c.country, %(amount)s from customer c join device d on d.customer_id = c.id
where c.id > 5 and not exists (select from payment p where p.customer_id = c.id and p.at > now() - interval '3 minutes')
order by random() limit 1
"""
_BOOK: LiteralString = """
update payment set status = 'booked'
where id in (select id from payment where status = 'open' and at < now() - interval '1 second' limit 5)
"""
SHARES: dict[LiteralString, int] = {_CUSTOMER: 40, _PAYMENT: 40, _BOOK: 20}
NAMES: dict[LiteralString, str] = {_CUSTOMER: "new customers", _PAYMENT: "payments", _BOOK: "booked"}


class Traffic:
    """Makes one small transaction after another."""

    def __init__(self, connection: psycopg.Connection, seed: int) -> None:
        self._connection = connection
        self._random = random.Random(seed)  # noqa: S311 - only the kinds are chosen with it
        self.done: Counter[str] = Counter()
        """How many rows of each kind were changed."""

    def step(self) -> None:
        """One transaction; what finds nothing to do changes nothing."""
        statement = self._random.choices(list(SHARES), list(SHARES.values()))[0]
        values = {"amount": self._random.randint(5, 60)}
        self.done[NAMES[statement]] += self._connection.execute(statement, values).rowcount


if __name__ == "__main__":
    traffic.main(Traffic, FRAUD, __doc__ or "")
