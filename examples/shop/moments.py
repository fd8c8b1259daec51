"""What happens in the shop, one moment after another, and what the shop's own rules say should follow.

SHOP_ADMIN_URL=… python -m examples.shop.moments
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import LiteralString

import psycopg

from examples.database import wal_place
from examples.shop.database import SHOP
from examples.story import Beginning

BUY_ALL: LiteralString = """
with placed as (insert into orders (customer_id) select min(id) from customer returning id),
     wanted as (select id, stock, price from product where id = %s and stock > 0 for update)
insert into order_line (order_id, product_id, quantity, price)
select placed.id, wanted.id, wanted.stock, wanted.price from placed, wanted
"""
_REPRICE: LiteralString = "update product set price = price + 20 where id = %s"

# Written apart from the configuration and in the shop's own tables, so that the one can be held against the other.
_ALLOWED: LiteralString = """
select w.id, other.id
from wish w join product wanted on wanted.id = w.product_id
left join product other on other.category_id = wanted.category_id and other.id <> wanted.id
    and other.stock > 0 and other.price <= w.most
where %(product)s in (w.product_id, w.recommended_id)
"""


@dataclass(frozen=True)
class Moment:
    """One thing that happens."""

    title: str
    statement: LiteralString
    product: int


@dataclass(frozen=True)
class Happened(Beginning):
    """What happened, and what is right for whom."""

    moment: Moment
    allowed: dict[int, set[int]]
    """For each wish that it concerns, the products that may be recommended."""

    @property
    def decided(self) -> set[int]:
        """The wishes that are decided anew: something can be recommended."""
        return {wish for wish, products in self.allowed.items() if products}


MOMENTS = (
    Moment("The last Alba are bought", BUY_ALL, 1),
    Moment("Fjord costs 20 more", _REPRICE, 6),
    Moment("Brio, which has been recommended, sells out", BUY_ALL, 2),
)


def happen(owner: str, moment: Moment) -> Happened:
    """Let it happen, in one transaction."""
    with psycopg.connect(owner) as connection:
        connection.execute(moment.statement, (moment.product,))
        allowed: dict[int, set[int]] = {}
        for wish, product in connection.execute(_ALLOWED, {"product": moment.product}).fetchall():
            allowed.setdefault(wish, set()).update(() if product is None else (product,))
        lsn, at = wal_place(connection), time.time()
        connection.commit()
    return Happened(at, lsn, moment, allowed)


def recommended(owner: str) -> dict[int, int | None]:
    """What is recommended for each wish."""
    with psycopg.connect(owner) as connection:
        return dict(connection.execute("select id, recommended_id from wish order by id").fetchall())


def main() -> None:
    """Let all of it happen, and say who is concerned."""
    for moment in MOMENTS:
        happened = happen(SHOP.owner_url(), moment)
        print(f"{moment.title}: decided anew are wishes {sorted(happened.decided)}")


if __name__ == "__main__":
    main()
