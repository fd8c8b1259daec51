"""The payment service's own database.

eval "$(python -m examples.fraud.database)" makes it in the cluster of POSTGRES_URL and exports how to reach it.
"""

from __future__ import annotations

from pathlib import Path

from examples.database import Database

FRAUD = Database("fraud", Path(__file__).parent)

if __name__ == "__main__":
    FRAUD.main()
