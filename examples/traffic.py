"""A steady rate of small transactions, for as long as wanted."""

from __future__ import annotations

import argparse
import random
import signal
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from typing import Protocol

import psycopg

from examples.database import Database


class Traffic(Protocol):
    """What an example's customers do all day."""

    done: Counter[str]
    """How many rows of each kind were changed."""

    def step(self) -> None:
        """Make one transaction; what finds nothing to do changes nothing."""
        ...


Make = Callable[[psycopg.Connection, int], Traffic]
"""Traffic over a connection, with the seed of its choices."""


def run(
    make: Make, url: str, *, rate: float, seconds: float, seed: int, stop: Callable[[], bool] = lambda: False
) -> Counter[str]:
    """Make `rate` transactions a second for so long; what is late is made up for. Returns what was done."""
    with psycopg.connect(url, autocommit=True) as connection:
        traffic, began = make(connection, seed), time.monotonic()
        for number in range(int(rate * seconds)):
            due = began + number / rate
            while (pause := due - time.monotonic()) > 0 and not stop():
                time.sleep(min(pause, 0.2))
            if stop():
                break
            traffic.step()
        return traffic.done


def main(make: Make, database: Database, description: str) -> None:
    """Run until the time is over, or Ctrl-C."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rate", type=float, default=10.0, help="transactions a second")
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--seed", type=int, default=random.randrange(1 << 32))  # noqa: S311 - printed, to repeat it
    options = parser.parse_args()
    url = database.owner_url()
    if options.rate <= 0:
        parser.error("--rate must be above 0")
    stopped = threading.Event()

    def end(*_: object) -> None:
        stopped.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, end)
    print(f"seed {options.seed}", flush=True)
    done = run(make, url, rate=options.rate, seconds=options.seconds, seed=options.seed, stop=stopped.is_set)
    print(", ".join(f"{count} {kind}" for kind, count in sorted(done.items())) or "nothing")
    sys.exit(0)
