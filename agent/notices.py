"""What operators are told once: a row in the ledger, which the guard sends on (`notify`), and a line in the log."""

from __future__ import annotations

import logging

from agent.database import Connection

logger = logging.getLogger(__name__)


def tell(connection: Connection, kind: str, about: str, text: str) -> None:
    """Leave operators a notice in the caller's transaction."""
    connection.execute("insert into wake.notice (kind, about, text) values (%s, %s, %s)", (kind, about, text))
    logger.warning("%s", text, extra={"action": kind, "about": about})
