"""What the payment service's story is played with. As a program, it stops what a demo with --keep has left running."""

from __future__ import annotations

from pathlib import Path

from examples.fraud.database import FRAUD
from examples.play import Play
from examples.stage import Stage

TRIGGERS = ("suspicious", "suspicious_next")
PLAY = Play(FRAUD, TRIGGERS, receiver="desk", usual_home=Path(".wake/demo-fraud"), script="decide_two")

if __name__ == "__main__":
    Stage(PLAY, PLAY.home, print).strike()
