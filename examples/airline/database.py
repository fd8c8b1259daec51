"""The airline's own database.

eval "$(python -m examples.airline.database)" makes it in the cluster of POSTGRES_URL and exports how to reach it.
"""

from __future__ import annotations

from pathlib import Path

from examples.database import Database

AIRLINE = Database("airline", Path(__file__).parent)

if __name__ == "__main__":
    AIRLINE.main()
