"""What the airline's story is played with. As a program, it stops what a demo with --keep has left running."""

from __future__ import annotations

from pathlib import Path

from examples.airline.database import AIRLINE
from examples.play import Play
from examples.stage import Stage

TRIGGER = "flight_disrupted"
TRIGGERS = (TRIGGER, "not_checked_in", "flight_cancelled")
PLAY = Play(
    *(AIRLINE, TRIGGERS, "crm", Path(".wake/demo")),
    script="decide_each",
    topics=("airline.station",),
    variables={"CHECK_IN_WITHIN": "2s"},  # nobody waits half an hour in a story
)

if __name__ == "__main__":
    Stage(PLAY, PLAY.home, print).strike()
