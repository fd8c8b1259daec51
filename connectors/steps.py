"""A step of a plan: what will be done, in words and exactly, what it locks and what is noticed of it."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass

Report = Callable[[str], None]

NO_LOCK = "none"


@dataclass(frozen=True, slots=True)
class Step:
    """One thing to do."""

    what: str
    """`make topic airline.changes with 1 partition`."""
    do: Callable[[], object]
    object: str = ""
    """What it touches: `topic airline.changes`, `publication wake_airline`."""
    command: str = ""
    """The SQL or the call, exactly and without secrets; empty where it is our own ledger's."""
    lock: str = NO_LOCK
    """PostgreSQL's lock mode with the tables, or `none`."""
    effect: str = ""
    """What the running application notices."""

    def after(self, first: Callable[[], object]) -> Step:
        """The same step with something done before it."""

        def both() -> None:
            first()
            self.do()

        return dataclasses.replace(self, do=both)


def tell_nobody(_: str) -> None:
    """A report that nobody reads."""
