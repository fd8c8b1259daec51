"""Who holds a run or an action: held for a while, extended by a heartbeat, fenced when it was lost."""

from __future__ import annotations

import itertools
import os
import secrets
import socket
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

from agent.database import Connection, Cursor
from wakestream.errors import WakeError

LEASE = 30.0  # seconds
HEARTBEAT = 5.0  # seconds


class LeaseLostError(WakeError):
    """Somebody else holds the work now; what was done meanwhile must not be written."""


@dataclass(frozen=True, slots=True)
class Lease:
    """One claim of one run or action."""

    by: str
    """Unique for each claim, so that a worker cannot mistake an old claim of its own for the present one."""
    attempt: int
    until: float = 0.0
    """Before this moment of our monotonic clock nobody else can have claimed the work; after it the ledger is asked."""


class Claiming(NamedTuple):
    """A claim that is asked for; its answer comes with the commit."""

    by: str
    until: float
    answer: Cursor


class Grip:
    """A claim that is looked at right before what cannot be taken back: whoever was frozen may have lost it.

    What no look can rule out is to be frozen between it and the moment in which the request leaves.
    """

    def __init__(self, lease: Lease, extend: Callable[[], None]) -> None:
        """`extend` extends the lease in the ledger, or raises `LeaseLostError`."""
        self._until = lease.until
        self._extend = extend

    def check(self) -> None:
        """Return only while the claim surely stands; raises `LeaseLostError`."""
        while time.monotonic() >= self._until:
            until = time.monotonic() + LEASE
            self._extend()
            self._until = until


class Holdings:
    """All that this process holds, so that the heartbeat extends it and the end gives it back."""

    def __init__(self) -> None:
        self.name = f"{socket.gethostname()}/{os.getpid()}/{secrets.token_hex(3)}"
        self._numbers = itertools.count(1)
        self._held: set[str] = set()
        self._lock = threading.Lock()

    def new(self) -> str:
        """A name for a claim that is about to be made; counts as held until `drop`."""
        by = f"{self.name}/{next(self._numbers)}"
        with self._lock:
            self._held.add(by)
        return by

    def drop(self, by: str) -> None:
        """The claim is over, or was never made."""
        with self._lock:
            self._held.discard(by)

    def held(self) -> list[str]:
        """The claims that stand now."""
        with self._lock:
            return sorted(self._held)


def extend(connection: Connection, held: list[str]) -> None:
    """Hold all these claims for another while."""
    for table in ("run", "action"):
        connection.execute(
            f"update wake.{table} set lease_until = clock_timestamp() + make_interval(secs => %s)"  # noqa: S608
            " where lease_by = any(%s)",
            (LEASE, held),
        )


def release(connection: Connection, held: list[str]) -> int:
    """Give back what these claims hold; returns how many there were.

    A run goes on from its stored steps. An action whose effect may have begun keeps its state and is settled by
    whoever claims it next; only its lease ends.
    """
    runs = connection.execute(
        "update wake.run set state = 'pending', lease_by = null, lease_until = null,"
        " attempts = greatest(attempts - 1, 0)"
        " where state = 'running' and lease_by = any(%s) returning id",
        (held,),
    ).fetchall()
    actions = connection.execute(
        "update wake.action set lease_by = null, lease_until = clock_timestamp()"
        " where state = 'executing' and lease_by = any(%s) returning id",
        (held,),
    ).fetchall()
    if runs or actions:
        connection.execute("select pg_notify('wake_run', ''), pg_notify('wake_action', '')")
    return len(runs) + len(actions)
