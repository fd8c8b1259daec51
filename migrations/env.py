"""Alembic's entry: runs on the connection that `wakestream.ledger.database.migrate` hands over."""

from __future__ import annotations

from alembic import context

from wakestream.ledger.models import SCHEMA, Base

connection = context.config.attributes["connection"]
context.configure(
    connection=connection,
    target_metadata=Base.metadata,
    version_table_schema=SCHEMA,
    include_schemas=True,
    include_name=lambda name, kind, _: kind != "schema" or name == SCHEMA,
)
with context.begin_transaction():
    context.run_migrations()
