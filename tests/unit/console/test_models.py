"""The migrations make what the models say."""

from __future__ import annotations

from collections.abc import Mapping

import sqlalchemy
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy.pool import NullPool

from wakestream.ledger.models import SCHEMA, Base


def ours(name: str | None, kind: str, above: Mapping[str, str | None]) -> bool:
    """Schema `wake` with all that is in it, but for what Alembic keeps itself."""
    if kind == "schema":
        return name == SCHEMA
    return above["schema_name"] == SCHEMA and name != "alembic_version"


def test_migrations_and_models_agree(ledger_server: str) -> None:
    url = ledger_server.replace("postgresql://", "postgresql+psycopg://")
    # Where our schema is the default one, what is read of it bears no name.
    engine = sqlalchemy.create_engine(url, poolclass=NullPool, connect_args={"options": "-c search_path=public"})
    with engine.connect() as connection:
        options = {"include_schemas": True, "include_name": ours, "compare_type": True}
        assert compare_metadata(MigrationContext.configure(connection, opts=options), Base.metadata) == []
