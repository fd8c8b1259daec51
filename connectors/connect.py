"""Kafka Connect over its REST interface: every call of it, and the few sequences of calls that need patience.

Connect answers most changes before it has made them, and a connector that it calls RUNNING may still not move any
data: the slot, the heartbeat and the topics say that, not this module.
"""

from __future__ import annotations

import time
from typing import Literal

from connectors import connect_types as types
from connectors.connect_errors import (
    ConnectAway,
    ConnectDenied,
    ConnectorExists,
    ConnectorFailed,
    ConnectorMissing,
    ConnectorNotStopped,
    InvalidConnector,
    NotConnect,
    StillWaiting,
)
from connectors.connect_http import Clock, until
from connectors.connect_rest import Rest
from connectors.connect_types import telling_line

__all__ = [
    "Clock",
    "Connect",
    "ConnectAway",
    "ConnectDenied",
    "ConnectorExists",
    "ConnectorFailed",
    "ConnectorMissing",
    "ConnectorNotStopped",
    "InvalidConnector",
    "NotConnect",
    "StillWaiting",
    "telling_line",
    "types",
]

PROBE_TIMEOUT = 10.0  # seconds for one look at a status while waiting
STEADY_FOR = 1.5  # seconds that RUNNING or FAILED must last: after a change the state before it shows for a moment


class Connect(Rest):
    """A Kafka Connect cluster, through one of its workers. Not for use by two threads at once.

    `timeout_s` is for one request and longer than the 90 s after which Connect gives up itself; `retry_s` is how long
    a call is repeated while the worker is away, busy or rebalancing (0: never). `clock` passes the time in the waits.
    """

    def __init__(self, url: str, *, timeout_s: float = 100.0, retry_s: float = 60.0, clock: Clock = time) -> None:
        super().__init__(url, timeout_s=timeout_s, retry_s=retry_s)
        self._clock = clock

    def status(self, name: str, *, wait_s: float = 30.0) -> types.Status:
        """The connector and its tasks; waits for the first status of one that was just created."""

        def probe() -> types.Status | None:
            try:
                return self.status_now(name)
            except ConnectorMissing:
                self.connector(name)  # Raises for one that really is not there.
                return None

        return until(self._clock, probe, wait_s, lambda: f"the first status of connector {name}")

    def wait_running(self, name: str, timeout_s: float = 60.0) -> types.Status:
        """Wait until the connector and all its tasks run and keep running. ConnectorFailed tells why they do not."""
        watch = _Watch(name, self._clock)

        def probe() -> types.Status | None:
            status = self._seen(watch)
            if status is None or not watch.steady:
                return None
            if status.failure:
                raise _failed(status)
            return status if status.running else None

        try:
            return until(self._clock, probe, timeout_s, lambda: f"RUNNING of connector {watch.label}")
        except StillWaiting:
            if watch.last is None or not (watch.last.failure or watch.last.running):
                raise
            if watch.last.failure:
                raise _failed(watch.last) from None
            return watch.last

    def wait_steady(self, name: str, timeout_s: float = 30.0) -> types.Status:
        """Wait until the status has stayed the same for a while: what was asked before is done."""
        watch = _Watch(name, self._clock)

        def probe() -> types.Status | None:
            status = self._seen(watch)
            return status if status is not None and watch.steady else None

        return until(self._clock, probe, timeout_s, lambda: f"a steady status of connector {watch.label}")

    def stop_and_wait(self, name: str, timeout_s: float = 60.0) -> types.Status:
        """Stop the connector and wait until it is STOPPED and has no tasks: its slot and its sessions are free."""
        self.stop(name)
        watch = _Watch(name, self._clock)

        def probe() -> types.Status | None:
            status = self._seen(watch)
            return status if status is not None and status.stopped else None

        return until(self._clock, probe, timeout_s, lambda: f"STOPPED without tasks of connector {watch.label}")

    def delete_with_offsets(self, name: str, timeout_s: float = 60.0) -> bool:
        """Stop the connector, delete its offsets, delete it. False if there was none; may be repeated at any time."""
        try:
            self.stop_and_wait(name, timeout_s)
            self.forget_offsets(name, timeout_s)
            self.delete(name)
        except ConnectorMissing:
            return False
        until(self._clock, lambda: self._gone(name), timeout_s, lambda: f"connector {name} to go")
        return True

    def forget_offsets(self, name: str, timeout_s: float = 60.0) -> None:
        """Delete the offsets of a connector that has been stopped."""
        until(self._clock, lambda: self._forgotten(name), timeout_s, lambda: f"the offsets of {name} to go")

    def _seen(self, watch: _Watch) -> types.Status | None:
        """One look at the status; None before the first one is written."""
        try:
            status = self.status_now(watch.name, again="never", timeout_s=PROBE_TIMEOUT)
        except ConnectorMissing:
            if self._found(watch.name) is None:
                raise
            return None
        watch.note(status)
        return status

    def _forgotten(self, name: str) -> Literal[True] | None:
        try:
            self.delete_offsets(name)
        except ConnectorNotStopped:  # The worker that decides hears of the stop a little later than its status shows.
            return None
        return True

    def _gone(self, name: str) -> Literal[True] | None:
        return True if self._found(name) is None else None


class _Watch:
    """What a wait has seen of a connector."""

    def __init__(self, name: str, clock: Clock) -> None:
        self.name = name
        self.last: types.Status | None = None
        self._clock = clock
        self._since = clock.monotonic()

    @property
    def label(self) -> str:
        return self.last.label if self.last else f"{self.name}, which has no status yet"

    @property
    def steady(self) -> bool:
        """Running, failed or neither, it has been so for a while."""
        return self._clock.monotonic() - self._since >= STEADY_FOR

    def note(self, status: types.Status) -> None:
        if self.last is None or _verdict(self.last) != _verdict(status):
            self._since = self._clock.monotonic()
        self.last = status


def _verdict(status: types.Status) -> tuple[bool, bool]:
    return status.running, status.failure is not None


def _failed(status: types.Status) -> ConnectorFailed:
    part, trace = status.failure or ("connector", "")
    return ConnectorFailed(status.name, part, telling_line(trace), trace)
