"""A step of a plan: what will be done, in words, and how."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

Report = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Step:
    """One thing to do."""

    what: str
    """`make topic airline.changes with 1 partition`."""
    do: Callable[[], object]

    def after(self, first: Callable[[], object]) -> Step:
        """The same step with something done before it."""

        def both() -> None:
            first()
            self.do()

        return Step(self.what, both)


def tell_nobody(_: str) -> None:
    """A report that nobody reads."""
