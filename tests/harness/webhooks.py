"""A webhook target: an address at which nobody listens until a test says so, and what has arrived there."""

from __future__ import annotations

import threading
from collections import Counter, defaultdict
from typing import Any

from agent.testing import Seen, WebhookReceiver
from localstack.home import free_port


class Target:
    """Where webhooks go; a context manager that serves from `open` until it is left."""

    def __init__(self, *, takes: float = 0.0) -> None:
        """It answers `takes` seconds after a request has come."""
        self.overlapping: list[str] = []
        """Keys that came again while they were still being answered."""
        self._takes = takes
        self._port = free_port()
        self._receiver: WebhookReceiver | None = None
        self._lock = threading.Lock()
        self._under_way = Counter[str]()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._port}"

    def __enter__(self) -> Target:
        return self

    def __exit__(self, *_: object) -> None:
        if self._receiver is not None:
            self._receiver.close()

    def open(self) -> Target:
        self._receiver = WebhookReceiver(self._react, port=self._port)
        self._receiver.start()
        return self

    def deliveries(self) -> dict[str, list[dict[str, Any]]]:
        """The bodies that arrived, by idempotency key."""
        found: defaultdict[str, list[dict[str, Any]]] = defaultdict(list)
        for seen in list(self._receiver.seen) if self._receiver else []:
            found[seen.headers["idempotency-key"]].append(seen.body)
        return dict(found)

    def _react(self, seen: Seen) -> None:
        key = seen.headers.get("idempotency-key", "")
        with self._lock:
            self._under_way[key] += 1
            if self._under_way[key] > 1:
                self.overlapping.append(key)
        threading.Event().wait(self._takes)
        with self._lock:
            self._under_way[key] -= 1
