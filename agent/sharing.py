"""Which partitions of the context topics are this agent's, where several agents share them."""

from __future__ import annotations

import threading

from wakestream.membership import Place

LETTING_GO = 10.0  # seconds in which a batch that is under way may end


class Shares:
    """Told by the group's thread, asked by the intake's."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._ours: frozenset[Place] = frozenset()
        self._read: frozenset[Place] = frozenset()

    def follow(self, ours: frozenset[Place]) -> None:
        """What is ours from now on; returns when nothing else is read any more, or soon."""
        with self._changed:
            self._ours = ours
            self._changed.notify_all()
            self._changed.wait_for(lambda: self._read <= self._ours, LETTING_GO)

    def now(self) -> frozenset[Place]:
        """What is ours, which is taken as read from here on."""
        with self._changed:
            self._read |= self._ours
            return self._ours

    def let_go(self) -> None:
        """Nothing is read at this moment."""
        with self._changed:
            self._read = frozenset()
            self._changed.notify_all()

    def wait_changed(self, timeout: float, stop: threading.Event) -> None:
        """Until something else is ours, or so many seconds have passed."""
        with self._changed:
            before = self._ours
            self._read = frozenset()
            self._changed.notify_all()
            self._changed.wait_for(lambda: self._ours != before or stop.is_set(), timeout)
