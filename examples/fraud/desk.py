"""The desk that looks at held payments: checks who sends, and keeps each once.

DESK_SECRET=… python -m examples.fraud.desk --port 8200
"""

from __future__ import annotations

from typing import Any

from examples import receiver
from examples.receiver import Refused


def deliver(content: dict[str, Any]) -> dict[str, Any]:
    """Keep what is said of one held payment."""
    try:
        return {"payment": int(content["payment"]), "why": str(content["why"])}
    except (ValueError, KeyError, TypeError):
        raise Refused(422, "payment and why are wanted") from None


if __name__ == "__main__":
    receiver.serve(__doc__ or "", "DESK_SECRET", deliver)
