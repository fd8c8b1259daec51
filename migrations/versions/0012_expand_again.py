"""Decisions that are made again because the world has overtaken them, and what people changed of actions."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None

JSONB = postgresql.JSONB(none_as_null=True)
CAUSE = "coalesce(handed ->> 'by', event #>> '{data,cause,action}')"
CAUSE_OR_AGAIN = "coalesce(again ->> 'by', handed ->> 'by', event #>> '{data,cause,action}')"


def upgrade() -> None:
    op.add_column("activation", sa.Column("again", JSONB), schema="wake")
    op.add_column("action", sa.Column("edits", JSONB), schema="wake")
    _index(CAUSE_OR_AGAIN)


def downgrade() -> None:
    _index(CAUSE)
    op.drop_column("action", "edits", schema="wake")
    op.drop_column("activation", "again", schema="wake")


def _index(expression: str) -> None:
    op.drop_index("activation_cause_idx", "activation", schema="wake")
    op.create_index(
        "activation_cause_idx",
        "activation",
        [sa.text(expression)],
        schema="wake",
        postgresql_where=sa.text(f"{expression} is not null"),
    )
