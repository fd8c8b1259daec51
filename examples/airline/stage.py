"""What the airline's story is played with. As a program, it stops what a demo with --keep has left running."""

from __future__ import annotations

from pathlib import Path

from examples.airline.database import AIRLINE
from examples.play import Play
from examples.stage import Stage

TRIGGER = "flight_disrupted"
PLAY = Play(AIRLINE, (TRIGGER,), receiver="crm", usual_home=Path(".wake/demo"))

if __name__ == "__main__":
    Stage(PLAY, PLAY.home, print).strike()
