"""The airline's story: what follows for each booking from the delay of its flight."""

from __future__ import annotations

from rich.console import Console

from console.insights import Insights
from console.views import ActionDetail
from examples import story
from examples.airline.disruption import FLIGHT, Disruption
from examples.stage import Stage
from examples.watching import SeenChange


class Story(story.Story):
    """The story of one disruption."""

    def __init__(self, stage: Stage, out: Console, insights: Insights, disruption: Disruption) -> None:
        super().__init__(stage, out, insights)
        self._disruption = disruption

    def change(self, seen: SeenChange) -> str | None:
        after = seen.after
        if (seen.operation, seen.table, str(after.get("id"))) != ("u", "public.flight", FLIGHT):
            return None
        departs = str(after["departs_at"]).replace("T", " ")[:16]
        return f"public.flight/{FLIGHT} {after['flight_no']} is {after['status']}, departs {departs}"

    def question(self, action: ActionDetail) -> str:
        booking, flight = self._disruption.bookings[action.bound["booking"]], action.chosen["to_flight"]
        return (
            f"{booking.customer} paid {booking.fare_paid}, {flight['flight_no']} costs {flight['fare']},"
            f" and the policy lets a difference of {booking.difference_limit} pass."
        )
