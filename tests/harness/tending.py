"""What a guard does while snapshots are read, without a process of its own."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import psycopg

from connectors.connect import Connect, ConnectorMissing
from connectors.databases import Connection
from connectors.snapshots import Settling
from wakestream import topics
from wakestream.config import Config


class Tending:
    """Settles what snapshots have read, and restarts a connector that failed over it.

    Where a transaction ends while Debezium begins to read a table, two of its threads read at once, and its task may
    fail for it.
    """

    def __init__(self, config: Config, source: str, open_source: Callable[[], Connection]) -> None:
        self._url = config.connect.url
        self._connector = topics.connector(source)
        self._settling = Settling(config.kafka, source, open_source)

    def look(self, ledger: psycopg.Connection[Any]) -> bool:
        """Do what can be done now; whether everything is settled."""
        with Connect(self._url) as client:
            try:
                failed = client.status_now(self._connector).failure is not None
            except ConnectorMissing:
                failed = False
            if failed:
                client.restart(self._connector)
        return self._settling.look(ledger)
