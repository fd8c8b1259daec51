"""How far the topics of an adopted connector are read, and the last change of each key."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "adopted_position",
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("inputs", postgresql.JSONB(), nullable=False),
        sa.Column("stretch", postgresql.JSONB()),
        sa.PrimaryKeyConstraint("source", name=op.f("adopted_position_pkey")),
        schema="wake",
    )
    op.create_table(
        "adopted_row",
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("table", sa.Text(), nullable=False),
        sa.Column("subject", sa.Text(), nullable=False),
        sa.Column("lsn", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("source", "table", "subject", name=op.f("adopted_row_pkey")),
        schema="wake",
    )


def downgrade() -> None:
    op.drop_table("adopted_row", schema="wake")
    op.drop_table("adopted_position", schema="wake")
