"""What operators are told once: a row in the ledger, which the guard sends on (`notify`), and a line in the log."""

from __future__ import annotations

import logging

from agent.database import Connection

logger = logging.getLogger(__name__)


KEPT = 30  # days


def tell(connection: Connection, kind: str, about: str, text: str, *, level: int = logging.WARNING) -> None:
    """Leave operators a notice in the caller's transaction."""
    connection.execute("insert into wake.notice (kind, about, text) values (%s, %s, %s)", (kind, about, text))
    logger.log(level, "%s", text, extra={"action": kind, "about": about})


def forget(connection: Connection) -> None:
    """Remove those that everybody who wanted to be told was told of long ago."""
    connection.execute("delete from wake.notice where at < now() - make_interval(days => %s)", (KEPT,))
