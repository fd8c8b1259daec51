"""What the shop's story is played with. As a program, it stops what a demo with --keep has left running."""

from __future__ import annotations

from pathlib import Path

from examples.play import Play
from examples.shop.database import SHOP
from examples.stage import Stage

TRIGGERS = ("sold_out", "price_changed", "choice_changed")
PLAY = Play(SHOP, TRIGGERS, receiver="messenger", usual_home=Path(".wake/demo-shop"))

if __name__ == "__main__":
    Stage(PLAY, PLAY.home, print).strike()
