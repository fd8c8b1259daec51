"""The customer service system that messages go to: checks who sent them, and keeps each once.

CRM_SECRET=… python -m examples.airline.crm --port 8200
"""

from __future__ import annotations

from typing import Any

from examples import receiver
from examples.receiver import Refused


def deliver(content: dict[str, Any]) -> dict[str, Any]:
    """Keep one message to a customer."""
    try:
        numbers = {name: int(content[name]) for name in ("customer", "booking")}
        return {**numbers, "message": str(content["message"])}
    except (ValueError, KeyError, TypeError):
        raise Refused(422, "customer, booking and message are wanted") from None


if __name__ == "__main__":
    receiver.serve(__doc__ or "", "CRM_SECRET", deliver)
