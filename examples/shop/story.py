"""The shop's story: what follows from one moment for everybody who has the product on a list."""

from __future__ import annotations

from rich.console import Console

from console.insights import Insights
from examples import story
from examples.shop.moments import Moment
from examples.stage import Stage
from examples.watching import SeenChange


class Story(story.Story):
    """The story of one moment."""

    def __init__(self, stage: Stage, out: Console, insights: Insights, moment: Moment) -> None:
        super().__init__(stage, out, insights)
        self._moment = moment

    def change(self, seen: SeenChange) -> str | None:
        after = seen.after
        if (seen.operation, seen.table, str(after.get("id"))) != ("u", "public.product", str(self._moment.product)):
            return None
        return (
            f"public.product/{self._moment.product} {after['name']} costs {after['price']}, in stock {after['stock']}"
        )
