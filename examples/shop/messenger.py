"""The shop's program that writes to customers: checks who asks, and that what is recommended can be had as it is sent.

MESSENGER_SECRET=… SHOP_MESSENGER_URL=… python -m examples.shop.messenger --port 8200
"""

from __future__ import annotations

import os
import sys
from typing import Any, LiteralString

import psycopg

from examples import receiver
from examples.database import wal_place
from examples.receiver import Refused

_LETTER: LiteralString = """
select c.id, c.email, format('Instead of %%s we recommend %%s, %%s.', listed.name, p.name, p.price)
from wish w join customer c on c.id = w.customer_id join product listed on listed.id = w.product_id
join product p on p.id = w.recommended_id
where w.id = %s and w.recommended_id = %s
"""


class Messenger:
    """Sends one message after another."""

    def __init__(self, shop: str) -> None:
        self._shop = shop

    def deliver(self, content: dict[str, Any]) -> dict[str, Any]:
        """Send a message while its product is held in stock, and keep where the database's log stood at that moment."""
        try:
            wish, product = int(content["wish"]), int(content["product"])
            said = {"decided_at": str(content["decided_at"]), "why": str(content["why"])}
        except (ValueError, KeyError, TypeError):
            raise Refused(422, "wish, product, decided_at and why are wanted") from None
        with psycopg.connect(self._shop) as connection:
            if connection.execute("select hold_in_stock(%s)", (product,)).fetchone() != (True,):
                raise Refused(409, f"wish {wish}: product {product} has sold out")
            letter = connection.execute(_LETTER, (wish, product)).fetchone()
            if letter is None:
                raise Refused(409, f"wish {wish}: product {product} is not what is recommended now")
            customer, to, text = letter
            sent_at = wal_place(connection)
        kept = {"wish": wish, "product": product, "customer": customer, "to": to, **said}
        return {**kept, "text": f"{text} {said['why']}", "sent_at": sent_at}


if __name__ == "__main__":
    url = os.environ.get("SHOP_MESSENGER_URL")
    if url is None:
        sys.exit('SHOP_MESSENGER_URL is not set: eval "$(python -m examples.shop.database)"')
    receiver.serve(__doc__ or "", "MESSENGER_SECRET", Messenger(url).deliver)
