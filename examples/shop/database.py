"""The shop's own database.

eval "$(python -m examples.shop.database)" makes it in the cluster of POSTGRES_URL and exports how to reach it.
"""

from __future__ import annotations

from pathlib import Path

from examples.database import Database

SHOP = Database("shop", Path(__file__).parent, others=("messenger",))

if __name__ == "__main__":
    SHOP.main()
