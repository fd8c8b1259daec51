"""A webhook target: an address at which nobody listens until a test says so, and what has arrived there."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

from agent.testing import WebhookReceiver
from localstack.home import free_port


class Target:
    """Where webhooks go; a context manager that serves from `open` until it is left."""

    def __init__(self) -> None:
        self._port = free_port()
        self._receiver: WebhookReceiver | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._port}"

    def __enter__(self) -> Target:
        return self

    def __exit__(self, *_: object) -> None:
        if self._receiver is not None:
            self._receiver.close()

    def open(self) -> Target:
        self._receiver = WebhookReceiver(port=self._port)
        self._receiver.start()
        return self

    def deliveries(self) -> dict[str, list[dict[str, Any]]]:
        """The bodies that arrived, by idempotency key."""
        found: defaultdict[str, list[dict[str, Any]]] = defaultdict(list)
        for seen in list(self._receiver.seen) if self._receiver else []:
            found[seen.headers["idempotency-key"]].append(seen.body)
        return dict(found)
