"""How much of everything one run measures."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Rate:
    """Transactions at a steady pace, one row each."""

    per_second: int
    measured: int
    """How many count."""
    warm_up: int
    """How many go before them."""
    activates: int
    """Every so manieth row fires the trigger."""

    @property
    def rows(self) -> int:
        """All that are written."""
        return self.warm_up + self.measured


@dataclass(frozen=True)
class Counts:
    """The counts of one run."""

    load_rows: int
    """Rows of a load, which is also the backlog."""
    run_in: Rate
    """What is written before any latency is measured: Java compiles only what it has done thousands of times."""
    rates: tuple[Rate, ...]
    burst: Rate
    """What is written as fast as one session does."""
    triggers: int
    """Triggers on one table."""
    touched: int
    """Those of them that read the column which changes."""
    updates: int
    """Changes that they see."""
    large_rows: int
    """Rows of the one large transaction; more than the consumer keeps in memory."""
    fan_out: int
    """Documents that show one row."""
    activations: int
    """Changes that each wake the agent, while it is away."""
    spread: tuple[int, ...]
    """How many sources, and how many consumers share them, in turn; the first is one."""
    spread_rows: int
    """Rows in the change log of each of these sources."""
    spread_runs: int
    """Changes that wake agents which share them."""


ROWS_PER_TRANSACTION = 100

FULL = Counts(
    load_rows=300_000,
    run_in=Rate(per_second=1000, measured=0, warm_up=20_000, activates=100),
    rates=(
        Rate(per_second=20, measured=500, warm_up=60, activates=1),
        Rate(per_second=200, measured=4000, warm_up=400, activates=10),
    ),
    burst=Rate(per_second=1_000_000, measured=20_000, warm_up=0, activates=10),
    triggers=100,
    touched=5,
    updates=90_000,
    large_rows=1_000_000,
    fan_out=10_000,
    activations=100_000,
    spread=(1, 2, 4),
    spread_rows=150_000,
    spread_runs=10_000,
)
QUICK = Counts(
    load_rows=20_000,
    run_in=Rate(per_second=1000, measured=0, warm_up=2_000, activates=100),
    rates=(
        Rate(per_second=20, measured=60, warm_up=20, activates=1),
        Rate(per_second=200, measured=600, warm_up=100, activates=10),
    ),
    burst=Rate(per_second=1_000_000, measured=5_000, warm_up=0, activates=10),
    triggers=100,
    touched=5,
    updates=10_000,
    large_rows=100_000,
    fan_out=2_000,
    activations=5_000,
    spread=(1, 2, 4),
    spread_rows=50_000,
    spread_runs=2_000,
)
TINY = Counts(
    load_rows=2_000,
    run_in=Rate(per_second=200, measured=0, warm_up=20, activates=10),
    rates=(
        Rate(per_second=20, measured=10, warm_up=2, activates=1),
        Rate(per_second=200, measured=40, warm_up=10, activates=10),
    ),
    burst=Rate(per_second=1_000_000, measured=200, warm_up=0, activates=10),
    triggers=100,
    touched=5,
    updates=1_000,
    large_rows=25_000,
    fan_out=600,
    activations=300,
    spread=(1, 2),
    spread_rows=1_000,
    spread_runs=200,
)
SIZES = {"full": FULL, "quick": QUICK, "tiny": TINY}
