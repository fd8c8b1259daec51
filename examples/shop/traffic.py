"""A busy day in the shop: orders, deliveries, new prices, new wishes. Much of it wakes the agent.

SHOP_ADMIN_URL=… python -m examples.shop.traffic --rate 20 --seconds 60
"""

from __future__ import annotations

import random
from collections import Counter
from decimal import Decimal
from typing import LiteralString

import psycopg

from examples import traffic
from examples.shop.database import SHOP

# By the order of their ids, so that two orders for the same products do not lock each other out.
_ORDER: LiteralString = """
with placed as (insert into orders (customer_id) select id from customer order by random() limit 1 returning id),
     wanted as (select id, price from product where stock >= %(quantity)s order by random() limit %(lines)s)
insert into order_line (order_id, product_id, quantity, price)
select placed.id, wanted.id, %(quantity)s, wanted.price from placed, wanted order by wanted.id
"""
_DELIVERY: LiteralString = """
update product set stock = stock + 4 * %(quantity)s
where id = (select id from product where stock < 3 order by random() limit 1)
"""
_PRICE: LiteralString = """
update product set price = round(price * %(factor)s, 2)
where id = (select id from product order by random() limit 1)
"""
_WISH: LiteralString = """
insert into wish (customer_id, product_id, most)
select customer.id, product.id, round(product.price * 1.4, 2) from customer, product order by random() limit 1
on conflict do nothing
"""
SHARES: dict[LiteralString, int] = {_ORDER: 58, _DELIVERY: 32, _PRICE: 6, _WISH: 4}
NAMES: dict[LiteralString, str] = {
    _ORDER: "order lines",
    _DELIVERY: "deliveries",
    _PRICE: "new prices",
    _WISH: "new wishes",
}
REFUSED = "refused orders"


class Traffic:
    """Makes one small transaction after another. What runs out comes in again, sooner or later."""

    def __init__(self, connection: psycopg.Connection, seed: int) -> None:
        self._connection = connection
        self._random = random.Random(seed)  # noqa: S311 - only the kinds are chosen with it
        self.done: Counter[str] = Counter()
        """How many rows of each kind were changed."""

    def step(self) -> None:
        """One transaction; what finds nothing to do changes nothing."""
        statement = self._random.choices(list(SHARES), list(SHARES.values()))[0]
        values = {
            "quantity": self._random.randint(1, 3),
            "lines": self._random.randint(1, 2),
            "factor": self._random.choice((Decimal("0.9"), Decimal("1.12"))),
        }
        try:
            self.done[NAMES[statement]] += self._connection.execute(statement, values).rowcount
        except psycopg.errors.CheckViolation:  # somebody else has bought them meanwhile
            self.done[REFUSED] += 1


if __name__ == "__main__":
    traffic.main(Traffic, SHOP, __doc__ or "")
