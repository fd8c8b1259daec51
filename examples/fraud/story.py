"""The payment service's story: what follows from each payment of a scene."""

from __future__ import annotations

from rich.console import Console

from console.insights import Insights
from console.views import ActionDetail
from examples import story
from examples.fraud.payments import Paid
from examples.stage import Stage
from examples.watching import SeenChange


class Story(story.Story):
    """The story of one scene."""

    def __init__(self, stage: Stage, out: Console, insights: Insights, paid: Paid) -> None:
        super().__init__(stage, out, insights)
        self._last = paid.payments[-1]

    def change(self, seen: SeenChange) -> str | None:
        after = seen.after
        if (seen.operation, seen.table, after.get("id")) != ("c", "public.payment", self._last):
            return None
        who, amount, merchant = after["customer_id"], after["amount"], after["merchant"]
        return f"public.payment/{self._last}: customer {who} pays {amount} to {merchant}"

    def question(self, action: ActionDetail) -> str:
        return f"The agent would let payment {action.bound['payment']} pass."
