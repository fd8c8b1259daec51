"""The names of a source's topics, slot, publication and connector."""

from __future__ import annotations


def changes(source: str) -> str:
    """The change log: everything of a source in commit order, one partition."""
    return f"{source}.changes"


def context(source: str) -> str:
    """The context events, partitioned by subject."""
    return f"{source}.context"


def signal(source: str) -> str:
    """Where Debezium reads signals, one partition."""
    return f"{source}.signal"


def of_source(source: str) -> tuple[str, ...]:
    """All of them: nobody else writes there."""
    return changes(source), context(source), signal(source)


def slot(source: str) -> str:
    """The replication slot and the publication."""
    return f"wake_{source}"


def connector(source: str) -> str:
    """The connector's name in Kafka Connect."""
    return f"wake-{source}"


def mirror_schema(source: str, schema: str) -> str:
    """Where the ledger keeps the mirrors of a source's schema."""
    return f"{source}__{schema}"
