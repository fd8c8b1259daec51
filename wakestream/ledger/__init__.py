"""The ledger: one PostgreSQL database with everything an operator may ask about an agent."""

from wakestream.ledger.database import connect, engine, migrate, require_current

__all__ = ["connect", "engine", "migrate", "require_current"]
