"""The ledger: one PostgreSQL database with everything an operator may ask about an agent."""

from wakestream.ledger.connection import Connection
from wakestream.ledger.database import connect, engine, migrate, require_current

__all__ = ["Connection", "connect", "engine", "migrate", "require_current"]
