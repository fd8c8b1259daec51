"""A stage for an example's story, on the stack of this run."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager

from examples.play import Play
from examples.stage import Stage
from localstack import Stack


@contextmanager
def stage_for(play: Play, stack: Stack) -> Generator[Stage]:
    """A stage that is not set; afterwards it is as if it had never been."""
    stage = Stage(play, stack.home.path, print)
    try:
        yield stage
    finally:
        stage.remove()
        stage.strike()
